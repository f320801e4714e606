"""What several test modules use: drawn cells, hand-made files, and ways to run the real thing."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from ctcedge.cli.app import main
from ctcedge.sidecars.json_schema import read_schema
from ctcedge.sidecars.parse import encode, parse
from ctcedge.sidecars.schema import Sidecar

DATA = Path(__file__).parents[3] / "shared" / "data"
"""Real images, which are not part of the repository; tests that need them skip without."""
DEADLINE = 60.0
UM_PER_PX = 0.5

# Diameters in pixels that the tests' model calls so, at its own um/px.
LEUKOCYTE, REVIEW, CTC = 16, 24, 32

_VALIDATOR = jsonschema.Draft202012Validator(
    read_schema(), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)


def cell(
    diameter: float = CTC,
    side: int | tuple[int, int] = 64,
    background: float = 128.0,
    contrast: float = 60.0,
    dtype: Any = np.uint8,
) -> np.ndarray:
    """Draw a dark disk with soft edges in the middle of a flat field."""
    height, width = (side, side) if isinstance(side, int) else side
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    inside = np.clip(diameter / 2 - radius + 0.5, 0, 1)
    drawn: np.ndarray = np.rint(background - contrast * inside).astype(dtype)
    return drawn


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write pixels as the kind of file that the name ends in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(pixels, path.suffix.lower()))
    return path


def encoded(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    whole, data = cv2.imencode(suffix, pixels)
    assert whole
    return data.tobytes()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png(
    width: int,
    height: int,
    *,
    bits: int = 8,
    colour: int = 0,
    rows: bytes | None = None,
    before: bytes = b"",
) -> bytes:
    """A PNG put together by hand; `before` is put between header and pixels."""
    per_pixel = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if rows is None:
        rows = (b"\0" + b"\x80" * ((width * per_pixel * bits + 7) // 8)) * height
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + before
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def tiff(
    width: int = 16,
    height: int = 16,
    *,
    bits: int = 8,
    samples: int = 1,
    data: bytes | None = None,
    tags: dict[int, tuple[int, int]] | None = None,
    order: str = "<",
    next_page: int = 0,
) -> bytes:
    """An uncompressed TIFF put together by hand, its directory before its pixels.

    Args:
        width: pixels.
        height: pixels.
        bits: of a sample.
        samples: of a pixel.
        data: the pixels; None for mid-grey.
        tags: (type, value) by number, over or beside the usual ones; type 0 leaves a tag out.
        order: of the bytes, `<` or `>`.
        next_page: offset of a second directory.
    """
    if data is None:
        data = b"\x80" * (width * height * samples * bits // 8)
    all_tags = {
        256: (4, width),
        257: (4, height),
        258: (3, bits),
        259: (3, 1),
        262: (3, 1 if samples == 1 else 2),
        273: (4, 0),
        277: (3, samples),
        278: (4, height),
        279: (4, len(data)),
    } | (tags or {})
    kept = sorted((tag, kind, value) for tag, (kind, value) in all_tags.items() if kind)
    start = 8 + 2 + 12 * len(kept) + 4
    entries = b""
    for tag, kind, value in kept:
        stored = struct.pack(order + ("H2x" if kind == 3 else "I"), start if tag == 273 else value)
        entries += struct.pack(order + "HHI", tag, kind, 1) + stored
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    directory = struct.pack(order + "H", len(kept)) + entries + struct.pack(order + "I", next_page)
    return head + directory + data


def sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".ctc.json")


def load(path: Path) -> dict[str, Any]:
    """Read a sidecar and see that it is valid."""
    record: dict[str, Any] = json.loads(path.read_bytes())
    _VALIDATOR.validate(record)
    return record


def typed(record: dict[str, Any]) -> Sidecar:
    """The sidecar that a dictionary describes."""
    parsed = parse(json.dumps(record).encode())
    assert parsed is not None, "no sidecar"
    return parsed.sidecar


def as_dict(record: Sidecar | None) -> dict[str, Any]:
    """The keys and values of a sidecar's file."""
    assert record is not None
    read: dict[str, Any] = json.loads(encode(record))
    return read


