"""Saved corrections, in a real browser: imported into sidecars, and loaded into the page again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.report_page import ReportPage
from tests.helpers import report_data
from tests.helpers.cli_runner import call
from tests.helpers.sidecar_files import sidecars


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "corrections.json"


def review_two(page: ReportPage, file: Path) -> Any:
    """Decide on two cells of the gallery, one with a note; save the file and return its content."""
    page.show("gallery")
    page.press("ArrowRight", "c")
    page.enter_reviewer()
    page.press("l", "ArrowLeft")
    page.write_note("odd <b>rim</b>")
    return page.save(file)


@pytest.mark.parametrize("pseudonymise", [False, True])
def test_saved_file_imports(
    blank: ReportPage, tmp_path: Path, file: Path, *, pseudonymise: bool
) -> None:
    page = blank
    run = report_data.run_of(tmp_path / "run")
    page.open(report_data.write(run, pseudonymise=pseudonymise))
    page.show("gallery")
    page.press("ArrowRight", "l")
    page.enter_reviewer()
    page.save(file)
    call("review", "import", file, run)
    sidecar = sidecars(run)["S2/00003_BF.png"]
    assert (sidecar["call"], sidecar["review"]["call"]) == ("CTC", "leukocyte")
    assert sidecar["review"]["reviewer"] == "Ada"
    page.open(report_data.write(run, pseudonymise=pseudonymise))
    page.show("gallery")
    page.filter("reviewed", "before")
    assert len(page.tiles()) == 1
    reviewer = "reviewer-" if pseudonymise else "Ada"
    assert f"leukocyte by {reviewer}" in page.text("#detail")


def test_saved_corrections_load_again(page: ReportPage, file: Path, tmp_path: Path) -> None:
    before = review_two(page, file)
    page.forget()
    assert not page.can_save()
    page.show("gallery")
    assert page.load(file) == "2 corrections by Ada loaded"
    assert page.text("#progress") == "2 reviewed"  # they are in a file already
    assert page.text("#reader") == "Reader: Ada"
    after = page.save(tmp_path / "again.json")
    assert [after["reviewer"], after["entries"]] == [before["reviewer"], before["entries"]]


def test_of_loaded_and_present_corrections_the_later_count(
    page: ReportPage, file: Path, tmp_path: Path
) -> None:
    first, second = review_two(page, file)["entries"]
    page.show("gallery")
    page.filter("text", second["cell"])
    page.press("r")  # later than in the file
    page.filter("text", first["cell"])
    page.press("Delete")
    assert page.load(file) == "2 corrections by Ada loaded"
    entries = page.save(tmp_path / "again.json")["entries"]
    calls = {entry["cell"]: entry["call"] for entry in entries}
    assert calls == {first["cell"]: first["call"], second["cell"]: "unsure"}


def test_corrections_of_changed_or_missing_cells_do_not_load(page: ReportPage, file: Path) -> None:
    content = review_two(page, file)
    page.forget()
    first, second = content["entries"]
    file.write_text(json.dumps(content | {"entries": [first, second | {"from": "review"}]}))
    assert "; 1 cell is not in this report or changed since" in page.load(file)
    assert page.text("#progress") == "1 reviewed"
    page.forget()
    file.write_text(json.dumps(content | {"entries": [first | {"image_sha256": "0" * 64}]}))
    assert page.load(file).startswith("No cell of this file is in this report")
    assert not page.can_save()


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "ctcedge/corrections/2"},
        {"entries": 7},
        {"reviewer": " "},
        {"entries": [None]},
        {"call": "<img src=x onerror=document.title=1>"},
        {"note": ["x"]},
        {"time": "yesterday"},
        {"channels": [{}]},
        {"blinded": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_files_do_not_load(page: ReportPage, file: Path, change: dict[str, Any]) -> None:
    content = review_two(page, file)
    page.forget()
    for key, value in change.items():
        (content if key in content else content["entries"][1])[key] = value
    file.write_text(json.dumps(content))
    assert page.load(file).startswith(("This is not a corrections file", "The file is"))
    assert not page.can_save()
    file.write_text("{")
    assert page.load(file).startswith("This is not a corrections file")


def test_another_reader_starts_without_reviews_and_files_are_kept_apart(
    page: ReportPage, file: Path, tmp_path: Path
) -> None:
    review_two(page, file)
    page.press("r")
    page.page.locator("#reader").click()
    assert "Save the corrections first" in page.text("#status")
    page.save(tmp_path / "again.json")
    page.page.locator("#reader").click()
    page.page.locator("#reader-dialog[open]").wait_for()
    assert "2 corrections by Ada will be deleted" in page.text("#reader-text")
    page.page.locator("#reader-dialog button", has_text="Cancel").click()
    assert page.text("#reader") == "Reader: Ada"  # nothing is deleted
    assert page.can_save()
    page.page.locator("#reader").click()
    page.page.locator("#reader-dialog button", has_text="continue").click()
    page.page.locator("#reviewer-dialog[open]").wait_for()
    page.write("Bo")
    page.press("Enter")
    page.until("document.getElementById('reader').innerText === 'Reader: Bo'")
    assert page.text("#progress") == ""
    page.show("review")
    assert "hidden until you have decided" in page.text("#review .cell")
    page.press("c")
    page.until("document.getElementById('progress').innerText")
    assert "by Ada, but the corrections on this page are by Bo" in page.load(file)
    assert page.save(tmp_path / "bo.json")["reviewer"] == "Bo"
