"""A watched folder, its sidecars, and the real process that watches."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.fault.rule import Rule, written
from tests.helpers.support import CTC, LEUKOCYTE, Process, cell, encoded, process, tiff


def image(number: int, diameter: float | None = None, suffix: str = ".png") -> bytes:
    """A crop that no other number gives; those in TIFF are uncompressed and of one size."""
    if diameter is None:
        diameter = CTC if number % 2 else LEUKOCYTE
    pixels = cell(diameter, background=120 + number % 16)
    pixels.reshape(-1)[:4] += np.array([number >> shift & 15 for shift in (0, 4, 8, 12)], np.uint8)
    if suffix == ".tif":
        return tiff(*pixels.shape[::-1], data=pixels.tobytes())
    return encoded(pixels, suffix)


class Service:
    """`ctcedge watch` on a folder with its sidecars elsewhere, started as often as it takes.

    Args:
        root: an existing folder for all of it.
        model: the model folder.
        folder: the watched folder; below the root unless given.
        out: of the sidecars; below the root unless given.
    """

    def __init__(
        self, root: Path, model: Path, folder: Path | None = None, out: Path | None = None
    ) -> None:
        self.root, self.model = root, model
        self.folder, self.out = folder or root / "in", out or root / "out"
        self.folder.mkdir(exist_ok=True)
        self.rule = Rule(self.folder, self.out, model)
        self._canaries = 0

    @property
    def words(self) -> tuple[object, ...]:
        """What both commands are told."""
        return self.folder, "--out", self.out, "--model", self.model, "--provider", "cpu"

    @contextmanager
    def watching(self, *words: object, under: tuple[str, ...] = ()) -> Iterator[Process]:
        """A watch that has begun to work."""
        words = ("watch", *self.words, "--stability-delay", 0.2, "--rescan-interval", 1, *words)
        with process(*words, log=self.root / "log", under=under) as running:
            running.until(lambda: "Model disks" in running.stderr, "the start")
            yield running

    def put(self, name: str, data: bytes) -> Path:
        """Write an image at once, as most programs do."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def put_many(self, count: int, below: str = "", first: int = 0) -> list[str]:
        """Write so many different crops."""
        names = [f"{below}{number:05}_BF.png" for number in range(first, first + count)]
        for number, name in enumerate(names, start=first):
            self.put(name, image(number))
        return names

    def record(self, name: str) -> dict[str, Any] | None:
        """The sidecar of a crop, valid, or None."""
        return written(self.out / f"{name}.ctc.json")

    def settles(self, running: Process, below: str = "") -> None:
        """Wait until the rule holds."""
        running.until(lambda: self.rule.holds(below), "the rule")

    def sees_what_stays_still(self, running: Process) -> None:
        """Wait until all that stays still since before this call has been looked at.

        A crop that its writer keeps open is taken for its stillness alone; whatever changed before
        it is due before it.
        """
        self._canaries += 1
        name = f"canaries/{self._canaries}_BF.png"
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb", buffering=0) as file:
            file.write(image(self._canaries))
            running.until(lambda: self.record(name), "a crop that stays still")

    def ends(self, running: Process) -> str:
        """Tell the watch to stop, which it does well; return its standard output."""
        code, output = running.stop()
        assert code == 0, running.stderr
        return output

    def keeps_the_rule_after_a_restart(self, *words: object) -> None:
        """Start once more: the rule holds and nothing is done again."""
        with self.watching(*words) as running:
            self.settles(running)
            self.ends(running)
        assert self.rule.lacking() == []
        assert self.rule.strays() == []


def kill(running: Process) -> None:
    """End it as a crash would."""
    running.popen.send_signal(signal.SIGKILL)
    running.popen.wait()
