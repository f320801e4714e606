"""Reviewing on the report page, in a real browser: decisions, blinding, undo, storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctcedge.report.build import REPORT_NAME
from tests.browser.report_page import ReportPage
from tests.helpers import report_data


def test_arrows_move_and_keys_decide_in_the_gallery(page: ReportPage, tmp_path: Path) -> None:
    page.show("gallery")
    page.press("ArrowRight", "c")
    page.enter_reviewer()
    page.until("document.querySelectorAll('.tile b').length === 1")
    page.press("l", "ArrowLeft", "r", "u")
    content = page.save(tmp_path / "file.json")
    assert content["reviewer"] == "Ada"
    assert [(e["cell"], e["call"], e["blinded"]) for e in content["entries"]] == [
        ("00003", "CTC", False),
        ("00001", "leukocyte", False),
    ]
    assert content["entries"][0]["channels"] == ["BF", "DAPI", "PE"]
    assert content["entries"][0]["weight"] is None
    assert page.text("#progress") == "2 reviewed"
    page.filter("reviewed", "differs")
    assert [label.split()[1] for label in page.tiles()] == ["00001"]


def test_review_hides_the_call_until_decided(page: ReportPage, tmp_path: Path) -> None:
    page.show("review")
    for _ in range(3):
        text = page.text("#review .cell")
        assert "hidden until you have decided" in text
        assert "probability" not in text
        assert "near-threshold" not in text
        page.press("ArrowRight")
    page.press("ArrowLeft", "ArrowLeft", "ArrowLeft", "c")
    page.enter_reviewer()
    page.until("document.querySelector('#review strong').innerText.startsWith('Cell 2 of ')")
    page.press("ArrowLeft")
    assert "probability" in page.text("#review .cell")
    (entry,) = page.save(tmp_path / "file.json")["entries"]
    assert (entry["call"], entry["blinded"]) == ("CTC", True)
    page.press("l")  # now that the call is known
    (entry,) = page.save(tmp_path / "file.json")["entries"]
    assert (entry["call"], entry["blinded"]) == ("leukocyte", False)


def test_undo_of_a_blinded_decision_leaves_it_blinded(page: ReportPage, tmp_path: Path) -> None:
    page.show("review")
    page.press("c")
    page.enter_reviewer()
    page.press("u")
    assert "hidden until you have decided" in page.text("#review .cell")
    assert not page.can_save()
    page.press("r")
    (entry,) = page.save(tmp_path / "file.json")["entries"]
    assert (entry["call"], entry["blinded"]) == ("unsure", True)


def test_the_key_after_the_name_goes_to_the_page(page: ReportPage) -> None:
    page.evaluate("location.hash = 'review'")  # a click would focus a button
    page.until("document.querySelector('#review canvas')")
    page.evaluate(
        "new MutationObserver(() => { window.focused ||= document.activeElement.tagName; })"
        ".observe(document.getElementById('progress'), {childList: true})"
    )
    page.press("c")
    page.enter_reviewer()
    assert page.evaluate("window.focused") == "BODY"


def test_drawn_cells_carry_their_weight(page: ReportPage, run: Path, tmp_path: Path) -> None:
    data = report_data.data_of(run / REPORT_NAME)
    page.show("review")
    page.press("l")
    page.enter_reviewer()
    page.press(*"l" * (len(data["list"]) - 1))
    page.until("document.querySelector('#review').innerText.includes('All cells of the list')")
    content = page.save(tmp_path / "file.json")
    drawn = {data["cells"]["path"][index] for index in data["draw"]["cells"]}
    weight = data["draw"]["leukocytes"] / data["draw"]["drawn"]
    assert weight == pytest.approx(81 / 51)
    assert len(content["entries"]) == 56
    for entry in content["entries"]:
        expected = weight if entry["path"] in drawn else None
        assert entry["weight"] == (expected and pytest.approx(expected))
        assert entry["blinded"]


def test_reload_keeps_reviews_notes_and_view(page: ReportPage, tmp_path: Path) -> None:
    page.show("gallery")
    page.press("c")
    page.enter_reviewer("Ada Lovelace")
    page.press("ArrowLeft")
    page.write_note("a <b>note</b>")
    page.reload()
    assert page.evaluate("location.hash") == "#gallery"
    assert "1 reviewed, not saved" in page.text("#progress")
    assert page.page.locator("#detail textarea").input_value() == "a <b>note</b>"
    page.press("ArrowRight", "l")
    assert not page.evaluate("document.getElementById('reviewer-dialog').open")
    content = page.save(tmp_path / "file.json")
    assert content["reviewer"] == "Ada Lovelace"
    assert [e["note"] for e in content["entries"]] == ["a <b>note</b>", ""]


def test_delete_and_keys_in_a_text_field(page: ReportPage) -> None:
    page.show("gallery")
    page.press("c")
    page.enter_reviewer()
    page.press("ArrowLeft", "Delete")
    assert not page.can_save()
    page.page.locator("[name=text]").focus()
    page.press("c", "l")
    assert page.page.locator("[name=text]").input_value() == "cl"
    assert not page.can_save()


def test_without_storage_the_page_warns_and_still_works(
    blank: ReportPage, run: Path, tmp_path: Path
) -> None:
    page = blank
    page.page.add_init_script(
        "Object.defineProperty(window, 'localStorage',"
        " {get() { throw new DOMException('denied', 'SecurityError'); }})"
    )
    page.open(run / REPORT_NAME)
    assert "cannot store reviews for this file" in page.text("#storage")
    page.show("gallery")
    page.press("c")
    page.enter_reviewer()
    assert len(page.save(tmp_path / "file.json")["entries"]) == 1


def test_a_review_of_a_call_that_changed_since_does_not_count(
    blank: ReportPage, tmp_path: Path
) -> None:
    page = blank
    run = report_data.run_of(tmp_path / "run")
    page.open(report_data.write(run))
    page.show("gallery")
    page.press("ArrowRight", "c")
    page.enter_reviewer()
    report_data.add(run, "S2", "00003", 0.1)
    page.open(report_data.write(run))
    assert not page.can_save()
