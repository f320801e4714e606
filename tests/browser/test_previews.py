"""The report page where a viewer permits only part of what it needs, in a real browser."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from ctcedge.report.build import REPORT_NAME
from tests.browser.report_page import ReportPage

POLICIES = ["sandbox allow-scripts allow-forms", "sandbox allow-scripts"]


@pytest.fixture
def serve(run: Path) -> Iterator[Callable[[str], str]]:
    """Returns the address at which the report is shown under a policy."""
    content = (run / REPORT_NAME).read_bytes()
    policies: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            report = self.path == "/report.html"
            self.send_response(200 if report else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", policies[-1])
            self.end_headers()
            if report:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def address(policy: str) -> str:
        policies.append(policy)
        return f"http://127.0.0.1:{server.server_port}/report.html"

    yield address
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_preview_loses_no_review_without_a_warning(
    browser: Browser, serve: Callable[[str], str], policy: str
) -> None:
    with browser.new_context() as context:
        page = ReportPage(context.new_page())
        page.open_address(serve(policy))
        assert "shown as a preview" in page.text("#storage")
        assert not page.warns_on_leaving()
        page.show("gallery")
        page.press("c")
        page.enter_reviewer()
        assert not page.evaluate("document.querySelector('dialog').open")
        assert "only on this page" in page.text("#progress")
        page.press("s")  # downloads are blocked
        message = page.text("#status")
        assert "1 correction handed to the browser as ctcedge-corrections-" in message
        assert "leave this page open" in message
        assert "saved" not in message
        assert "only on this page" in page.text("#progress")
        assert page.warns_on_leaving()


@pytest.mark.parametrize("policy", POLICIES)
def test_corrections_can_be_copied_out_of_a_preview(
    browser: Browser, serve: Callable[[str], str], policy: str
) -> None:
    with browser.new_context() as context:
        page = ReportPage(context.new_page())
        page.open_address(serve(policy))
        page.page.locator("#copy").click()
        assert "no cell is reviewed yet" in page.text("#status")
        page.show("gallery")
        page.press("c")
        page.enter_reviewer()
        page.page.locator("#copy").click()
        text = page.page.locator("#text-dialog textarea").input_value()
        assert [entry["call"] for entry in json.loads(text)["entries"]] == ["CTC"]
        page.page.locator("#text-dialog button").click()
        page.press("s")  # another reader may start only afterwards
        for button in ("#keys", "#reader"):
            page.page.locator(button).click()
            page.evaluate("document.querySelector('dialog[open] [value=\"\"]').click()")
            assert not page.evaluate("Boolean(document.querySelector('dialog[open]'))")


@pytest.mark.parametrize("policy", ["sandbox", "script-src 'none'"])
def test_where_no_script_runs_the_page_gives_reason_and_remedy(
    browser: Browser, serve: Callable[[str], str], policy: str
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(serve(policy))
        text = page.locator("main").inner_text()
        assert "the page's script does not run here" in text
        assert "Download the report" in text


def test_a_page_that_keeps_reviews_does_not_claim_a_download(
    page: ReportPage, tmp_path: Path
) -> None:
    page.show("gallery")
    page.press("c")
    page.enter_reviewer()
    page.save(tmp_path / "file.json")
    message = page.text("#status")
    assert "handed to the browser" in message
    assert "Look for it in your downloads folder" in message
    assert not page.warns_on_leaving()  # a reload brings the review back
    page.reload()
    assert page.text("#progress") == "1 reviewed"


def test_an_incomplete_file_gives_the_reason(browser: Browser, run: Path, tmp_path: Path) -> None:
    content = (run / REPORT_NAME).read_bytes()
    damaged = tmp_path / "report.html"
    damaged.write_bytes(content.replace(b'"cells":', b'"other":'))
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(damaged.as_uri())
        assert "cannot be shown" in page.locator("#loading").inner_text()
