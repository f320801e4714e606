"""Measure a report of many cells: `python -m tests.figures.report --count 30000`.

Crops are drawn into a temporary folder, classified, and reported by the command line.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.crops import write_crops


def main() -> None:
    """Print the page's size, and CPU time and memory of the command that writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=30_000)
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as scratch:
        folder, page = Path(scratch, "crops"), Path(scratch, "report.html")
        write_crops(folder, count)
        _ctcedge("classify", str(folder), "--provider", "cpu")
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        _ctcedge("report", str(folder), "--out", str(page))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"{count:,} cells: {page.stat().st_size / 1e6:.0f} MB,"
            f" {after.ru_utime - before:.0f} s of CPU time; at most"
            f" {after.ru_maxrss / 1024:.0f} MiB of memory (of classify and report)"
        )


def _ctcedge(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "ctcedge", *words], check=True)


if __name__ == "__main__":
    main()
