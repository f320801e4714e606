"""A watched folder, its sidecars, and the real process that watches it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.fault.invariant import Invariant, read_sidecar
from tests.helpers.cli_runner import Process, process
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, cell, encoded
from tests.helpers.image_builder import tiff
from tests.helpers.sidecar_files import age


def image(number: int, diameter: float | None = None, suffix: str = ".png") -> bytes:
    """A crop, different for each number; TIFF images are uncompressed and of one size."""
    if diameter is None:
        diameter = CTC if number % 2 else LEUKOCYTE
    pixels = cell(diameter, background=120 + number % 16)
    pixels.reshape(-1)[:4] += np.array([number >> shift & 15 for shift in (0, 4, 8, 12)], np.uint8)
    if suffix == ".tif":
        return tiff(*pixels.shape[::-1], data=pixels.tobytes())
    return encoded(pixels, suffix)


class Service:
    """`ctcedge watch` on a folder with its sidecars elsewhere, which can be started repeatedly.

    Args:
        root: an existing folder for all files.
        model: the model folder.
        folder: the watched folder; a folder in the root by default.
        out: folder of the sidecars; a folder in the root by default.
    """

    def __init__(
        self, root: Path, model: Path, folder: Path | None = None, out: Path | None = None
    ) -> None:
        self.root, self.model = root, model
        self.folder, self.out = folder or root / "in", out or root / "out"
        self.folder.mkdir(exist_ok=True)
        self.invariant = Invariant(self.folder, self.out, model)
        self._canaries = 0

    @property
    def words(self) -> tuple[object, ...]:
        """Arguments of both commands."""
        return self.folder, "--out", self.out, "--model", self.model, "--provider", "cpu"

    @contextmanager
    def watching(
        self, *words: object, under: tuple[str, ...] = (), later: bool = True
    ) -> Iterator[Process]:
        """A watch that has started to work.

        It starts later than temporary files that are there may be in use, or else at once.
        """
        for left in self.invariant.leftovers() if later else ():
            age(left)
        words = ("watch", *self.words, "--stability-delay", 0.2, "--rescan-interval", 1, *words)
        with process(*words, log=self.root / "log", under=under) as running:
            running.until(lambda: "Model disks" in running.stderr, "the start")
            yield running

    def put(self, name: str, data: bytes) -> Path:
        """Write an image in one step, as most programs do."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def put_many(self, count: int, below: str = "", first: int = 0) -> list[str]:
        """Write a number of different crops."""
        names = [f"{below}{number:05}_BF.png" for number in range(first, first + count)]
        for number, name in enumerate(names, start=first):
            self.put(name, image(number))
        return names

    def record(self, name: str) -> dict[str, Any] | None:
        """The valid sidecar of a crop; None where there is none."""
        return read_sidecar(self.out / f"{name}.ctc.json")

    def wait_until_done(self, running: Process, below: str = "") -> None:
        """Wait until the invariant holds."""
        running.until(lambda: self.invariant.holds(below), "the invariant")

    def wait_for_unchanged_files(self, running: Process) -> None:
        """Wait until all files that have not changed since this call were checked.

        A crop that its writer keeps open is classified only because it no longer changes; files
        that changed before it are due before it.
        """
        self._canaries += 1
        name = f"canaries/{self._canaries}_BF.png"
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb", buffering=0) as file:
            file.write(image(self._canaries))
            running.until(lambda: self.record(name), "a crop that no longer changes")

    def stop(self, running: Process) -> str:
        """Stop the watch, which must succeed; return its standard output."""
        code, output = running.stop()
        assert code == 0, running.stderr
        return output

    def check_after_restart(self, *words: object) -> None:
        """Start again: the invariant holds and nothing is classified again."""
        with self.watching(*words) as running:
            self.wait_until_done(running)
            self.stop(running)
        assert self.invariant.missing() == []
        assert self.invariant.leftovers() == []


def kill(running: Process) -> None:
    """Kill the process, as a crash would."""
    running.popen.send_signal(signal.SIGKILL)
    running.popen.wait()
