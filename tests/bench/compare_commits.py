"""Compare the speed of `ctcedge classify` at two commits, side by side on this machine.

    python -m tests.bench.compare_commits 7344eca HEAD --work /tmp/compare

Each commit gets a checkout and a virtual environment of its own below the working folder. Both
classify the same crops into fresh folders, in pairs of runs whose order alternates, so that other
load affects both. Printed are wall time and CPU time (user and system) of each run, and the median
of the ratios, new to old, with a 95 % confidence interval: that of Wilcoxon's signed-rank test, on
the logarithms of the ratios. CPU time is the steadier figure on a machine that does other work.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench.crops import write_crops

REPOSITORY = Path(__file__).parents[2]
CONFIDENCE = 0.95
MIN_PAIRS = 6
"""With fewer there is no interval of that confidence."""


class Environment(NamedTuple):
    """A commit that can be run.

    Attributes:
        name: as given on the command line.
        commit: hash of the commit.
        python: its interpreter.
    """

    name: str
    commit: str
    python: Path


class Usage(NamedTuple):
    """What one run of `classify` took, in seconds."""

    wall: float
    cpu: float


class Interval(NamedTuple):
    """Median of ratios, and its confidence interval."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


def prepare(name: str, work: Path, *, install: bool) -> Environment:
    """Check out a commit and make its environment.

    Args:
        name: of the commit, such as HEAD or a hash.
        work: folder below which both are made; what is there already is used again.
        install: install the commit with its own dependencies; else it is put on the path of a copy
            of this environment.
    """
    commit = _git("rev-parse", "--verify", f"{name}^{{commit}}")
    checkout, environment = work / f"checkout-{commit[:12]}", work / f"venv-{commit[:12]}"
    if not checkout.exists():
        _git("worktree", "add", "--detach", str(checkout), commit)
    python = environment / "bin" / "python"
    if not environment.exists():
        venv.create(environment, with_pip=install)
        if install:
            subprocess.run([python, "-m", "pip", "install", "-q", checkout], check=True)
        else:
            packages = [path for path in sys.path if path.endswith("site-packages")]
            (site,) = (environment / "lib").glob("python*/site-packages")
            lines = [str(checkout), *packages]
            (site / "compare.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Environment(name, commit, python)


def classify(environment: Environment, crops: Path, scratch: Path) -> Usage:
    """Run `ctcedge classify` once, into a fresh folder, which is removed afterwards."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    words = ["-m", "ctcedge", "classify", crops, "--out", scratch / "out", "--provider", "cpu"]
    start = time.perf_counter()
    process = subprocess.Popen(
        [environment.python, "-P", *words],
        cwd=scratch,
        env={**os.environ, "CTCEDGE_STATE": str(scratch / "state")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    messages = process.stderr.read().decode("utf-8", "replace")
    _, status, used = os.wait4(process.pid, 0)
    usage = Usage(time.perf_counter() - start, used.ru_utime + used.ru_stime)
    if status:
        raise SystemExit(f"classify of {environment.name} failed:\n{messages[-2000:]}")
    shutil.rmtree(scratch)
    return usage


def median_interval(ratios: Sequence[float]) -> Interval:
    """Median of ratios with the confidence interval of the signed-rank test.

    Args:
        ratios: of pairs, `MIN_PAIRS` or more.
    """
    logs = [math.log(ratio) for ratio in ratios]
    count = len(logs)
    averages = sorted((logs[i] + logs[j]) / 2 for i in range(count) for j in range(i, count))
    # Number of ways in which the ranks 1 to count give each sum of positive ranks.
    ways = [1]
    for rank in range(1, count + 1):
        ways = [
            (ways[total] if total < len(ways) else 0)
            + (ways[total - rank] if 0 <= total - rank < len(ways) else 0)
            for total in range(len(ways) + rank)
        ]
    tail, skipped = ways[0], 0
    while 2 * (tail + ways[skipped + 1]) <= (1 - CONFIDENCE) * 2**count:
        skipped += 1
        tail += ways[skipped]
    if 2 * tail > (1 - CONFIDENCE) * 2**count:
        raise ValueError(f"at least {MIN_PAIRS} pairs are needed")
    low, high = averages[skipped], averages[-1 - skipped]
    return Interval(statistics.median(ratios), math.exp(low), math.exp(high))


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", "-C", REPOSITORY, *words], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("old", help="commit to compare with")
    parser.add_argument("new", help="commit to compare")
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--crops", type=Path, help="folder of crops; without it, some are made")
    parser.add_argument("--count", type=int, default=5_000, help="crops that are made")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument(
        "--install", action="store_true", help="install each commit's own dependencies"
    )
    asked = parser.parse_args()
    if asked.pairs < MIN_PAIRS:
        parser.error(f"--pairs must be at least {MIN_PAIRS}")
    work = asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    crops = asked.crops.resolve() if asked.crops else work / f"crops-{asked.count}"
    if not crops.exists():
        write_crops(crops, asked.count)
    old, new = (prepare(name, work, install=asked.install) for name in (asked.old, asked.new))
    for environment in (old, new):  # fills the page cache, and compiles the modules
        classify(environment, crops, work / "scratch")
    print(f"old {old.name} ({old.commit[:12]}), new {new.name} ({new.commit[:12]}), {crops}")
    print("pair   wall s old      new   ratio    CPU s old      new   ratio")
    walls, cpus = [], []
    for pair in range(asked.pairs):
        if pair % 2 == 0:
            before = classify(old, crops, work / "scratch")
            after = classify(new, crops, work / "scratch")
        else:
            after = classify(new, crops, work / "scratch")
            before = classify(old, crops, work / "scratch")
        walls.append(after.wall / before.wall)
        cpus.append(after.cpu / before.cpu)
        print(
            f"{pair + 1:4}  {before.wall:11.2f} {after.wall:8.2f} {walls[-1]:7.3f}"
            f"  {before.cpu:11.2f} {after.cpu:8.2f} {cpus[-1]:7.3f}",
            flush=True,
        )
    print(f"median ratio of wall time, 95 % interval: {median_interval(walls)}")
    print(f"median ratio of CPU time,  95 % interval: {median_interval(cpus)}")


if __name__ == "__main__":
    main()
