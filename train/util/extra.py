"""The packages that training needs beyond ctcedge's own, and the command that installs them."""

from __future__ import annotations

import sys
from importlib.util import find_spec

PACKAGE = __name__.partition(".")[0]
"""Name of the training kit: `train` in a clone, `ctcedge_train` where it is installed."""

PACKAGES = frozenset(
    ("jinja2", "matplotlib", "monai", "onnx", "onnxscript", "scipy", "sklearn", "sympy", "torch")
)
"""Top-level packages that the optional dependencies `train` install."""

COMMAND = "ctcedge-train" if PACKAGE == "ctcedge_train" else f"python -m {PACKAGE}"
"""How this command line is called: by its installed name, or as a module of a clone."""

_INSTALL = f"pip install '{'ctcedge' if COMMAND == 'ctcedge-train' else '.'}[train]'"


def missing() -> str | None:
    """Return the first of the packages that is not installed, if any."""
    return next((package for package in sorted(PACKAGES) if not _is_installed(package)), None)


def cure(package: str) -> str:
    """Return how a package that is not installed is installed, in one line."""
    return f"{package} is not installed; install with: {_INSTALL}"


def require_for_programs() -> None:
    """End a program of one module, `python -m train.research.results`, if a package is missing.

    To be called when the top-level package is imported: the program's own imports come later.
    """
    if sys.argv[:1] != ["-m"]:  # only while Python looks for the module to run
        return
    module = sys.orig_argv[-len(sys.argv)]
    if module.startswith(f"{PACKAGE}.") and (package := missing()):
        print(f"Error: {cure(package)}", file=sys.stderr)
        sys.exit(2)


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # an entry of sys.modules without a spec
        return False
