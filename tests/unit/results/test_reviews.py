from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctcedge.discovery.naming import Crop
from ctcedge.sidecars.store import NotWritten, SidecarStore
from tests.helpers.cli_runner import call, classify
from tests.helpers.drawn_cells import CTC, cell, save
from tests.helpers.sidecar_files import load, sidecar, state, typed, without_chain
from tests.unit.results.review_files import entry, imported


def test_help_shows_an_example() -> None:
    assert "Example: ctcedge review import " in call("review", "import", "--help").stdout


def test_a_review_stands_beside_the_models_call(called: Path, saved: Callable[..., Path]) -> None:
    image = called / "S1" / "00002_BF.png"
    before = load(sidecar(image))
    others = state(called)
    found = imported(saved(entry(called)), called)
    assert (found["entries"], found["applied"], found["known"]) == (1, 1, 0)
    after = load(sidecar(image))
    assert after["review"] == {
        "call": "CTC",
        "reviewer": "Ada",
        "time": "2026-01-02T03:04:05.678Z",
        "from": "review",
        "note": "bright rim",
        "image_sha256": before["image"]["sha256"],
        "channels": ["BF", "DAPI"],
        "blinded": True,
        "weight": None,
        "history": [],
    }
    assert without_chain(after) | {"review": None} == without_chain(before)
    changed = {path for path, mark in state(called).items() if others[path] != mark}
    assert changed == {"S1/00002_BF.png.ctc.json"}


def test_importing_again_changes_nothing(called: Path, saved: Callable[..., Path]) -> None:
    file = saved(entry(called), entry(called, "S1/00001_BF.png", call="leukocyte", weight=1.0))
    imported(file, called)
    before = state(called)
    found = imported(file, called)
    assert (found["applied"], found["known"], found["conflicts"]) == (0, 2, [])
    assert state(called) == before


def test_the_folder_is_that_of_the_file_if_left_out(
    called: Path, saved: Callable[..., Path]
) -> None:
    file = saved(entry(called)).rename(called / "corrections.json")
    assert imported(file)["applied"] == 1
    assert imported(file, "--sidecars", called)["known"] == 1


def test_sidecars_elsewhere(
    crops: Path, model_folder: Path, tmp_path: Path, saved: Callable[..., Path]
) -> None:
    out = tmp_path / "o"
    classify(crops, model_folder, "--out", out)
    file = saved(entry(out))
    assert "--sidecars" in call("review", "import", file, crops, code=2).stderr
    assert imported(file, crops, "--sidecars", out)["applied"] == 1
    assert load(sidecar(out / "S1" / "00002_BF.png"))["review"]["call"] == "CTC"


def test_a_reviewers_second_thought_keeps_the_first(
    called: Path, saved: Callable[..., Path]
) -> None:
    imported(saved(entry(called)), called)
    later = entry(called, call="leukocyte", time="2026-01-03T00:00:00Z")
    found = imported(saved(later), called)
    assert found["conflicts"] == []
    review = load(sidecar(called / "S1" / "00002_BF.png"))["review"]
    assert (review["call"], [each["call"] for each in review["history"]]) == ("leukocyte", ["CTC"])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_reviewers_the_later_stands_whatever_is_imported_first(
    called: Path, saved: Callable[..., Path], order: tuple[int, int]
) -> None:
    files = (
        ({"time": "2026-01-02T00:00:00Z"}, {"reviewer": "Ada"}),
        ({"time": "2026-01-03T00:00:00Z", "call": "leukocyte"}, {"reviewer": "Bo"}),
    )
    found = {}
    for which in order:
        words, head = files[which]
        found = imported(saved(entry(called, **words), **head), called)
    (conflict,) = found["conflicts"]
    assert conflict["path"] == "S1/00002_BF.png"
    assert "Ada" in conflict["what"] and "Bo" in conflict["what"]
    review = load(sidecar(called / "S1" / "00002_BF.png"))["review"]
    assert (review["reviewer"], review["call"]) == ("Bo", "leukocyte")
    assert [(each["reviewer"], each["call"]) for each in review["history"]] == [("Ada", "CTC")]


