"""The evaluation page in a browser: it fits wide and narrow, light and dark, and loads nothing."""

from __future__ import annotations

import pytest

from tests.browser.launch import Recorder
from tests.helpers import disk_model
from train.evaluate import evaluate, write

from .evaluated import export, with_table


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    disk_model.build(folder / "disks")
    model = with_table(folder / "disks", export(folder / "T", 8, seed=1), lambda _: "training")
    write(evaluate(model, [export(folder / "E", 12, seed=2)], seed=1), folder / "out")
    return folder / "out" / "report.html"


@pytest.mark.parametrize(("width", "dark"), [(1100, False), (1100, True), (390, False)])
def test_nothing_runs_over_the_edge(browser, page, width, dark):
    scheme = "dark" if dark else "light"
    size = {"width": width, "height": 900}
    with browser.new_context(viewport=size, color_scheme=scheme) as context:
        shown = context.new_page()
        recorder = Recorder(shown)
        shown.goto(page.as_uri())
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert recorder.problems == []
        assert {url for url in recorder.requests if not url.startswith("data:")} == {page.as_uri()}
        outside = """[...document.querySelectorAll('svg')].flatMap((svg) => {
          const frame = svg.getBoundingClientRect();
          return [...svg.querySelectorAll('text')].filter((text) => {
            const box = text.getBoundingClientRect();
            return box.left < frame.left - 1 || box.right > frame.right + 1
              || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
          }).map((text) => text.textContent);
        })"""
        assert shown.evaluate(outside) == []
        heights = "[...document.querySelectorAll('.gallery img')].map((i) => i.clientHeight)"
        found = shown.evaluate(heights)
        assert max(found) - min(found) <= 1
