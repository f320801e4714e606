from __future__ import annotations

import json
import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ctcedge.errors import OutputError, SetupError
from ctcedge.fs import paths as places
from ctcedge.records import plain
from ctcedge.results import controls as module
from ctcedge.results.controls import Control, DecisionContext, read, usable_controls
from ctcedge.results.false_positives import describe, expected_false_positives
from tests.helpers.cli_runner import call, run
from tests.helpers.drawn_cells import cell, save
from tests.helpers.sidecar_files import sidecar, typed
from tests.unit.results.review_files import corrections, entry, imported

CONTEXT = DecisionContext("0" * 64, "balanced", "1" * 64)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "state"
    monkeypatch.setenv("CTCEDGE_STATE", str(folder))
    yield folder


def control(sample: str = "A", calls: int = 3, cells: int = 3000, **changes: Any) -> Control:
    made = Control(sample, "/x", "2026-01-02T03:04:05.678Z", "m 1", CONTEXT, cells, calls)
    return structs.replace(made, **changes)


def counts() -> set[tuple[str, int, int]]:
    return {(c.sample, c.ctc_calls, c.cells) for c in usable_controls()}


@pytest.fixture
def donors(tmp_path: Path, model_folder: Path) -> Path:
    """Two classified samples: 3 cells with one false positive, and 2 with none."""
    folder = tmp_path / "donors"
    for name, diameters in (("D1", (10, 10, 32)), ("D2", (10, 10))):
        for number, diameter in enumerate(diameters):
            save(folder / name / f"{number}_BF.png", cell(diameter))
    call("classify", folder, "--model", model_folder, "--provider", "cpu", "--um-per-px", 0.5)
    return folder


@pytest.mark.parametrize("words", ["controls add", "controls list", "controls remove"])
def test_help_shows_an_example(words: str) -> None:
    assert f"Example: ctcedge {words}" in call(*words.split(), "--help").stdout


@pytest.mark.parametrize("longer", ["name", "model"])
def test_what_could_not_be_read_back_is_not_written(donors: Path, state: Path, longer: str) -> None:
    call("controls", "add", donors)
    before = (state / "controls.json").read_bytes()
    if longer == "model":
        for path in donors.rglob("*.ctc.json"):
            record = json.loads(path.read_bytes())
            record["model"] |= {"name": "m" * 4096, "sha256": "a" * 64}
            path.write_text(json.dumps(record))
        done = call("controls", "add", donors, code=2)
    else:
        one = donors / "D1"
        done = call("controls", "add", one, "--name", "x" * 5000, code=2)
    assert "controls.json is not changed: " in done.stderr
    assert (state / "controls.json").read_bytes() == before
    assert len(counts()) == 2


def test_adding_a_folder(donors: Path, state: Path) -> None:
    done = call("controls", "add", donors)
    assert "D1: 1 of 3 cells" in done.stdout
    assert counts() == {
        ("D1", 1, 3),
        ("D2", 0, 2),
    }
    record = typed(json.loads(sidecar(donors / "D1" / "0_BF.png").read_bytes()))
    found = expected_false_positives(100, DecisionContext.of(record))
    assert found is not None and (found.samples, found.control_cells) == (2, 5)
    listed = json.loads(call("controls", "list", "--json").stdout)
    assert [each["sample"] for each in listed["controls"]] == ["D1", "D2"]
    assert listed["file"] == str(state / "controls.json")
    assert [path.name for path in state.iterdir() if path.is_file()] == ["controls.json"]


def test_adding_again_replaces(donors: Path, model_folder: Path) -> None:
    call("controls", "add", donors)
    save(donors / "D2" / "7_BF.png", cell(32))
    call("classify", donors, "--model", model_folder, "--provider", "cpu", "--um-per-px", 0.5)
    assert "replaces" in call("controls", "add", donors).stdout
    assert counts() == {
        ("D1", 1, 3),
        ("D2", 1, 3),
    }