def sidecars(root: Path) -> dict[str, dict[str, Any]]:
    """Every sidecar below a folder, valid, by relative path of its image."""
    return {
        str(path.relative_to(root)).removesuffix(".ctc.json"): load(path)
        for path in sorted(root.rglob("*.ctc.json"))
    }


def stray(root: Path) -> list[Path]:
    """What an atomic write may leave behind and must not."""
    return [path for path in root.rglob("*") if path.name.endswith(".tmp")]


def state(root: Path) -> dict[str, tuple[int, int]]:
    """Inode and mtime of every file, to see what was touched."""
    return {
        str(path.relative_to(root)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "ctcedge", *map(os.fspath, map(_plain, arguments))]


def _plain(argument: object) -> Any:
    return argument if isinstance(argument, str | bytes | os.PathLike) else str(argument)


def run(
    *arguments: object,
    code: int = 0,
    env: dict[str, str] | None = None,
    under: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run the real command line; no run may end in a traceback."""
    done = subprocess.run(
        [*under, *command(*arguments)],
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=180,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert done.returncode == code, f"exit {done.returncode}, not {code}:\n{done.stderr}"
    return done


def call(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, which is faster; an exception fails the test."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape") for _ in range(2)]
    words = command(*arguments)[3:]
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]), pytest.raises(SystemExit) as end:
        sys.argv, before = ["ctcedge", *words], sys.argv
        try:
            main()
        finally:
            sys.argv = before
    texts = []
    for stream in streams:
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8", "surrogateescape"))
    done = subprocess.CompletedProcess(words, int(end.value.code or 0), *texts)
    assert done.returncode == code, f"exit {done.returncode}, not {code}:\n{done.stderr}"
    return done


def classify(folder: Path, model: Path, *options: object, code: int = 0) -> None:
    words = ("--model", model, "--provider", "cpu", "--um-per-px", 0.5)
    call("classify", folder, *words, *options, code=code)


def no_disk(*arguments: object) -> bytes:
    """Replaces a function that reads a file: the disk fails."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait until something holds, however slow the machine."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what or condition}"
        time.sleep(0.01)


# The real command line, but reading takes so long that a test can strike in the middle.
_SLOWLY = """
import time
from ctcedge.pipeline import loader
from ctcedge.cli.app import main
decode = loader.decode
loader.decode = lambda data: (time.sleep(0.2), decode(data))[1]
main()
"""


class Process:
    """A running ctcedge."""

    def __init__(
        self,
        *arguments: object,
        log: Path,
        slowly: bool = False,
        under: tuple[str, ...] = (),
    ) -> None:
        self._log = log
        words = command(*arguments)
        if slowly:
            words[1:3] = ["-c", _SLOWLY]
        with open(log, "wb") as errors:
            self.popen = subprocess.Popen(
                [*under, *words],
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
            )

    @property
    def stderr(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def alive(self) -> bool:
        return self.popen.poll() is None

    def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait until something holds while the process runs."""

        def holds() -> object:
            assert self.alive() or condition(), f"ended early:\n{self.stderr}"
            return condition()

        until(holds, f"{what}\n{self.stderr}")

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and return exit code and standard output."""
        self.popen.send_signal(number)
        output, _ = self.popen.communicate(timeout=DEADLINE)
        assert "Traceback" not in self.stderr, self.stderr
        return self.popen.returncode, output.decode()


@contextmanager
def process(
    *arguments: object, log: Path, slowly: bool = False, under: tuple[str, ...] = ()
) -> Iterator[Process]:
    """A running ctcedge that does not outlive the test."""
    running = Process(*arguments, log=log, slowly=slowly, under=under)
    try:
        yield running
    finally:
        if running.alive():
            running.popen.kill()
        running.popen.communicate()
