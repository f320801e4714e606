"""Entry point of `python -m train`."""

from __future__ import annotations

import sys

from ctcedge import environment, streams
from ctcedge.dependencies import damaged_package
from ctcedge.fs.problems import unexpected_problem

EXTRA = frozenset(
    ("jinja2", "matplotlib", "monai", "onnx", "onnxscript", "scipy", "sklearn", "sympy", "torch")
)
"""Top-level packages that the optional dependencies `train` install."""


def main() -> None:
    """Run the command line; without the packages that it needs, print how to install them."""
    environment.prepare()
    streams.prepare()
    try:
        from .cli import app

        app(complete_var="")
    except Exception as error:
        if problem := damaged_package(error):
            print(f"train: {problem}", file=sys.stderr)
            sys.exit(2)
        if problem := unexpected_problem(error):
            print(f"train: {problem}", file=sys.stderr)
            sys.exit(2)
        package = (getattr(error, "name", None) or "").partition(".")[0]
        if not isinstance(error, ModuleNotFoundError) or package not in EXTRA:
            raise
        print(
            f"train: {package} is not installed; install with: pip install '.[train]'",
            file=sys.stderr,
        )
        sys.exit(2)
    finally:
        streams.flush()


if __name__ == "__main__":
    main()
