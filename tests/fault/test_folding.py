"""Sidecars on a file system that does not tell names apart by case or by the form of accents."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.service import image
from tests.helpers.cli_runner import run
from tests.helpers.sidecar_files import load

FILE_SYSTEM = Path(__file__).with_name("folding_fs.py")
PYTHONS = (sys.executable, "/usr/bin/python3")  # fusepy may come from the system's packages


@pytest.fixture
def folding(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system that folds names."""
    source, mount = tmp_path / "source", tmp_path / "mount"
    source.mkdir()
    mount.mkdir()
    running = _started(source, mount)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
        running.wait(10)


def _started(source: Path, mount: Path) -> subprocess.Popen[bytes]:
    for python in PYTHONS:
        words = [python, FILE_SYSTEM, source, mount]
        running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            if mount.is_mount():
                return running
            if running.poll() is not None:
                break
            time.sleep(0.05)
        running.kill()
        running.wait(10)
    pytest.skip("needs fusepy, /dev/fuse and the right to mount")


@pytest.mark.parametrize("words", [(), ("--force",)])
def test_of_two_crops_with_one_sidecar_one_is_named_in_each_run(
    tmp_path: Path, folding: Path, model_folder: Path, words: tuple[str, ...]
) -> None:
    folder, out = tmp_path / "in", folding / "out"
    names = ["S/a_BF.png", "S/A_BF.png", "S/\u00e9_BF.png", "S/e\u0301_BF.png", "S/c_BF.png"]
    for number, name in enumerate([*names, "s/c_BF.png", "s/d_BF.png"]):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(number))
    command = ("classify", folder, "--out", out, "--model", model_folder, "--provider", "cpu")
    first = run(*command, code=3)
    kept = {path: path.read_bytes() for path in out.rglob("*.ctc.json")}
    assert len(kept) == 4
    named = sorted(line for line in (first.stdout + first.stderr).splitlines() if "belongs" in line)
    assert len(named) == 3
    for _ in range(2):
        again = run(*command, *words, code=3)
        lines = (again.stdout + again.stderr).splitlines()
        assert sorted(line for line in lines if "belongs" in line) == named
    for path, content in kept.items():
        assert words or path.read_bytes() == content
        record = load(path)
        assert {entry["cell"] for entry in record["history"]} <= {record["cell"]}
        assert {entry["image_sha256"] for entry in record["history"]} <= {record["image"]["sha256"]}
