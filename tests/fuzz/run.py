"""Give mutated files to everything that reads what comes from outside.

    python tests/fuzz/run.py --inputs 100000 --seed 1
    python tests/fuzz/run.py --replay tests/fuzz/findings/png-1-4711.bin

Each input follows from seed and number alone. Inputs run in a child process, so that a crash, a
hang or too much memory ends the child and not the run. A finding is an exception that is not
documented, a warning, a line on standard error, a crash, a hang or memory over the cap; its input
is kept beside a text that says what happened and how to replay it.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fuzz import mutate

CHILD = __file__
FINDINGS = Path(__file__).parent / "findings"
HANG = 120.0  # seconds for one input, which takes milliseconds
MEMORY = 768 * 1024 * 1024  # bytes that one child may grow by


def fuzz(inputs: int, seed: int, findings: Path, first: int = 0) -> tuple[Counter[str], list[str]]:
    """Run the inputs of these numbers.

    Returns:
        Inputs run by target, and what was found, one line each.
    """
    counts: Counter[str] = Counter()
    found = []
    begin, end = first, first + inputs
    while begin < end:
        last, finding = _run_child(begin, end, seed, counts)
        if finding is not None:
            found.append(_keep(findings, seed, last, finding))
        begin = last + 1
    return counts, found


def _run_child(
    begin: int, end: int, seed: int, counts: Counter[str]
) -> tuple[int, dict[str, Any] | str | None]:
    """Run inputs in a child until its end or its first finding; return the last number and it."""
    words = [sys.executable, "-W", "error", CHILD, "--child", f"{begin}:{end}:{seed}"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert child.stdout is not None
    at, rest, finding = begin, b"", None
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while finding is None:
            if not selector.select(HANG):
                finding = f"hang: no end within {HANG:g} s"
                break
            received = os.read(child.stdout.fileno(), 65536)
            if not received:
                break
            *lines, rest = (rest + received).split(b"\n")
            for line in lines:
                message = json.loads(line)
                at = message["at"]
                counts.update([message["target"]] if "target" in message else [])
                finding = message.get("finding", finding)
    if finding is not None:
        child.kill()
    code = child.wait()
    child.stdout.close()
    if finding is None and code < 0:
        finding = f"crash: {signal.Signals(-code).name}"
    if finding is None and (code or at != end - 1):
        finding = f"the child ended early, with code {code}"
    return at, finding


def _child(begin: int, end: int, seed: int) -> None:
    """Run inputs, telling each before it begins, until one is a finding."""
    tell = os.fdopen(os.dup(1), "w", buffering=1)
    with tempfile.TemporaryDirectory(prefix="ctcedge-fuzz-") as folder:
        examined = _Examined(Path(folder))
        for index in range(begin, end):
            name, data = mutate.make(seed, index)
            print(json.dumps({"at": index, "target": name}), file=tell)
            finding = examined.feed(name, data)
            if finding is not None:
                print(json.dumps({"at": index, "finding": finding}), file=tell)
                return


class _Examined:
    """The targets in a process whose standard streams and memory are looked at."""

    def __init__(self, folder: Path) -> None:
        from tests.fuzz.targets import Targets

        (folder / "work").mkdir()
        self._targets = Targets(folder / "work")
        self._chatter = os.open(folder / "chatter", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(self._chatter, stream)
        self._peak = _peak_memory() + MEMORY

    def feed(self, name: str, data: bytes) -> str | None:
        """What is wrong with the answer to this input, or None."""
        finding = None
        try:
            self._targets.feed(name, data)
        except BaseException:
            finding = traceback.format_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        if os.fstat(self._chatter).st_size:
            text = os.pread(self._chatter, 2000, 0).decode(errors="replace")
            finding = finding or f"chatter: {text}"
        if _peak_memory() > self._peak:
            finding = finding or f"memory: {_peak_memory():,} bytes"
        return finding


def _peak_memory() -> int:
    # Not getrusage(), whose peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _keep(findings: Path, seed: int, index: int, finding: object) -> str:
    name, data = mutate.make(seed, index)
    findings.mkdir(parents=True, exist_ok=True)
    path = findings / f"{name}-{seed}-{index}.bin"
    path.write_bytes(data)
    replay = shlex.join([sys.executable, __file__, "--replay", str(path)])
    path.with_suffix(".txt").write_text(f"{finding}\n\n{replay}\n", encoding="utf-8")
    return f"{path.name}: {str(finding).strip().splitlines()[-1]}"


def _replay(path: Path) -> None:
    from tests.fuzz.targets import Targets

    with tempfile.TemporaryDirectory() as folder:
        Targets(Path(folder)).feed(path.name.partition("-")[0], path.read_bytes())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--findings", type=Path, default=FINDINGS)
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        _child(*map(int, chosen.child.split(":")))
        return 0
    if chosen.replay:
        _replay(chosen.replay)
        print("no finding")
        return 0
    began = time.monotonic()
    counts, found = fuzz(chosen.inputs, chosen.seed, chosen.findings)
    each = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    print(f"{counts.total():,} inputs in {time.monotonic() - began:.0f} s: {each}")
    print(*found, f"{len(found)} findings", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
