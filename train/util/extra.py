"""The packages that training needs beyond ctcedge's own, and the command that installs them."""

from __future__ import annotations

from importlib.util import find_spec

PACKAGES = frozenset(
    ("jinja2", "matplotlib", "monai", "onnx", "onnxscript", "scipy", "sklearn", "sympy", "torch")
)
"""Top-level packages that the optional dependencies `train` install."""

_PACKAGE = __name__.partition(".")[0]

COMMAND = "ctcedge-train" if _PACKAGE == "ctcedge_train" else f"python -m {_PACKAGE}"
"""How this command line is called: by its installed name, or as a module of a clone."""

_INSTALL = f"pip install '{'ctcedge' if COMMAND == 'ctcedge-train' else '.'}[train]'"


def missing() -> str | None:
    """Return the first of the packages that is not installed, if any."""
    return next((package for package in sorted(PACKAGES) if not _is_installed(package)), None)


def cure(package: str) -> str:
    """Return how a package that is not installed is installed, in one line."""
    return f"{package} is not installed; install with: {_INSTALL}"


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # an entry of sys.modules without a spec
        return False
