"""Names and paths of every kind, up to the longest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fault.service import Service, image
from tests.fault.workbench import Workbench
from tests.helpers.cli_runner import Process, run
from tests.helpers.drawn_cells import CTC, LEUKOCYTE
from tests.helpers.sidecar_files import sidecars

PATH_MAX = 4096
NAME_MAX = 255
SUFFIX = len(".ctc.json")


NAMES = [
    "a b",
    " ",
    "'single' \"double\"",
    "two\nlines",
    "tab\tand\rreturn",
    "é",
    "e\N{COMBINING ACUTE ACCENT}",
    "细胞",
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp",
    "\N{MICROSCOPE}",
    "-rf",
    "$(touch x); `id` | & * ? [a] {b} %s \\",
    "#1",
    "a:b",
    "\x1b[31mred\x07",
    os.fsdecode(b"latin-1 \xe9"),
    os.fsdecode(b"\xff\xfe"),
]


@pytest.mark.parametrize("stem", NAMES, ids=ascii)
def test_odd_names(watched: tuple[Service, Process], stem: str) -> None:
    service, running = watched
    bench = Workbench(service, running, f"name {len(list(service.folder.iterdir()))}")
    bench.put(f"{stem}_BF.png", image(1, CTC))
    bench.put(f"folder {stem}/{stem}_BF.tif", image(2, LEUKOCYTE, ".tif"))
    bench.wait()
    assert bench.calls(f"{stem}_BF.png") == ["CTC"]
    assert bench.calls(f"folder {stem}/{stem}_BF.tif") == ["leukocyte"]


@pytest.mark.parametrize("letter", ["x", "é"])
def test_the_longest_name_whose_sidecar_fits(bench: Workbench, letter: str) -> None:
    length = (NAME_MAX - SUFFIX - len("_BF.png")) // len(letter.encode())
    name = f"{letter * length}_BF.png"
    bench.put(name, image(1, CTC))
    bench.wait()
    assert bench.calls(name) == ["CTC"]


def test_a_name_whose_sidecar_does_not_fit_is_listed(tmp_path: Path, model_folder: Path) -> None:
    service = Service(tmp_path, model_folder)
    names = [f"{'x' * (length - 7)}_BF.png" for length in (NAME_MAX - SUFFIX + 1, NAME_MAX)]
    for number, name in enumerate(names):
        service.put(name, image(number))
    service.put_many(3)
    with service.watching("--json") as running:
        service.wait_for_unchanged_files(running)
        output = service.stop(running)
    assert all(name in output for name in names)
    assert "File name too long" in output
    assert service.invariant.leftovers() == []
    assert sorted(service.invariant.missing()) == sorted(names)
    done = run("classify", *service.words, code=3)
    assert done.stderr.count("File name too long") == 2


def test_very_long_paths(tmp_path: Path, model_folder: Path) -> None:
    """Crops up to the system's maximum path length are classified; deeper files do no harm."""
    service = Service(tmp_path, model_folder)
    longer = max(len(str(service.folder)), len(str(service.out)) + SUFFIX)
    room = PATH_MAX - 1 - longer - len("/1_BF.png")
    parts = ["d" * 200] * ((room - 2) // 201)
    parts.append("e" * (room - 201 * len(parts) - 1))
    crop = "/".join([*parts, "1_BF.png"])
    make_deep(service.folder, parts, image(1))
    make_deep(service.folder, [*parts[:-1], "d" * 200, "f" * 200, "g" * 200], image(2))
    service.put_many(3)
    with service.watching() as running:
        service.wait_until_done(running)
        running.until(lambda: len(sidecars(service.out)) == 4)
        make_deep(service.folder, ["new", *parts[1:-1], "h" * 100], image(3))
        running.until(lambda: len(sidecars(service.out)) == 5)
        service.stop(running)
    assert service.record(crop) is not None
    service.check_after_restart()


def make_deep(root: Path, parts: list[str], data: bytes) -> None:
    """Write a crop into nested folders, however long its path."""
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for part in parts:
        try:
            os.mkdir(part, dir_fd=at)
        except FileExistsError:
            pass
        below = os.open(part, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    file = os.open("1_BF.png", os.O_WRONLY | os.O_CREAT, dir_fd=at)
    os.write(file, data)
    os.close(file)
    os.close(at)
