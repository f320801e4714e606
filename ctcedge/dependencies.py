"""The packages that ctcedge needs, and how to tell and repair a damaged or outdated installation.

A package may be missing, or half there: pip leaves such a one where two packages share a folder, as
`onnxruntime` and `onnxruntime-gpu` do, and one of them is removed. Importing it fails then, or
succeeds without what it should contain.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import linecache
import re
import signal
import subprocess
from types import ModuleType, TracebackType

from ctcedge.processes import child_process

PACKAGES = {
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "onnxruntime": "onnxruntime-gpu",
    "isal": "isal",
    "msgspec": "msgspec",
    "rich": "rich",
    "typer": "typer",
    "watchdog": "watchdog",
}
"""Names of the distributions by the names of their modules."""

_ESSENTIAL = {
    "numpy": ("ndarray", "float32"),
    "cv2": ("imdecode", "resize"),
    "onnxruntime": ("InferenceSession", "SessionOptions", "get_available_providers"),
    "isal": ("isal_zlib",),
    "msgspec": ("Struct", "json"),
    "rich": ("print",),
    "typer": ("Typer",),
    "watchdog": ("__name__",),
}
_SUBMODULES = {
    "isal": "isal.isal_zlib",
    "rich": "rich.console",
    "watchdog": "watchdog.observers",
}
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)>=([0-9.]+)(?![^;]*;)")  # none of an extra
_INTO = "reinstall it into the environment of ctcedge"
_IMPORT = re.compile(r"\s*(?:from|import)\s+(\w+)")


def repair(module: str) -> str:
    """Return the command that repairs a package, by the name of its module."""
    name = PACKAGES[module]
    if module == "onnxruntime":
        return f"pip uninstall -y onnxruntime {name} && pip install {name}"
    return f"pip install --force-reinstall {name}"


def problems() -> dict[str, str]:
    """Return what is wrong with the packages that cannot be used, by the names of their modules."""
    # A damaged library can end the process that loads it: they are tried in one of their own.
    fatal = _signal_of(*PACKAGES) is not None
    found = {module: _problem_of(module, fatal=fatal) for module in PACKAGES}
    return {module: problem for module, problem in found.items() if problem}


def _problem_of(module: str, *, fatal: bool) -> str | None:
    if fatal and (signal_name := _signal_of(module)):
        return f"importing it ends the process ({signal_name})"
    silence = io.StringIO()  # a package may print why it cannot be imported
    try:
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            package = importlib.import_module(module)
            importlib.import_module(_SUBMODULES.get(module, module))
    except Exception as error:  # whatever the damaged file makes of it
        return f"it cannot be imported ({_described(error)})"
    missing = [name for name in _ESSENTIAL[module] if not hasattr(package, name)]
    if missing:
        return f"it is incomplete: {missing[0]} is missing"
    return _outdated(PACKAGES[module])


def outdated_package() -> str | None:
    """Return the message about the first package that is older than ctcedge needs; else None.

    For errors without another explanation: pip installs such a version beside ctcedge where it is
    asked to, and only prints a line about it.
    """
    for module, name in PACKAGES.items():
        if problem := _outdated(name):
            return f"{name}: {problem}; {_INTO}: {repair(module)}"
    return None


def _outdated(name: str) -> str | None:
    """Return what is wrong where a package is older than ctcedge needs; else None."""
    from importlib import metadata  # late, as its import takes 10 ms

    try:
        requirements = metadata.requires("ctcedge") or []
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match and match[1] == name and _numbers(version) < _numbers(match[2]):
            return f"version {version} is too old, ctcedge needs {match[2]} or later"
    return None


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.split(r"[^0-9.]", version)[0].split(".") if part]


def _signal_of(*modules: str) -> str | None:
    """Return the name of the signal by which a process ends that imports modules, if it does."""
    code = "".join(
        f"try: import {_SUBMODULES.get(module, module)}\nexcept Exception: pass\n"
        for module in modules
    )
    words, environment = child_process("-c", code)
    try:
        status = subprocess.run(words, env=environment, capture_output=True, timeout=60).returncode
    except (OSError, subprocess.SubprocessError):
        return None
    return signal.Signals(-status).name if status < 0 else None


def damaged_package(error: BaseException) -> str | None:
    """Return the message about the damaged package that an exception comes from.

    Returns:
        What is damaged and how to repair it; None where the exception has another cause.
    """
    module = _missing_from(error) or _imported_when(error.__traceback__)
    if module is None:
        return None
    name = PACKAGES[module]
    if problem := _outdated(name):
        return f"{name}: {problem}; {_INTO}: {repair(module)}"
    return f"{name} is missing or damaged ({_described(error)}); {_INTO}: {repair(module)}"


def _missing_from(error: BaseException) -> str | None:
    """Return the package that an exception names as missing or incomplete."""
    name: str | None = None
    if isinstance(error, ImportError):
        name = error.name
    elif isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        name = error.obj.__name__
    return _package(name)


def _imported_when(trace: TracebackType | None) -> str | None:
    """Return the package that was being imported when an exception was raised."""
    module = None
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name == "<module>":
            module = _package(frame.f_globals.get("__name__")) or module
        if trace.tb_next is None:  # a file that is no Python code has no frame of its own
            line = linecache.getline(frame.f_code.co_filename, trace.tb_lineno)
            if match := _IMPORT.match(line):
                module = _package(match[1]) or module
        trace = trace.tb_next
    return module


def _package(name: object) -> str | None:
    top = name.partition(".")[0] if isinstance(name, str) else ""
    return top if top in PACKAGES else None


def _described(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
