"""Make the README's pictures of the report page: `python -m tests.browser.screenshots`.

They show the sample crops that come with ctcedge, called by the shipped model.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.browser.chromium import Chromium, chromium

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs"
SIZE = (1200, 720)

_PAINTED = """[...document.querySelectorAll('main section:not([hidden]) canvas')].every((canvas) =>
    canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[3])"""


def main() -> None:
    """Write the pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        page = place / "report.html"
        _ctcedge("classify", ROOT / "tests" / "sample", "--out", place / "calls")
        _ctcedge("report", ROOT / "tests" / "sample", "--sidecars", place / "calls", "--out", page)
        with chromium(place / "profile") as browser:
            browser.size(*SIZE)
            browser.open(page.as_uri())
            browser.until("!document.getElementById('loading')")
            browser("location.hash = 'gallery'")
            browser.until("document.querySelectorAll('.tile').length > 10")
            browser.press("ArrowRight", "ArrowRight", "o")
            _picture(browser, "report-gallery.png")
            browser("location.hash = 'review'")
            browser.until("document.querySelectorAll('#review canvas').length")
            browser.size(*SIZE, dark=True)
            _picture(browser, "report-review.png")


def _picture(browser: Chromium, name: str) -> None:
    browser.until(_PAINTED)
    (PICTURES / name).write_bytes(browser.picture())


def _ctcedge(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "ctcedge", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
