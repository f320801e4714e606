"""The views of the report page in a real browser: summary, gallery, review, print."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ctcedge.report.build import REPORT_NAME
from tests.browser.report_page import ReportPage
from tests.helpers import report_data


def test_opens_without_a_request_and_names_are_only_text(page: ReportPage, run: Path) -> None:
    assert set(page.recorder.requests) == {(run / REPORT_NAME).resolve().as_uri()}
    assert "Research software, not a diagnostic." in page.text("header")
    assert page.page.title() == "ctcedge: run"
    assert page.page.locator("main img").count() == 0
    samples = page.page.locator("[name=sample] option").all_inner_texts()
    assert "<img src=x onerror=document.title=1> \\u{202e}evil" in samples


def test_summary_shows_counts_charts_and_facts(page: ReportPage) -> None:
    text = page.text("#summary")
    for expected in ("Called CTC\n3", "Clusters of touching cells\n1", "unknown here", "by-hand 1"):
        assert expected in text
    assert page.page.locator("#summary svg path").count() == 3
    assert page.page.locator("#summary svg .mark").count() == 2
    title = page.page.locator("#summary svg title").text_content()
    assert title is not None
    assert title.endswith("3 CTC, 2 review, 81 leukocyte")


def test_gallery_is_ordered_and_filtered(page: ReportPage) -> None:
    page.show("gallery")
    labels = page.tiles()
    assert "cluster" in labels[0]
    probabilities = [float(label.split(":")[1].split()[1].strip(",")) for label in labels[1:]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert page.text("#match-count") == "86 cells"
    page.filter("call", "review")
    assert ["00002" in page.tiles()[0], len(page.tiles())] == [True, 2]
    page.filter("reason", "debris")
    assert [label.split()[1] for label in page.tiles()] == ["00005"]
    page.page.locator("#filters [type=reset]").click()
    page.until("document.getElementById('match-count').textContent === '86 cells'")
    page.filter("sample", "2")
    assert {label.split(" of ")[1].split(":")[0] for label in page.tiles()} == {"S2"}
    page.filter("text", "00003")
    assert page.text("#match-count") == "1 of 86 cells"
    page.filter("text", "nothing such")
    assert "No cells match these filters." in page.text("#canvas")


def test_a_reason_in_the_summary_leads_to_its_cells(page: ReportPage) -> None:
    page.page.locator(".bars button", has_text="cluster").click()
    assert len(page.tiles()) == 1
    assert page.evaluate("location.hash") == "#gallery"


def test_a_number_in_the_summary_leads_to_its_cells(page: ReportPage) -> None:
    page.page.locator(".figures button", has_text="For review").click()
    assert [label.split(": ")[1].split()[0] for label in page.tiles()] == ["review"] * 2
    assert page.evaluate("location.hash") == "#gallery"


@pytest.mark.parametrize(("width", "height"), [(420, 700), (1000, 560)])
@pytest.mark.parametrize("view", ["gallery", "review"])
def test_decisions_are_in_sight_in_a_small_window(
    page: ReportPage, view: str, width: int, height: int
) -> None:
    page.resize(width, height)
    page.show(view)
    box = f"document.querySelector('#{view} .decide button').getBoundingClientRect()"
    page.until(f"{box}.bottom > 0")
    assert page.evaluate(f"{box}.bottom") <= height


def test_bright_field_is_as_large_as_there_is_room(page: ReportPage) -> None:
    side = "document.querySelector('#review canvas').getBoundingClientRect().width"
    sides = []
    page.show("review")
    for width, height in ((900, 600), (1920, 1000)):
        page.resize(width, height)
        page.press("ArrowRight", "ArrowLeft")
        sides.append(page.evaluate(side))
        assert page.evaluate("document.getElementById('review').scrollWidth") <= width
    assert 240 <= sides[0] < sides[1] <= 640


def test_the_gallery_prints_the_rows_on_screen_without_empty_pages(page: ReportPage) -> None:
    page.show("gallery")
    page.until("document.querySelectorAll('.tile').length > 20")
    shown = len(page.tiles())
    page.page.emulate_media(media="print")
    page.evaluate("new Promise((done) => setTimeout(done, 200))")  # for observers of sizes
    assert len(page.tiles()) == shown
    gap = """(() => {
      const tiles = [...document.querySelectorAll('.tile')];
      const end = Math.max(...tiles.map((tile) => tile.getBoundingClientRect().bottom));
      return document.getElementById('canvas').getBoundingClientRect().bottom - end;
    })()"""
    assert page.evaluate(gap) < 60  # a heading may be the last element


def test_pictures_are_drawn(page: ReportPage) -> None:
    page.show("gallery")
    spread = """(() => {
      const copy = new OffscreenCanvas(100, 100).getContext('2d', {willReadFrequently: true});
      copy.drawImage(document.querySelector('%s'), 0, 0);
      const data = copy.getImageData(0, 0, 100, 100).data;
      const grey = data.filter((_, i) => i %% 4 === 0);
      return Math.max(...grey) - Math.min(...grey);
    })()"""
    page.until(spread % ".tile canvas" + " > 60")
    page.filter("text", "00003")
    page.until("document.querySelectorAll('#detail canvas').length === 3")
    page.until(spread % "#detail .beside canvas" + " > 60")
    assert "bright field\nDAPI\nPE" in page.text("#detail")
    page.press("b")
    page.until("document.querySelectorAll('#detail canvas').length === 1")
    page.press("b")


def test_thirty_thousand_cells_scroll(blank: ReportPage, tmp_path: Path) -> None:
    page = blank
    page.open(report_of_many(tmp_path, 30_000))
    page.show("gallery")
    # The rows per sample grow with the samples, up to 50, and not with the cells.
    nodes = "document.querySelectorAll('*:not(.samples *)').length"
    assert page.evaluate(nodes) < 500
    for fraction in (0.1, 0.37, 0.62, 1):
        page.evaluate(
            "(() => { const s = document.getElementById('scroller');"
            f" s.scrollTop = {fraction} * s.scrollHeight; }})()"
        )
        page.until("document.querySelectorAll('.tile').length > 20")
        assert page.evaluate(nodes) < 500
    page.press("End")
    selected = page.page.locator(".tile[aria-selected=true]").get_attribute("aria-label")
    assert selected is not None
    assert "cell 29999 of S" in selected
    page.filter("text", "12345")
    assert page.text("#match-count") == "1 of 30,000 cells"


def report_of_many(folder: Path, cells: int) -> Path:
    """A page of many cells that repeats the pictures of a small run."""
    page = report_data.write(report_data.run_of(folder / "run"))
    text, data = page.read_text(encoding="utf-8"), report_data.data_of(page)
    small = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    assert small in text
    columns, first = data["cells"], 1  # the only cluster is not repeated
    length = len(columns["path"])
    for name, column in columns.items():
        columns[name] = [column[0], *(column[first + k % (length - 1)] for k in range(cells - 1))]
    columns["cell"] = [f"{number:05}" for number in range(cells)]
    columns["path"] = [f"S1/{number:05}_BF.png" for number in range(cells)]
    columns["sha256"] = [f"{number:064x}" for number in range(cells)]
    columns["probability"] = np.linspace(1, 0, cells).round(6).tolist()
    big = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    sheet = text.partition('data-pictures="sheets">\n')[2].partition("\n")[0]
    sheets = "\n".join([sheet] * -(-cells // 64))
    page.write_text(text.replace(small, big).replace(sheet, sheets), encoding="utf-8")
    return page
