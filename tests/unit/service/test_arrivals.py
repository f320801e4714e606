"""Ways in which image files arrive in a watched folder."""

from __future__ import annotations

import os
from pathlib import Path

from tests.helpers.drawn_cells import CTC, LEUKOCYTE, cell, encoded, save
from tests.helpers.sidecar_files import sidecars, stray
from tests.unit.service.watches import Place


def copied(folder: Path) -> list[str]:
    save(folder / "1_BF.png", cell(CTC))
    save(folder / "2_BF.tif", cell(LEUKOCYTE))
    return ["1_BF.png", "2_BF.tif"]


def renamed_into_place(folder: Path) -> list[str]:
    path = folder / "1_BF.png.part"
    path.write_bytes(encoded(cell()))
    path.rename(folder / "1_BF.png")
    return ["1_BF.png"]


def moved_in_from_elsewhere(folder: Path) -> list[str]:
    save(folder.parent / "elsewhere" / "1_BF.png", cell()).rename(folder / "1_BF.png")
    return ["1_BF.png"]


def a_new_folder(folder: Path) -> list[str]:
    names = [f"P7/a b/{number}_BF.png" for number in range(20)]
    for name in names:
        save(folder / name, cell())
    return names


def a_folder_moved_in_whole(folder: Path) -> list[str]:
    for name in ("1_BF.png", "deep/2_BF.png"):
        save(folder.parent / "elsewhere" / name, cell())
    (folder.parent / "elsewhere").rename(folder / "P9")
    return ["P9/1_BF.png", "P9/deep/2_BF.png"]


def a_folder_renamed(folder: Path) -> list[str]:
    save(folder / ".making" / "1_BF.png", cell())
    (folder / ".making").rename(folder / "P8")
    return ["P8/1_BF.png"]


def hard_links(folder: Path) -> list[str]:
    os.link(save(folder.parent / "first.png", cell()), folder / "1_BF.png")
    return ["1_BF.png"]


def odd_names(folder: Path) -> list[str]:
    names = ["a b_BF.png", "[red]\x1b[1m_BF.png", "a\nb_BF.png", "é_BF.png"]
    for name in names:
        save(folder / name, cell())
    return names


def an_old_mtime(folder: Path) -> list[str]:
    os.utime(save(folder / "1_BF.png", cell()), (0, 0))
    return ["1_BF.png"]


def a_future_mtime(folder: Path) -> list[str]:
    os.utime(save(folder / "1_BF.png", cell()), (4e9, 4e9))
    return ["1_BF.png"]


ARRIVALS = [
    copied,
    renamed_into_place,
    moved_in_from_elsewhere,
    a_new_folder,
    a_folder_moved_in_whole,
    a_folder_renamed,
    hard_links,
    odd_names,
    an_old_mtime,
    a_future_mtime,
]


def test_each_way_of_arriving(place: Place) -> None:
    """Events alone bring each: the next full look is an hour away."""
    with place.watching("--rescan-interval", 3600) as running:
        for arrive in ARRIVALS:
            folder = place.folder / arrive.__name__
            folder.mkdir()
            expected = [f"{arrive.__name__}/{name}" for name in arrive(folder)]
            place.waits_for(running, *expected, status="classified")
        code, _ = running.stop()
    assert code == 0
    assert stray(place.root) == []
    assert all(record["history"] == [] for record in sidecars(place.out).values())
