"""Environment variables that libraries read: what is set there must not change or end a command."""

from __future__ import annotations

import os
import sys
import warnings

_OF_LIBRARIES = ("OPENCV_", "NUMPY_", "NPY_", "ORT_")
"""Variables that tune OpenCV, NumPy and ONNX Runtime; a wrong value may end the process."""

_IGNORED = DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning
"""Warnings that Python ignores by default."""


def prepare() -> None:
    """Remove what a library could stumble over, for this process and those that it starts.

    A process that has loaded these libraries already is left as it is.
    """
    if "numpy" in sys.modules:
        return
    for name in [name for name in os.environ if name.startswith(_OF_LIBRARIES)]:
        del os.environ[name]
    # ONNX Runtime reports its use to its maker unless this is set before it is imported.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    if any(map(_is_error, sys.warnoptions)):  # PYTHONWARNINGS=error: a library's would be raised
        os.environ.pop("PYTHONWARNINGS", None)
        warnings.resetwarnings()
        for category in _IGNORED:
            warnings.simplefilter("ignore", category)


def _is_error(option: str) -> bool:
    action = option.partition(":")[0].strip()
    return bool(action) and "error".startswith(action)
