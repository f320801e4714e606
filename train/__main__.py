"""Entry point of `python -m train`."""

from __future__ import annotations

import sys

from .cli import app

EXTRA = frozenset(
    ("jinja2", "matplotlib", "monai", "onnx", "onnxscript", "scipy", "sklearn", "sympy", "torch")
)
"""Top-level packages that the optional dependencies `train` install."""


def main() -> None:
    """Run the command line; without the optional dependencies, print how to install them."""
    try:
        app()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        print(
            f"train: {package} is not installed; install with: pip install '.[train]'",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
