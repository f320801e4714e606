"""Description of this machine, as far as it is available without privileges."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from ctcedge.cpus import cores


def facts() -> dict[str, Any]:
    """Properties of the machine; None for those that are unknown."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpu = _nvidia_smi("name,driver_version")
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "memory_gb": round(memory / 1e9, 1),
        "system": platform.platform(),
        "gpu": gpu and gpu[0],
        "gpu_driver": gpu and gpu[1],
    }


def versions() -> dict[str, str]:
    """Versions of the software that the speed depends on."""
    names = ("onnxruntime-gpu", "numpy", "opencv-python-headless")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def peak_memory_mb() -> float:
    """Peak memory of this process, MB.

    Not from `getrusage`, whose value includes the process that started this one.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").split("\n"):
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    raise OSError("/proc/self/status does not contain the memory in use")


def gpu_memory_mb() -> int | None:
    """Memory in use on the first GPU by all programs, MiB; None where it is unknown."""
    fields = _nvidia_smi("memory.used")
    return int(fields[0].split()[0]) if fields else None


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None)


def _nvidia_smi(query: str) -> list[str] | None:
    """Query the driver's tool for properties of the first GPU."""
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    first = process.stdout.strip().split("\n")[0]
    return [field.strip() for field in first.split(",")] if first else None
