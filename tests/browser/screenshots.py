"""Make the documentation's pictures of the report page: `python -m tests.browser.screenshots`.

They show the sample crops that come with ctcedge, classified by the shipped model.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import ViewportSize

from tests.browser.launch import chromium
from tests.browser.report_page import ReportPage

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs"
SIZE = ViewportSize(width=1200, height=720)

_PAINTED = """[...document.querySelectorAll('main section:not([hidden]) canvas')].every((canvas) =>
    canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[3])"""


def main() -> None:
    """Write the pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        sidecars, file = Path(scratch, "calls"), Path(scratch, "report.html")
        sample = ROOT / "tests" / "sample"
        _ctcedge("classify", sample, "--out", sidecars)
        _ctcedge("report", sample, "--sidecars", sidecars, "--out", file)
        with chromium() as browser, browser.new_context(viewport=SIZE) as context:
            page = ReportPage(context.new_page())
            page.open(file)
            page.show("gallery")
            page.until("document.querySelectorAll('.tile').length > 10")
            page.press("ArrowRight", "ArrowRight", "o")
            _picture(page, "report-gallery.png")
            page.page.emulate_media(color_scheme="dark")
            page.show("review")
            page.until("document.querySelectorAll('#review canvas').length")
            _picture(page, "report-review.png")


def _picture(page: ReportPage, name: str) -> None:
    page.until(_PAINTED)
    page.page.screenshot(path=PICTURES / name)


def _ctcedge(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "ctcedge", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
