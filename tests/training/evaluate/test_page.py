"""The evaluation page in a browser: it fits wide and narrow, light and dark, and loads nothing."""

from __future__ import annotations

import pytest

from tests.browser.chromium import PROGRAM, chromium
from tests.helpers import disk_model as disks
from train.evaluate import evaluate, write

from .test_evaluate import export, with_table

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    disks.build(folder / "disks")
    model = with_table(folder / "disks", export(folder / "T", 8, seed=1), lambda _: "training")
    write(evaluate(model, [export(folder / "E", 12, seed=2)], seed=1), folder / "out")
    return folder / "out" / "report.html"


@pytest.mark.parametrize(("width", "dark"), [(1100, False), (1100, True), (390, False)])
def test_nothing_runs_over_the_edge(page, tmp_path, width, dark):
    with chromium(tmp_path) as browser:
        browser.size(width, 900, dark=dark)
        browser.open(page.as_uri())
        assert browser("document.documentElement.scrollWidth") <= width
        assert browser.problems == []
        assert {each for each in browser.requests if not each.startswith("data:")} == {
            page.as_uri()
        }
        outside = """[...document.querySelectorAll('svg')].flatMap((svg) => {
          const frame = svg.getBoundingClientRect();
          return [...svg.querySelectorAll('text')].filter((text) => {
            const box = text.getBoundingClientRect();
            return box.left < frame.left - 1 || box.right > frame.right + 1
              || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
          }).map((text) => text.textContent);
        })"""
        assert browser(outside) == []
        shapes = "[...document.querySelectorAll('.gallery img')].map((i) => i.clientHeight)"
        assert max(browser(shapes)) - min(browser(shapes)) <= 1
