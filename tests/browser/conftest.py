from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from ctcedge.report.build import REPORT_NAME
from tests.browser.report_page import SIZE, ReportPage
from tests.helpers import report_data

ODD_NAME = "<img src=x onerror=document.title=1> \u202eevil"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 86 cells with a report."""
    folder = report_data.run_of(tmp_path_factory.mktemp("browser") / "run", leukocytes=80)
    report_data.add(folder, ODD_NAME, "00999", 0.95)
    report_data.write(folder)
    return folder


@pytest.fixture
def blank(browser: Browser) -> Iterator[ReportPage]:
    """A page before it is opened; any message on its console fails the test."""
    with browser.new_context(viewport=SIZE) as context:
        page = ReportPage(context.new_page())
        yield page
        assert page.recorder.problems == []


@pytest.fixture
def page(blank: ReportPage, run: Path) -> ReportPage:
    """The report of `run`, without any reviews."""
    blank.open(run / REPORT_NAME)
    return blank