def test_a_sample_of_the_same_name_from_another_folder_is_refused(
    donors: Path, tmp_path: Path
) -> None:
    call("controls", "add", donors)
    donors.rename(tmp_path / "moved")
    done = call("controls", "add", tmp_path / "moved", code=2)
    assert "'D1' was already added" in done.stderr
    assert len(usable_controls()) == 2
    call("controls", "remove", "D1")
    call("controls", "remove", "D2")
    call("controls", "add", tmp_path / "moved")
    assert len(usable_controls()) == 2


def test_a_list_without_the_file_that_cannot_be_read_is_none(state: Path) -> None:
    state.mkdir(exist_ok=True)
    (state / "controls.json").mkdir()
    for words in (("controls", "list"), ("controls", "list", "--json")):
        assert "not a regular file" in call(*words, code=2).stderr


def test_a_name_for_a_folder_of_one_sample(donors: Path) -> None:
    assert "holds 2" in call("controls", "add", donors, "--name", "x", code=2).stderr
    call("controls", "add", donors / "D1", "--name", "donor 7")
    assert [each.sample for each in usable_controls()] == ["donor 7"]


def test_a_sample_classified_in_two_contexts_is_refused(donors: Path, model_copy: Any) -> None:
    model_copy.edit(lambda spec: spec.update(version="2"))
    (donors / "D1" / "9_BF.png").write_bytes((donors / "D1" / "0_BF.png").read_bytes())
    sidecar(donors / "D1" / "0_BF.png").rename(donors / "kept")
    call("classify", donors, "--model", model_copy.folder, "--um-per-px", 0.5)
    (donors / "kept").rename(sidecar(donors / "D1" / "0_BF.png"))
    done = call("controls", "add", donors, code=2)
    assert "'D1' was classified with 2 different" in done.stderr
    assert usable_controls() == []


def test_crops_without_a_call_are_told_of(donors: Path) -> None:
    save(donors / "D1" / "9_BF.png", cell())
    assert "'D1': 1 crop has no usable call" in call("controls", "add", donors).stderr
    assert {c.cells for c in usable_controls()} == {3, 2}


def test_what_a_person_made_of_a_sidecar_is_not_counted(donors: Path) -> None:
    path = next((donors / "D1").glob("*.ctc.json"))
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"operating_point": {"a": 1}}))
    assert "1 crop has no usable call" in call("controls", "add", donors).stderr


def test_a_sample_whose_sidecars_lack_a_key_is_named_and_not_counted(donors: Path) -> None:
    for path in (donors / "D1").glob("*.ctc.json"):
        record = json.loads(path.read_bytes())
        del record["model"]["name"]
        path.write_text(json.dumps(record))
    assert "'D1': 3 crops have no usable call" in call("controls", "add", donors).stderr
    assert [(c.sample, c.cells) for c in usable_controls()] == [("D2", 2)]


def test_a_folder_without_calls_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "in" / "1_BF.png", cell())
    assert "classify" in call("controls", "add", tmp_path / "in", code=2).stderr


def test_removing(donors: Path) -> None:
    call("controls", "add", donors)
    call("controls", "remove", "D1")
    assert [each.sample for each in usable_controls()] == ["D2"]
    assert "there: D2" in call("controls", "remove", "D1", code=2).stderr


