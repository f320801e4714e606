"""Crops whose names lead to the same sidecar, as on exFAT and on some shares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctcedge.discovery.naming import Crop
from ctcedge.sidecars.ownership import folded
from ctcedge.sidecars.store import NotWritten, SidecarStore
from tests.helpers.cli_runner import call
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, cell, save
from tests.helpers.sidecar_data import record
from tests.helpers.sidecar_files import load, sidecar, typed
from tests.unit.sidecars.stored import reviewed

OTHERS = ["a_bf.png", "A_BF.png", "copied from_BF.png"]
CROP = Crop("S/a_BF.png", "S", "a", "BF")


@pytest.fixture
def store(tmp_path: Path) -> SidecarStore:
    (tmp_path / "in" / "S").mkdir(parents=True)
    (tmp_path / "in" / CROP.path).write_bytes(b"1")
    return SidecarStore(tmp_path / "in", tmp_path / "out")


def of(name: str, sample: str = "S") -> dict[str, object]:
    return record(image=record()["image"] | {"name": name}, sample=sample)


def write_as(store: SidecarStore, name: str, sample: str = "S") -> bytes:
    """Write the sidecar of another crop to the path of this one."""
    path = store.path(CROP)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(of(name, sample)))
    return path.read_bytes()


@pytest.mark.parametrize("other", OTHERS)
def test_a_sidecar_of_another_image_is_neither_read_nor_replaced(
    store: SidecarStore, tmp_path: Path, other: str
) -> None:
    (tmp_path / "in" / "S" / other).write_bytes(b"2")
    content = write_as(store, other)
    for attempt in (
        lambda: store.read(CROP),
        lambda: store.write(CROP, typed(of("a_BF.png"))),
        lambda: store.amend(CROP, reviewed),
    ):
        with pytest.raises(NotWritten, match=f"belongs to S/{other}: these names lead"):
            attempt()
    assert store.path(CROP).read_bytes() == content
    store.check([CROP])  # it does not end the run


@pytest.mark.parametrize("other", OTHERS)
def test_the_sidecar_of_a_renamed_image_goes_with_it(store: SidecarStore, other: str) -> None:
    write_as(store, other)
    assert store.read(CROP) == typed(of(other))
    store.write(CROP, typed(of("a_BF.png")))
    assert load(store.path(CROP))["image"]["name"] == "a_BF.png"
    assert len(load(store.path(CROP))["history"]) == 1


def test_a_new_sidecar_of_a_sample_of_almost_the_same_name_is_not_replaced(
    store: SidecarStore,
) -> None:
    content = write_as(store, "a_BF.png", sample="s")
    for attempt in (
        lambda: store.read(CROP),
        lambda: store.write(CROP, typed(of("a_BF.png"))),
    ):
        with pytest.raises(NotWritten, match="belongs to sample 's', not 'S': these names lead"):
            attempt()
    assert store.path(CROP).read_bytes() == content
    store.check([CROP])


def test_names_whose_accents_have_another_form_are_explained(
    store: SidecarStore, tmp_path: Path
) -> None:
    composed, decomposed = "\u00e9_BF.png", "e\u0301_BF.png"
    for name in (composed, decomposed):
        (tmp_path / "in" / "S" / name).write_bytes(b"2")
    crop = Crop(f"S/{composed}", "S", "\u00e9", "BF")
    store.path(crop).parent.mkdir(parents=True)
    store.path(crop).write_text(json.dumps(of(decomposed)))
    with pytest.raises(NotWritten, match="with an accent in another form"):
        store.read(crop)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("S/A_BF.png", "s/a_bf.PNG"),
        ("S/\u00e9", "S/e\u0301"),
        ("S/\u00c9", "S/e\u0301"),
        ("S./x", "S/x"),
        ("Stra\u00dfe", "STRASSE"),
    ],
)
def test_paths_that_some_file_systems_take_for_the_same(one: str, two: str) -> None:
    assert folded(one) == folded(two)
    assert folded(one) != folded(one + "x")


def test_the_run_names_the_second_crop_and_mixes_nothing(
    tmp_path: Path, model_folder: Path
) -> None:
    """As a case-insensitive folder shows after both have been written."""
    folder = tmp_path / "in"
    save(folder / "S" / "a_BF.png", cell(CTC))
    save(folder / "S" / "A_BF.png", cell(LEUKOCYTE))
    save(folder / "S" / "b_BF.png", cell(CTC))
    words = ("classify", folder, "--model", model_folder, "--provider", "cpu")
    call(*words)
    shared = sidecar(folder / "S" / "a_BF.png")
    content = sidecar(folder / "S" / "A_BF.png").read_bytes()
    shared.write_bytes(content)
    for more in ((), ("--force",), ("--prevalence", 0.01)):
        done = call(*words, *more, code=3)
        assert "S/a_BF.png: sidecar belongs to S/A_BF.png" in done.stdout + done.stderr
    assert shared.read_bytes() == content
    found = json.loads(call("verify", folder, "--model", model_folder, "--json", code=3).stdout)
    assert [problem["path"] for problem in found["unusable"]] == ["S/a_BF.png"]
    assert found["sidecars"] == 2
    (problem,) = json.loads(call("status", folder, "--json", code=3).stdout)["unusable_sidecars"]
    assert problem["path"] == "S/a_BF.png"


def test_a_crop_that_was_renamed_with_its_sidecar_gets_its_new_name(
    tmp_path: Path, model_folder: Path
) -> None:
    folder = tmp_path / "in"
    save(folder / "S" / "a_BF.png", cell(CTC))
    words = ("classify", folder, "--model", model_folder, "--provider", "cpu")
    call(*words)
    before = load(sidecar(folder / "S" / "a_BF.png"))
    for name in ("_BF.png", "_BF.png.ctc.json"):
        (folder / "S" / f"a{name}").rename(folder / "S" / f"b{name}")
    (wrong,) = json.loads(call("verify", folder, "--model", model_folder, "--json", code=3).stdout)[
        "misplaced"
    ]
    assert wrong["path"] == "S/b_BF.png"
    call(*words)
    after = load(sidecar(folder / "S" / "b_BF.png"))
    assert (after["cell"], after["image"]["name"]) == ("b", "b_BF.png")
    assert (after["score"], after["call"]) == (before["score"], before["call"])
    assert [entry["cell"] for entry in after["history"]] == ["a"]
    call("verify", folder, "--model", model_folder)