def test_a_review_that_comes_too_late_to_stand_is_named(
    called: Path, saved: Callable[..., Path]
) -> None:
    imported(saved(entry(called, time="2026-01-03T00:00:00Z"), reviewer="Bo"), called)
    found = imported(saved(entry(called)), called)
    (earlier,) = found["earlier"]
    assert earlier["path"] == "S1/00002_BF.png"
    assert earlier["what"] == "Bo: CTC at 2026-01-03T00:00:00Z"
    assert found["applied"] == 1


def test_a_review_of_the_future_is_named(called: Path, saved: Callable[..., Path]) -> None:
    file = saved(entry(called, time="9999-01-01T00:00:00Z"), entry(called, "S1/00001_BF.png"))
    for _ in range(2):  # also where it is known already
        found = imported(file, called)
        assert found["ahead"] == [{"path": "S1/00002_BF.png", "what": "9999-01-01T00:00:00Z"}]
    assert "check the clock" in call("review", "import", file, called).stdout


def test_two_reviewers_of_one_mind_do_not_conflict(
    called: Path, saved: Callable[..., Path]
) -> None:
    imported(saved(entry(called)), called)
    assert imported(saved(entry(called), reviewer="Bo"), called)["conflicts"] == []


def test_a_changed_image_is_named_and_not_applied(called: Path, saved: Callable[..., Path]) -> None:
    file = saved(entry(called))
    save(called / "S1" / "00002_BF.png", cell(CTC))
    before = state(called)
    for more in ((), ("--changed-calls",)):
        found = imported(file, called, *more, code=3)
        assert found["applied"] == 0
        assert found["changed"] == [{"path": "S1/00002_BF.png", "what": "its image has changed"}]
    assert state(called) == before


def test_an_image_that_changed_and_was_called_again(
    called: Path, model_folder: Path, saved: Callable[..., Path]
) -> None:
    file = saved(entry(called))
    image = called / "S1" / "00002_BF.png"
    original = image.read_bytes()
    save(image, cell(CTC))
    classify(called, model_folder)
    assert imported(file, called, code=3)["changed"]
    image.write_bytes(original)  # but the sidecar is of the other image
    (change,) = imported(file, called, code=3)["changed"]
    assert "of another image" in change["what"]
    assert load(sidecar(image))["review"] is None


def test_another_call_of_the_model_is_named_and_applied_only_if_asked_for(
    called: Path, saved: Callable[..., Path]
) -> None:
    file = saved(entry(called, **{"from": "leukocyte"}))
    (change,) = imported(file, called, code=3)["changed"]
    assert "was leukocyte at the review and is review now" in change["what"]
    assert load(sidecar(called / "S1" / "00002_BF.png"))["review"] is None
    assert imported(file, called, "--changed-calls")["applied"] == 1
    assert load(sidecar(called / "S1" / "00002_BF.png"))["review"]["from"] == "leukocyte"


def test_a_review_that_is_there_stays_known_when_the_call_changes(
    called: Path, saved: Callable[..., Path]
) -> None:
    file = saved(entry(called))
    imported(file, called)
    path = sidecar(called / "S1" / "00002_BF.png")
    path.write_text(json.dumps(load(path) | {"call": "CTC", "reasons": []}))
    assert imported(file, called)["known"] == 1


def test_cells_that_are_not_there_are_named(called: Path, saved: Callable[..., Path]) -> None:
    gone = entry(called) | {"path": "S1/00099_BF.png", "image_sha256": "0" * 64}
    outside = entry(called) | {"path": "../secret", "image_sha256": "1" * 64}
    pending = entry(called, "S1/00001_BF.png")
    sidecar(called / "S1" / "00001_BF.png").unlink()
    found = imported(saved(gone, outside, pending), called, code=3)
    assert {each["path"] for each in found["missing"]} == {
        "S1/00099_BF.png",
        "../secret",
        "S1/00001_BF.png",
    }
    assert found["applied"] == 0


def test_a_renamed_image_is_found_by_its_content_and_told_of(
    called: Path, saved: Callable[..., Path]
) -> None:
    file = saved(entry(called))
    for path in (sidecar(called / "S1" / "00002_BF.png"), called / "S1" / "00002_BF.png"):
        path.rename(path.with_name(path.name.replace("00002", "00007")))
    found = imported(file, called)
    assert found["moved"] == [{"path": "S1/00002_BF.png", "what": "S1/00007_BF.png"}]
    assert load(sidecar(called / "S1" / "00007_BF.png"))["review"]["call"] == "CTC"


