from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ctcedge.errors import BadImage, SetupError
from ctcedge.images import sandbox
from ctcedge.images.decode import decode
from ctcedge.images.sandbox import CRASHED, decode_in_subprocess
from ctcedge.images.types import MAX_PIXELS
from tests.helpers.drawn_cells import cell, encoded
from tests.helpers.image_builder import png

SIDE = int(MAX_PIXELS**0.5)


@pytest.mark.parametrize(
    "data",
    [
        encoded(cell()),
        encoded(cell(dtype=np.uint16), ".tif"),
        png(SIDE, SIDE, bits=16, colour=6, rows=(b"\0" + b"\xff" * 8 * SIDE) * SIDE),
    ],
    ids=["PNG", "TIFF", "largest"],
)
def test_it_gives_what_decode_gives(data: bytes) -> None:
    alone, here = decode_in_subprocess(data), decode(data)
    assert alone.header == here.header
    assert alone.pixels.dtype == here.pixels.dtype
    np.testing.assert_array_equal(alone.pixels, here.pixels)


@pytest.mark.parametrize("data", [b"", png(4, 4), encoded(cell())[:100]])
def test_it_refuses_what_decode_refuses(data: bytes) -> None:
    with pytest.raises(BadImage) as here:
        decode(data)
    with pytest.raises(BadImage) as alone:
        decode_in_subprocess(data)
    assert (alone.value.status, str(alone.value)) == (here.value.status, str(here.value))


def test_modules_in_the_working_directory_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cv2.py").write_text("raise SystemExit(9)", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    decode_in_subprocess(encoded(cell()))


@pytest.mark.parametrize(
    "does",
    ["import os; os.abort()", "import time; time.sleep(3600)", "bytearray(1 << 50)"],
    ids=["dies", "hangs", "memory"],
)
def test_whatever_the_decoder_does_the_image_is_unreadable(
    does: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = f"import cv2\ndef imdecode(*_):\n    {does}\ncv2.imdecode = imdecode\n"
    (tmp_path / "sitecustomize.py").write_text(hook, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sandbox, "_MAX_SECONDS", 2 if "sleep" in does else 100)
    with pytest.raises(BadImage) as alone:
        decode_in_subprocess(encoded(cell(), ".tif"))
    assert (alone.value.status, str(alone.value)) == ("unreadable", CRASHED)


def test_no_process_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object, **options: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "run", none)
    with pytest.raises(SetupError, match="temporarily"):
        decode_in_subprocess(b"")


def test_after_one_that_hangs_others_get_less_time(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def hang(*arguments: object, timeout: float, **options: object) -> None:
        limits.append(timeout)
        raise subprocess.TimeoutExpired("decoder", timeout)

    monkeypatch.setattr(sandbox, "_waits", sandbox._Waits())
    monkeypatch.setattr(sandbox.subprocess, "run", hang)
    for _ in range(2):
        with pytest.raises(BadImage, match="did not come back"):
            decode_in_subprocess(b"")
    monkeypatch.setattr(sandbox, "_HANG_COUNTS_S", 0)
    with pytest.raises(BadImage, match="did not come back"):
        decode_in_subprocess(b"")
    assert limits == [60, 10, 60]
    assert sandbox.waits() == 6
