"""What a person does with the report page, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import ctcedge
from ctcedge.report import build as write
from tests.browser.chromium import PROGRAM, Chromium, chromium
from tests.helpers import report_data as reports
from tests.helpers.support import call, sidecars, until

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")

SCHEMA = Path(ctcedge.__file__).parent / "sidecars" / "schemas" / "corrections-1.json"
ODD = "<img src=x onerror=document.title=1> \u202eevil"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = reports.run_of(tmp_path_factory.mktemp("browser") / "run", leukocytes=80)
    reports.add(folder, ODD, "00999", 0.95)
    reports.write(folder)
    return folder


@pytest.fixture(scope="module")
def whole_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(whole_browser: Chromium, run: Path, tmp_path: Path) -> Iterator[Chromium]:
    """The page, with nothing reviewed yet; whatever the console says fails the test."""
    whole_browser.download_into(tmp_path)
    open_page(whole_browser, run / write.REPORT_NAME)
    whole_browser("localStorage.clear()")
    whole_browser.reload()
    ready(whole_browser)
    yield whole_browser
    assert whole_browser.problems == []


def open_page(browser: Chromium, page: Path) -> None:
    browser.problems.clear()
    browser.requests.clear()
    browser.open(page.resolve().as_uri())
    ready(browser)


def ready(browser: Chromium) -> None:
    browser.until("!document.getElementById('loading')")


def show(browser: Chromium, view: str) -> None:
    browser(f"document.querySelector('[data-view={view}]').click()")


def name_reviewer(browser: Chromium, name: str = "Ada") -> None:
    """Answer what the first decision asks, and wait until that is stored."""
    browser.until("document.getElementById('who').open")
    browser.write(name)
    browser.press("Enter")
    browser.until("document.getElementById('progress').innerText")


def tiles(browser: Chromium) -> list[str]:
    """Labels of the tiles, in the order in which they are seen."""
    found: list[list[Any]] = browser(
        "[...document.querySelectorAll('.tile')].map((t) =>"
        " [parseFloat(t.style.top), parseFloat(t.style.left), t.getAttribute('aria-label')])"
    )
    return [label for _, _, label in sorted(found)]


def choose(browser: Chromium, name: str, value: str) -> None:
    browser(
        f"(() => {{ const field = document.getElementById('filters').elements[{name!r}];"
        f" field.value = {json.dumps(value)};"
        " field.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def text(browser: Chromium, where: str) -> str:
    return str(browser(f"document.querySelector({where!r}).innerText"))


def saved(browser: Chromium, folder: Path) -> Any:
    """Save with the key, and read and check the file."""
    before = set(folder.glob("*.json"))
    browser.press("s")
    until(lambda: set(folder.glob("*.json")) - before, "the download")
    (path,) = set(folder.glob("*.json")) - before
    until(lambda: path.read_bytes().endswith(b"}\n"), "the whole download")
    content = json.loads(path.read_bytes())
    jsonschema.Draft202012Validator(
        json.loads(SCHEMA.read_bytes()),
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    ).validate(content)
    return content


def test_opens_without_a_request_and_names_are_only_text(browser: Chromium, run: Path) -> None:
    assert set(browser.requests) == {(run / write.REPORT_NAME).resolve().as_uri()}
    assert "Research software, not a diagnostic." in text(browser, "header")
    assert browser("document.title") == "ctcedge: run"
    assert browser("document.querySelectorAll('main img').length") == 0
    choice = "[...document.querySelector('[name=sample]').options].map((o) => o.text).join('|')"
    assert "<img src=x onerror=document.title=1> \\u{202e}evil" in browser(choice)


def test_summary_shows_counts_charts_and_facts(browser: Chromium) -> None:
    words = text(browser, "#summary")
    for expected in ("Called CTC\n3", "Clusters of touching cells\n1", "unknown here", "by-hand 1"):
        assert expected in words
    assert browser("document.querySelectorAll('#summary svg path').length") == 3
    assert browser("document.querySelectorAll('#summary svg .mark').length") == 2
    title = browser("document.querySelector('#summary svg title').textContent")
    assert title.endswith("3 CTC, 2 review, 81 leukocyte")


def test_gallery_is_ordered_and_filtered(browser: Chromium) -> None:
    show(browser, "gallery")
    found = tiles(browser)
    assert "cluster" in found[0]
    probabilities = [float(label.split(":")[1].split()[1].strip(",")) for label in found[1:]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert text(browser, "#shown") == "86 cells"
    choose(browser, "call", "review")
    assert ["00002" in tiles(browser)[0], len(tiles(browser))] == [True, 2]
    choose(browser, "reason", "debris")
    assert [label.split()[1] for label in tiles(browser)] == ["00005"]
    browser("document.querySelector('#filters [type=reset]').click()")
    browser.until("document.getElementById('shown').textContent === '86 cells'")
    choose(browser, "sample", "2")
    assert {label.split(" of ")[1].split(":")[0] for label in tiles(browser)} == {"S2"}
    choose(browser, "text", "00003")
    assert text(browser, "#shown") == "1 of 86 cells"
    choose(browser, "text", "nothing such")
    assert "No cell fits these filters." in text(browser, "#canvas")


def test_a_reason_in_the_summary_leads_to_its_cells(browser: Chromium) -> None:
    browser(
        "[...document.querySelectorAll('.bars button')]"
        ".find((button) => button.innerText === 'cluster').click()"
    )
    assert len(tiles(browser)) == 1
    assert browser("location.hash") == "#gallery"


def test_a_number_in_the_summary_leads_to_its_cells(browser: Chromium) -> None:
    browser(
        "[...document.querySelectorAll('.figures button')]"
        ".find((button) => button.innerText === 'To be looked at').click()"
    )
    assert [label.split(": ")[1].split()[0] for label in tiles(browser)] == ["review"] * 2
    assert browser("location.hash") == "#gallery"


@pytest.mark.parametrize(("width", "height"), [(420, 700), (1000, 560)])
@pytest.mark.parametrize("view", ["gallery", "review"])
def test_decisions_are_in_sight_in_a_small_window(
    browser: Chromium, view: str, width: int, height: int
) -> None:
    browser.size(width, height)
    try:
        show(browser, view)
        where = f"document.querySelector('#{view} .decide button').getBoundingClientRect()"
        browser.until(f"{where}.bottom > 0")
        assert browser(f"{where}.bottom") <= height
    finally:
        browser.size(1280, 860)


def test_bright_field_is_as_large_as_there_is_room(browser: Chromium) -> None:
    side = "document.querySelector('#review canvas').getBoundingClientRect().width"
    sides = []
    show(browser, "review")
    try:
        for width, height in ((900, 600), (1920, 1000)):
            browser.size(width, height)
            browser.press("ArrowRight", "ArrowLeft")
            sides.append(browser(side))
            assert browser("document.getElementById('review').scrollWidth") <= width
    finally:
        browser.size(1280, 860)
    assert 240 <= sides[0] < sides[1] <= 640


def test_the_gallery_is_printed_without_empty_pages(browser: Chromium) -> None:
    show(browser, "gallery")
    browser.until("document.querySelectorAll('.tile').length > 20")
    browser.send("Emulation.setEmulatedMedia", media="print")
    try:
        gap = """(() => {
          const tiles = [...document.querySelectorAll('.tile')];
          const end = Math.max(...tiles.map((tile) => tile.getBoundingClientRect().bottom));
          return document.getElementById('canvas').getBoundingClientRect().bottom - end;
        })()"""
        assert browser(gap) < 60  # a heading may stand last
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")


def test_pictures_are_drawn(browser: Chromium) -> None:
    show(browser, "gallery")
    spread = """(() => {
      const copy = new OffscreenCanvas(100, 100).getContext('2d', {willReadFrequently: true});
      copy.drawImage(document.querySelector('%s'), 0, 0);
      const data = copy.getImageData(0, 0, 100, 100).data;
      const grey = data.filter((_, i) => i %% 4 === 0);
      return Math.max(...grey) - Math.min(...grey);
    })()"""
    browser.until(spread % ".tile canvas" + " > 60")
    choose(browser, "text", "00003")
    browser.until("document.querySelectorAll('#detail canvas').length === 3")
    browser.until(spread % "#detail .beside canvas" + " > 60")
    assert "bright field\nDAPI\nPE" in text(browser, "#detail")
    browser.press("b")
    browser.until("document.querySelectorAll('#detail canvas').length === 1")
    browser.press("b")


def test_arrows_move_and_keys_decide_in_the_gallery(browser: Chromium, tmp_path: Path) -> None:
    show(browser, "gallery")
    browser.press("ArrowRight", "c")
    name_reviewer(browser)
    browser.until("document.querySelectorAll('.tile b').length === 1")
    browser.press("l", "ArrowLeft", "r", "u")
    content = saved(browser, tmp_path)
    assert content["reviewer"] == "Ada"
    assert [(e["cell"], e["call"], e["blinded"]) for e in content["entries"]] == [
        ("00003", "CTC", False),
        ("00001", "leukocyte", False),
    ]
    assert content["entries"][0]["channels"] == ["BF", "DAPI", "PE"]
    assert content["entries"][0]["weight"] is None
    assert browser("document.getElementById('progress').innerText") == "2 reviewed"
    choose(browser, "reviewed", "differs")
    assert [label.split()[1] for label in tiles(browser)] == ["00001"]


def test_review_hides_the_call_until_decided(browser: Chromium, tmp_path: Path) -> None:
    show(browser, "review")
    for _ in range(3):
        words = text(browser, "#review .cell")
        assert "hidden until you have decided" in words
        assert "probability" not in words
        assert "near-threshold" not in words
        browser.press("ArrowRight")
    browser.press("ArrowLeft", "ArrowLeft", "ArrowLeft", "c")
    name_reviewer(browser)
    browser.until("document.querySelector('#review strong').innerText.startsWith('Cell 2 of ')")
    browser.press("ArrowLeft")
    assert "probability" in text(browser, "#review .cell")
    (entry,) = saved(browser, tmp_path)["entries"]
    assert (entry["call"], entry["blinded"]) == ("CTC", True)
    browser.press("l")  # now that the call is known
    (entry,) = saved(browser, tmp_path)["entries"]
    assert (entry["call"], entry["blinded"]) == ("leukocyte", False)


def test_undo_of_a_blinded_decision_leaves_it_blinded(browser: Chromium, tmp_path: Path) -> None:
    show(browser, "review")
    browser.press("c")
    name_reviewer(browser)
    browser.press("u")
    assert "hidden until you have decided" in text(browser, "#review .cell")
    assert browser("document.getElementById('save').disabled")
    browser.press("r")
    (entry,) = saved(browser, tmp_path)["entries"]
    assert (entry["call"], entry["blinded"]) == ("unsure", True)


def test_the_key_after_the_name_goes_to_the_page(browser: Chromium) -> None:
    show(browser, "review")
    browser(
        "new MutationObserver(() => { window.focused ||= document.activeElement.tagName; })"
        ".observe(document.getElementById('progress'), {childList: true})"
    )
    browser.press("c")
    name_reviewer(browser)
    assert browser("window.focused") == "BODY"


def test_drawn_cells_carry_their_weight(browser: Chromium, run: Path, tmp_path: Path) -> None:
    data = reports.data_of(run / write.REPORT_NAME)
    show(browser, "review")
    browser.press("l")
    name_reviewer(browser)
    browser.press(*"l" * (len(data["list"]) - 1))
    browser.until("document.querySelector('#review').innerText.includes('All cells of the list')")
    content = saved(browser, tmp_path)
    drawn = {data["cells"]["path"][index] for index in data["draw"]["cells"]}
    weight = data["draw"]["leukocytes"] / data["draw"]["drawn"]
    assert weight == pytest.approx(81 / 51)
    assert len(content["entries"]) == 56
    for entry in content["entries"]:
        expected = weight if entry["path"] in drawn else None
        assert entry["weight"] == (expected and pytest.approx(expected))
        assert entry["blinded"]


def test_reload_keeps_everything_and_notes_too(browser: Chromium, tmp_path: Path) -> None:
    show(browser, "gallery")
    browser.press("c")
    name_reviewer(browser, "Ada Lovelace")
    browser.press("ArrowLeft", "n")
    browser.write("a <b>note</b>")
    browser("document.activeElement.blur()")
    browser.reload()
    ready(browser)
    assert browser("location.hash") == "#gallery"
    assert "1 reviewed, not saved" in text(browser, "#progress")
    assert browser("document.querySelector('#detail textarea').value") == "a <b>note</b>"
    browser.press("ArrowRight", "l")
    assert not browser("document.getElementById('who').open")
    content = saved(browser, tmp_path)
    assert content["reviewer"] == "Ada Lovelace"
    assert [e["note"] for e in content["entries"]] == ["a <b>note</b>", ""]


def test_taking_back_and_keys_in_a_text_field(browser: Chromium) -> None:
    show(browser, "gallery")
    browser.press("c")
    name_reviewer(browser)
    browser.press("ArrowLeft", "Delete")
    assert browser("document.getElementById('save').disabled")
    browser("document.querySelector('[name=text]').focus()")
    browser.press("c", "l")
    assert browser("document.querySelector('[name=text]').value") == "cl"
    assert browser("document.getElementById('save').disabled")


def test_without_storage_it_says_so_and_still_works(
    whole_browser: Chromium, run: Path, tmp_path: Path
) -> None:
    whole_browser.download_into(tmp_path)
    denied = (
        "Object.defineProperty(window, 'localStorage',"
        " {get() { throw new DOMException('denied', 'SecurityError'); }})"
    )
    added = whole_browser.send("Page.addScriptToEvaluateOnNewDocument", source=denied)
    try:
        open_page(whole_browser, run / write.REPORT_NAME)
        assert "keeps nothing for this file" in text(whole_browser, "#storage")
        show(whole_browser, "gallery")
        whole_browser.press("c")
        name_reviewer(whole_browser)
        assert len(saved(whole_browser, tmp_path)["entries"]) == 1
    finally:
        whole_browser.send("Page.removeScriptToEvaluateOnNewDocument", **added)
    assert whole_browser.problems == []


@pytest.mark.parametrize("pseudonymise", [False, True])
def test_saved_file_imports(whole_browser: Chromium, tmp_path: Path, *, pseudonymise: bool) -> None:
    run = reports.run_of(tmp_path / "run")
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    whole_browser.download_into(downloads)
    open_page(whole_browser, reports.write(run, pseudonymise=pseudonymise))
    show(whole_browser, "gallery")
    whole_browser.press("ArrowRight", "l")
    name_reviewer(whole_browser)
    saved(whole_browser, downloads)
    call("review", "import", next(downloads.glob("*.json")), run)
    found = sidecars(run)["S2/00003_BF.png"]
    assert (found["call"], found["review"]["call"]) == ("CTC", "leukocyte")
    assert found["review"]["reviewer"] == "Ada"
    open_page(whole_browser, reports.write(run, pseudonymise=pseudonymise))
    show(whole_browser, "gallery")
    choose(whole_browser, "reviewed", "before")
    assert len(tiles(whole_browser)) == 1
    reviewer = "reviewer-" if pseudonymise else "Ada"
    assert f"leukocyte by {reviewer}" in text(whole_browser, "#detail")
    assert whole_browser.problems == []


def choose_file(browser: Chromium, path: Path) -> str:
    """Load a file, and return what the page says of it."""
    browser("document.getElementById('told').textContent = ''")
    found = browser.send(
        "Runtime.evaluate", expression="document.getElementById('file')", returnByValue=False
    )
    browser.send("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])
    browser.until("document.getElementById('told').textContent")
    return str(browser("document.getElementById('told').textContent"))


def review_two(browser: Chromium, folder: Path) -> tuple[Path, Any]:
    """Decide on two cells of the gallery, one with a note; return the file and its contents."""
    show(browser, "gallery")
    browser.press("ArrowRight", "c")
    name_reviewer(browser)
    browser.press("l", "ArrowLeft", "n")
    browser.write("odd <b>rim</b>")
    browser("document.activeElement.blur()")
    content = saved(browser, folder)
    (path,) = folder.glob("*.json")
    return path, content


def start_anew(browser: Chromium) -> None:
    """As another browser would show the page."""
    browser("localStorage.clear()")
    browser.reload()
    ready(browser)


def test_saved_corrections_load_back(browser: Chromium, tmp_path: Path) -> None:
    path, before = review_two(browser, tmp_path)
    start_anew(browser)
    assert browser("document.getElementById('save').disabled")
    show(browser, "gallery")
    assert choose_file(browser, path) == "2 corrections by Ada loaded"
    assert text(browser, "#progress") == "2 reviewed"  # they are in a file already
    assert text(browser, "#reader") == "Reader: Ada"
    after = saved(browser, tmp_path)
    assert [after["reviewer"], after["entries"]] == [before["reviewer"], before["entries"]]


def test_of_loaded_and_present_corrections_the_later_stand(
    browser: Chromium, tmp_path: Path
) -> None:
    path, before = review_two(browser, tmp_path)
    first, second = before["entries"]
    show(browser, "gallery")
    choose(browser, "text", second["cell"])
    browser.press("r")  # later than in the file
    choose(browser, "text", first["cell"])
    browser.press("Delete")
    assert choose_file(browser, path) == "2 corrections by Ada loaded"
    found = {each["cell"]: each["call"] for each in saved(browser, tmp_path)["entries"]}
    assert found == {first["cell"]: first["call"], second["cell"]: "unsure"}


def test_corrections_of_cells_that_changed_or_are_gone_do_not_load(
    browser: Chromium, tmp_path: Path
) -> None:
    path, content = review_two(browser, tmp_path)
    start_anew(browser)
    first, second = content["entries"]
    path.write_text(json.dumps(content | {"entries": [first, second | {"from": "review"}]}))
    assert "1 are of cells that are not here, or that changed" in choose_file(browser, path)
    assert text(browser, "#progress") == "1 reviewed"
    start_anew(browser)
    path.write_text(json.dumps(content | {"entries": [first | {"image_sha256": "0" * 64}]}))
    assert choose_file(browser, path).startswith("No cell of this file is in this report")
    assert browser("document.getElementById('save').disabled")


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
def test_what_is_no_such_file_does_not_load(
    browser: Chromium, tmp_path: Path, change: dict[str, Any]
) -> None:
    path, content = review_two(browser, tmp_path)
    start_anew(browser)
    for key, value in change.items():
        (content if key in content else content["entries"][1])[key] = value
    path.write_text(json.dumps(content))
    assert choose_file(browser, path).startswith(("This is no file of corrections", "The file is"))
    assert browser("document.getElementById('save').disabled")
    path.write_text("{")
    assert choose_file(browser, path).startswith("This is no file of corrections")


def test_another_reader_begins_with_nothing_and_files_are_kept_apart(
    browser: Chromium, tmp_path: Path
) -> None:
    path, _ = review_two(browser, tmp_path)
    browser.press("r")
    browser("document.getElementById('reader').click()")
    assert "Save the corrections first" in text(browser, "#told")
    saved(browser, tmp_path)
    browser("document.getElementById('reader').click()")
    browser.until("document.getElementById('who').open")
    browser.write("Bo")
    browser.press("Enter")
    browser.until("document.getElementById('reader').innerText === 'Reader: Bo'")
    assert text(browser, "#progress") == ""
    show(browser, "review")
    assert "hidden until you have decided" in text(browser, "#review .cell")
    browser.press("c")
    browser.until("document.getElementById('progress').innerText")
    assert "by Ada, and those here by Bo" in choose_file(browser, path)
    assert saved(browser, tmp_path)["reviewer"] == "Bo"


def test_a_call_that_changed_since_is_not_taken_for_reviewed(
    whole_browser: Chromium, tmp_path: Path
) -> None:
    run = reports.run_of(tmp_path / "run")
    open_page(whole_browser, reports.write(run))
    show(whole_browser, "gallery")
    whole_browser.press("ArrowRight", "c")
    name_reviewer(whole_browser)
    reports.add(run, "S2", "00003", 0.1)
    open_page(whole_browser, reports.write(run))
    assert whole_browser("document.getElementById('save').disabled")
    assert whole_browser.problems == []


def test_thirty_thousand_cells_scroll(whole_browser: Chromium, tmp_path: Path) -> None:
    page = many(tmp_path, 30_000)
    whole_browser.size(1280, 860)
    open_page(whole_browser, page)
    show(whole_browser, "gallery")
    nodes = "document.querySelectorAll('*').length"
    assert whole_browser(nodes) < 500
    for share in (0.1, 0.37, 0.62, 1):
        whole_browser(
            "(() => { const s = document.getElementById('scroller');"
            f" s.scrollTop = {share} * s.scrollHeight; }})()"
        )
        whole_browser.until("document.querySelectorAll('.tile').length > 20")
        assert whole_browser(nodes) < 500
    whole_browser.press("End")
    assert "cell 29999 of S" in whole_browser(
        "document.querySelector('.tile[aria-selected=true]').getAttribute('aria-label')"
    )
    choose(whole_browser, "text", "12345")
    assert text(whole_browser, "#shown") == "1 of 30,000 cells"
    assert whole_browser.problems == []


def many(folder: Path, cells: int) -> Path:
    """A page of many cells; its pictures are those of a small run, over and over."""
    page = reports.write(reports.run_of(folder / "run"))
    text, data = page.read_text(encoding="utf-8"), reports.data_of(page)
    small = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    assert small in text
    columns, first = data["cells"], 1  # the cluster stays alone
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
