"""The texts of review reasons in the report's JavaScript."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import ctcedge.report
from ctcedge.classification.decision import NEAR_THRESHOLD
from ctcedge.classification.ood import OUT_OF_DISTRIBUTION
from ctcedge.quality.checks import Reason

SCRIPT = Path(ctcedge.report.__file__).parent / "web" / "js" / "report.js"


def test_every_reason_has_a_text_in_the_report() -> None:
    """If it has none: add one to `REASONS` of ctcedge/report/web/js/report.js."""
    source = SCRIPT.read_text(encoding="utf-8")
    table = re.search(r"^export const REASONS = \{\n(.*?)^\};", source, re.MULTILINE | re.DOTALL)
    assert table is not None
    texts = dict(re.findall(r'^  "?([a-z-]+)"?:\s+"([^"]+)",$', table[1], re.MULTILINE))
    assert set(texts) == {*get_args(Reason), NEAR_THRESHOLD, OUT_OF_DISTRIBUTION}
