from __future__ import annotations

import os

import pytest

from tests.helpers.drawn_cells import cell, save
from tests.helpers.sidecar_files import sidecar, sidecars, stray
from tests.unit.pipeline.bench import Bench, done


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": "other"}'])
def test_a_torn_or_foreign_sidecar_is_replaced(bench: Bench, content: bytes) -> None:
    path = save(bench.folder / "1_BF.png", cell())
    sidecar(path).write_bytes(content)
    assert done(bench.run()) == ["written"]
    assert set(sidecars(bench.folder)) == {"1_BF.png"}


def test_a_folder_at_a_sidecars_place_is_told_of_and_the_run_goes_on(bench: Bench) -> None:
    sidecar(save(bench.folder / "1_BF.png", cell())).mkdir()
    save(bench.folder / "2_BF.png", cell())
    first, second = bench.run()
    assert (first.done, second.done) == ("not-written", "written")
    assert first.error
    assert stray(bench.folder) == []


def test_odd_things_leave_no_file_open(bench: Bench) -> None:
    sidecar(save(bench.folder / "1_BF.png", cell())).mkdir()
    gone = save(bench.folder / "2_BF.png", cell())
    crops = bench.crops()
    gone.unlink()
    gone.mkdir()
    bench.run(crops)
    before = len(os.listdir("/proc/self/fd"))
    bench.run(crops)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_name_too_long_for_a_sidecar_is_told_of(bench: Bench) -> None:
    save(bench.folder / ("1" * 245 + "_BF.png"), cell())
    save(bench.folder / "2_BF.png", cell())
    assert done(bench.run()) == ["not-written", "written"]


@pytest.mark.parametrize(
    "name",
    [
        "a b_BF.png",
        'it\'s "x"_BF.png',
        "a\nb_BF.png",
        "[red]_BF.png",
        "\x1b[31m_BF.png",
        "é_BF.png",
    ],
)
def test_odd_names(bench: Bench, name: str) -> None:
    save(bench.folder / name, cell())
    bench.run()
    assert sidecars(bench.folder)[name]["cell"] == name.removesuffix("_BF.png")


def test_a_name_that_is_not_utf8(bench: Bench) -> None:
    name = os.fsdecode(b"\xff1_BF.png")
    try:
        save(bench.folder / name, cell())
    except OSError as error:
        pytest.skip(f"this file system refuses names that are not UTF-8: {error}")
    bench.run()
    assert sidecars(bench.folder)[name]["image"]["name"] == name
    assert done(bench.run()) == ["current"]
