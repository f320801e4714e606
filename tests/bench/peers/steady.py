"""How fast a loop goes once it is under way; needs nothing but Python."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterable
from pathlib import Path

AFTER = 64
"""Images that pass before the clock starts: the first batch of all that are compared."""


def report(finished: Iterable[int], **about: object) -> None:
    """Time a loop and print what was measured as one line of JSON, the last of the output.

    Args:
        finished: yields, whenever images are done, their number; its end ends the time.
        about: further values to report, such as versions.

    Raises:
        ValueError: there are too few images to time.
    """
    images, before = 0, None
    for count in finished:
        images += count
        if before is None and images >= AFTER:
            before = images, time.perf_counter(), _processor_seconds()
    if before is None or images == before[0]:
        raise ValueError(f"{images} images are too few; the clock starts after {AFTER}")
    timed, wall, processor = images - before[0], time.perf_counter(), _processor_seconds()
    measured = {
        "images": timed,
        "images_per_s": timed / (wall - before[1]),
        "processor_us_per_image": 1e6 * (processor - before[2]) / timed,
    }
    print(json.dumps(measured | about), flush=True)


def _processor_seconds() -> float:
    """Processor time of this process and of those that load data for it."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total
