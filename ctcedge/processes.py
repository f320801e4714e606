"""Python processes that ctcedge starts."""

from __future__ import annotations

import os
import sys


def child_process(*arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return words and environment of a Python process with the modules of this one.

    It imports none from the working directory.

    Args:
        arguments: of the interpreter, such as `-m` and a module.
    """
    path = os.pathsep.join(filter(None, sys.path))
    return [sys.executable, "-P", *arguments], {**os.environ, "PYTHONPATH": path}