def test_a_write_that_fails_keeps_what_was_there(
    donors: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("controls", "add", donors)
    before = (state / "controls.json").read_bytes()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        module.remove("D1")
    assert (state / "controls.json").read_bytes() == before
    assert [path.name for path in state.iterdir() if path.is_file()] == ["controls.json"]


DAMAGED = {
    "torn": b'{"schema": "ctcedge/controls/1", "contr',
    "a newer one": b'{"schema": "ctcedge/controls/2", "controls": []}',
    "more calls than cells": json.dumps(
        {"schema": module.SCHEMA, "controls": [plain(control()) | {"cells": 1}]}
    ).encode(),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_told_of_and_never_replaced(
    donors: Path, state: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    state.mkdir(exist_ok=True)
    (state / "controls.json").write_bytes(content)
    with pytest.raises(SetupError, match=r"controls\.json"):
        read(state)
    assert expected_false_positives(100, CONTEXT) is None  # a run is not stopped by it
    assert "controls.json" in caplog.text
    call("controls", "add", donors, code=2)
    assert (state / "controls.json").read_bytes() == content


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.state_folder() == tmp_path / "state"
    monkeypatch.delenv("CTCEDGE_STATE")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert places.state_folder() == places.MACHINE_FOLDER
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert places.state_folder() == tmp_path / "xdg" / "ctcedge"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places.state_folder() == tmp_path / ".local" / "state" / "ctcedge"


def test_what_root_adds_counts_for_every_account(
    donors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CTCEDGE_STATE")
    machine = tmp_path / "machine"
    monkeypatch.setattr(places, "MACHINE_FOLDER", machine)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    before = os.umask(0o077)
    try:
        call("controls", "add", donors / "D1")
    finally:
        os.umask(before)
    assert stat.S_IMODE(machine.stat().st_mode) == 0o755
    assert stat.S_IMODE((machine / "controls.json").stat().st_mode) == 0o644

    # The service's account has no home.
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/nonexistent")
    assert [each.sample for each in usable_controls()] == ["D1"]
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "own"))
    call("controls", "add", donors / "D2")
    assert {each.sample for each in usable_controls()} == {"D1", "D2"}


def test_adding_at_once_loses_nothing(donors: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        names = [f"donor {i}" for i in range(8)]
        list(pool.map(lambda name: run("controls", "add", donors / "D1", "--name", name), names))
    assert sorted(each.sample for each in usable_controls()) == names


def review(image: Path, *calls: tuple[str, str]) -> None:
    """Put reviews, (reviewer, call), oldest first, into an image's sidecar."""
    record = json.loads(sidecar(image).read_bytes())
    entries = [
        {
            "call": word,
            "reviewer": reviewer,
            "time": f"2026-01-02T03:04:{second:02}.678Z",
            "from": record["call"],
            "note": "",
            "image_sha256": record["image"]["sha256"],
            "channels": ["BF"],
            "blinded": True,
            "weight": None,
        }
        for second, (reviewer, word) in enumerate(calls)
    ]
    sidecar(image).write_text(
        json.dumps(record | {"review": entries[-1] | {"history": entries[:-1]}})
    )


def test_a_sample_with_confirmed_ctcs_is_refused(donors: Path, state: Path) -> None:
    review(donors / "D1" / "2_BF.png", ("Ada", "CTC"))
    review(donors / "D1" / "0_BF.png", ("Ada", "CTC"))
    done = call("controls", "add", donors, code=2)
    assert "'D1': 2 cells were reviewed as CTC" in done.stderr
    assert "--with-confirmed-ctcs" in done.stderr
    assert "D2" not in done.stderr
    assert usable_controls() == [] and not (state / "controls.json").exists()
    assert call("controls", "add", donors, "--json", code=2).stdout == ""


def test_a_sample_with_confirmed_ctcs_is_marked_where_it_is_added(
    donors: Path, state: Path
) -> None:
    review(donors / "D1" / "2_BF.png", ("Ada", "CTC"))
    done = call("controls", "add", donors, "--with-confirmed-ctcs", "--json")
    added = json.loads(done.stdout)
    assert {each["sample"]: each["confirmed_ctcs"] for each in added["controls"]} == {
        "D1": 1,
        "D2": 0,
    }
    assert added["doubts"] == [
        "sample 'D1': 1 cell was reviewed as CTC; a control must contain none"
    ]
    kept = json.loads((state / "controls.json").read_bytes())["controls"]
    listed = json.loads(call("controls", "list", "--json").stdout)["controls"]
    for controls in (kept, listed):
        assert [each["confirmed_ctcs"] for each in controls] == [1, 0]
    lines = call("controls", "list").stdout.splitlines()
    assert "1 confirmed CTC" in lines[0] and "confirmed" not in lines[1]
    record = typed(json.loads(sidecar(donors / "D2" / "0_BF.png").read_bytes()))
    found = expected_false_positives(100, DecisionContext.of(record))
    assert found is not None and found.as_json()["samples_with_ctcs"] == 1
    assert "CTCs were confirmed in 1 of them" in describe(found)


@pytest.mark.parametrize(
    ("calls", "refused"),
    [
        ((("Ada", "CTC"), ("Ada", "leukocyte")), False),
        ((("Ada", "leukocyte"), ("Ada", "unsure")), False),
        ((("Ada", "CTC"), ("Bob", "leukocyte")), True),
        ((("Ada", "leukocyte"), ("Ada", "CTC")), True),
    ],
)
def test_the_last_review_of_each_reviewer_counts(
    donors: Path, calls: tuple[tuple[str, str], ...], refused: bool
) -> None:
    review(donors / "D2" / "0_BF.png", *calls)
    call("controls", "add", donors, code=2 if refused else 0)


def test_a_confirmed_ctc_counts_where_the_image_cannot_be_read_any_more(
    donors: Path, model_folder: Path
) -> None:
    review(donors / "D1" / "2_BF.png", ("Ada", "CTC"))
    (donors / "D1" / "2_BF.png").write_bytes(b"torn")
    words = ("classify", donors, "--model", model_folder, "--provider", "cpu", "--um-per-px", 0.5)
    call(*words, code=3)
    assert "1 cell was reviewed as CTC" in call("controls", "add", donors, code=2).stderr


def test_a_control_of_an_earlier_version_is_read(state: Path) -> None:
    record = plain(control())
    del record["confirmed_ctcs"]
    state.mkdir()
    content = {"schema": module.SCHEMA, "controls": [record]}
    (state / "controls.json").write_text(json.dumps(content))
    (found,) = usable_controls()
    assert found.confirmed_ctcs is None
    assert "confirmed" not in call("controls", "list").stdout


@pytest.mark.parametrize("name", [None, "donor 7"])
def test_ctcs_that_are_confirmed_in_a_control_later_are_named(
    donors: Path, tmp_path: Path, name: str | None
) -> None:
    folder = donors / "D1" if name else donors
    call("controls", "add", folder, *(() if name is None else ("--name", name)))
    file = tmp_path / "corrections.json"
    path = "2_BF.png" if name else "D1/2_BF.png"
    file.write_text(json.dumps(corrections(entry(folder, path, call="CTC"))))
    done = call("review", "import", file, folder)
    expected = f"ample '{name or 'D1'}' counts as a healthy-donor control, and 1 cell was reviewed"
    assert expected in done.stderr
    (text,) = imported(file, folder)["controls_with_ctcs"]
    assert expected in text
    call("controls", "add", folder, *(() if name is None else ("--name", name)), code=2)
    call("controls", "remove", name or "D1")
    assert imported(file, folder)["controls_with_ctcs"] == []


def test_names_of_another_unicode_form_are_the_same_sample(
    donors: Path, tmp_path: Path, state: Path
) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))
    call("controls", "add", donors / "D1", "--name", composed)
    done = call("controls", "add", donors / "D2", "--name", decomposed, code=2)
    assert "was already added" in done.stderr
    assert "replaces" in call("controls", "add", donors / "D1", "--name", decomposed).stdout
    call("controls", "remove", composed)
    assert usable_controls() == []


@pytest.mark.parametrize("content", [b"", b"\0" * 900])
def test_an_empty_file_that_a_full_disk_left_is_named_with_its_cure(
    donors: Path, state: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    state.mkdir(exist_ok=True)
    (state / "controls.json").write_bytes(content)
    assert usable_controls() == []
    assert "is empty, as a full disk" in caplog.text
    assert "is empty, as a full disk" in call("controls", "add", donors, code=2).stderr
    assert (state / "controls.json").read_bytes() == content
    (state / "controls.json").unlink()
    call("controls", "add", donors)


def test_controls_and_their_new_folders_are_on_the_disk_before_they_are_reported(
    donors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTCEDGE_STATE", str(tmp_path / "new" / "state"))
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
    )
    call("controls", "add", donors)
    assert synced == [True, True, False, True]  # two parents, then the file and its folder