def test_pseudonyms_are_told_by_the_image_alone(called: Path, saved: Callable[..., Path]) -> None:
    # Its pseudonym is the name of another crop, as chance may have it.
    file = saved(
        entry(called) | {"path": "S1/00001_BF.png", "sample": "P", "cell": "x"},
        pseudonymised=True,
        folder_name="P",
    )
    found = imported(file, called)
    assert (found["applied"], found["moved"]) == (1, [])
    assert load(sidecar(called / "S1" / "00002_BF.png"))["review"]["call"] == "CTC"
    assert load(sidecar(called / "S1" / "00001_BF.png"))["review"] is None


def test_an_image_that_several_cells_share_is_named(
    called: Path, model_folder: Path, saved: Callable[..., Path]
) -> None:
    twin = called / "S1" / "00008_BF.png"
    twin.write_bytes((called / "S1" / "00002_BF.png").read_bytes())
    classify(called, model_folder)
    found = imported(saved(entry(called), pseudonymised=True), called, code=3)
    assert "2 crops have this image" in found["missing"][0]["what"]
    assert imported(saved(entry(called)), called)["applied"] == 1
    assert load(sidecar(twin))["review"] is None


def test_a_file_of_another_folder_is_told_of(called: Path, saved: Callable[..., Path]) -> None:
    done = call("review", "import", saved(entry(called), folder_name="Run 7"), called)
    assert "Run 7" in done.stderr
    assert "1 written" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which may give files away")
def test_a_sidecar_keeps_its_owner_and_its_rights(called: Path, saved: Callable[..., Path]) -> None:
    path = sidecar(called / "S1" / "00002_BF.png")
    file = saved(entry(called))
    path.chmod(0o640)
    os.chown(path, 12345, 12346)
    imported(file, called)
    found = path.stat()
    assert load(path)["review"]
    assert (found.st_uid, found.st_gid) == (12345, 12346)
    assert stat.S_IMODE(found.st_mode) == 0o640


def test_a_sidecar_that_cannot_be_written_is_named(
    called: Path, saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = saved(entry(called))
    before = state(called)
    monkeypatch.setattr(os, "replace", refuse)
    found = imported(file, called, code=3)
    assert "Permission denied" in found["failed"][0]["what"]
    assert state(called) == before


def test_a_sidecar_that_cannot_be_opened_is_not_taken_for_one_without_review(
    called: Path, saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(saved(entry(called)), called)
    path = sidecar(called / "S1" / "00002_BF.png")
    before = path.read_bytes()
    whole = os.open

    def fail(name: Any, *arguments: Any, **options: Any) -> int:
        if name == path.name:
            raise OSError(errno.EMFILE, "Too many open files")
        return whole(name, *arguments, **options)

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(NotWritten, match="Too many open files"):
        SidecarStore(called).write(Crop("S1/00002_BF.png", "S1", "00002", "BF"), typed(load(path)))
    monkeypatch.undo()
    assert path.read_bytes() == before


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files and folders that were synced, a sidecar's as 'sidecar', in order."""
    steps: list[str] = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        steps.append(os.path.basename(path) if is_folder else "sidecar")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return steps


def test_reviews_are_on_the_disk_before_the_import_reports_them(
    called: Path, saved: Callable[..., Path], synced: list[str]
) -> None:
    file = saved(entry(called, "S1/00001_BF.png"), entry(called))
    assert imported(file, called)["applied"] == 2
    assert synced == ["sidecar", "sidecar", called.name, "S1"]
    synced.clear()
    # An earlier import may have ended before it synced the folder.
    assert imported(file, called)["known"] == 2
    assert synced == [called.name, "S1"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_an_import_whose_folder_cannot_be_synced_does_not_report_success(
    called: Path, saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        result = call("review", "import", saved(entry(called)), called, "--json", code=2)
    assert "cannot be brought to the disk" in result.stderr
    assert result.stdout == ""
    assert imported(saved(entry(called)), called)["known"] == 1
