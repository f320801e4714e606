"""The HTML of the report page; tests/browser covers its behaviour in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path

from jsonschema import Draft202012Validator

import ctcedge
from tests.helpers import report_data


def test_policy_permits_one_script_and_nothing_else(run: Path) -> None:
    text = report_data.write(run).read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', text)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    for kind, name in (("script-src", "script"), ("style-src", "style")):
        (content,) = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_names_are_data_never_markup(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>&'\"</script><!--"
    folder = tmp_path / "@style@ <b>"
    report_data.add(folder, name.replace("/", "_"), name.replace("/", "_"), 0.9)
    page = report_data.write(folder)
    text = page.read_text(encoding="utf-8")
    assert "<img" not in text
    assert "<b>" not in text
    assert "<title>ctcedge: @style@ &lt;b&gt;</title>" in text
    assert report_data.data_of(page)["samples"] == [name.replace("/", "_")]


def test_names_that_are_not_utf8_are_preserved(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9\x01")
    report_data.add(tmp_path, odd, "1", 0.9)
    data = report_data.data_of(report_data.write(tmp_path))
    assert data["cells"]["path"] == [f"{odd}/1_BF.png"]


def test_corrections_schema_is_valid() -> None:
    folder = Path(ctcedge.__file__).parent / "sidecars" / "schemas"
    schema = json.loads((folder / "corrections-1.json").read_bytes())
    Draft202012Validator.check_schema(schema)
