"""Files of reviews as the report page saves them, and their import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ctcedge.results import reviews as module
from tests.helpers.cli_runner import call
from tests.helpers.correction_entries import correction
from tests.helpers.sidecar_files import load, sidecar

SCHEMA = json.loads(
    (Path(module.__file__).parents[1] / "sidecars" / "schemas" / "corrections-1.json").read_text(
        encoding="utf-8"
    )
)
IMAGES = {
    "S1/00001_BF.png": "leukocyte",
    "S1/00002_BF.png": "review",
    "S1/00003_BF.png": "CTC",
}


def entry(folder: Path, path: str = "S1/00002_BF.png", **changes: Any) -> dict[str, Any]:
    """What the page would say of a cell."""
    record = load(sidecar(folder / path))
    shown = {"note": "bright rim", "channels": ["BF", "DAPI"]}
    return correction(path, record, **shown | changes)


def corrections(*entries: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "schema": "ctcedge/corrections/1",
        "report_id": "a" * 64,
        "folder_name": "export",
        "pseudonymised": False,
        "created": "2026-01-02T03:05:00Z",
        "reviewer": "Ada",
        "draw": {"drawn": 1, "leukocytes": 1},
        "entries": list(entries),
    } | changes


def imported(*words: object, code: int = 0) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(
        call("review", "import", *words, "--json", code=code).stdout
    )
    return result
