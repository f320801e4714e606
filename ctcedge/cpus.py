"""Number of CPU cores that this process may use."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def cores() -> int:
    """Number of CPU cores that this process may use, by its affinity."""
    return len(os.sched_getaffinity(0))


def available_cpus() -> int:
    """CPU cores that this process may use at once, by affinity and its control group's quota."""
    quota = _cgroup_quota()
    return cores() if quota is None else max(1, min(cores(), int(quota)))


def _cgroup_quota(
    membership: Path = Path("/proc/self/cgroup"), hierarchy: Path = Path("/sys/fs/cgroup")
) -> float | None:
    """CPU quota of this process's control group (version 2), in cores; None where there is none."""
    quotas = []
    with contextlib.suppress(OSError, ValueError):
        group = membership.read_text().partition("0::/")[2].partition("\n")[0]
        for folder in (hierarchy / group, *(hierarchy / group).parents):
            with contextlib.suppress(OSError, ValueError):
                quota, period = (folder / "cpu.max").read_text().split()
                quotas.append(int(quota) / int(period))  # 'max' is no number
            if folder == hierarchy:
                break
    return min(quotas, default=None)
