"""The summary of a watch that is stopped: whether it had done all that was there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.helpers.cli_runner import call
from tests.helpers.drawn_cells import cell, save
from tests.unit.service.watches import Place


def stopped(place: Place, **outcomes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Summary and last log event of a watch that is stopped after these outcomes."""
    metrics: Path = place.root / "lab.prom"
    metrics.unlink(missing_ok=True)
    words = ("--json", "--log-format", "json", "--metrics", metrics, "--decode-timeout", 3600)
    with place.watching(*words) as running:

        def reached() -> bool:
            text = metrics.read_text(encoding="utf-8") if metrics.exists() else ""
            counts = dict(re.findall(r'outcomes_total.*done="([a-z]+)"} ([0-9]+)', text))
            return all(int(counts.get(name, 0)) >= count for name, count in outcomes.items())

        running.until(reached)
        code, printed = running.stop()
        assert code == 0
    return json.loads(printed), json.loads(running.stderr.splitlines()[-1])


def test_it_is_not_finished_while_crops_are_pending(place: Place) -> None:
    (place.folder / "half_BF.png").write_bytes(b"\x89PNG")  # tried again until it is whole
    summary, event = stopped(place, written=1, deferred=1)
    assert (summary["finished"], summary["complete"]) == (False, False)
    assert [crop["path"] for crop in summary["unclassified"]] == ["half_BF.png"]
    assert (event["event"], event["counts"]["CTC"], event["new"]["CTC"]) == ("stopped", 1, 1)


def test_it_is_finished_when_all_are_done_and_counts_new_crops_apart(place: Place) -> None:
    save(place.folder / "earlier_BF.png", cell())
    call("classify", place.folder, "--out", place.out, "--model", place.model, "--provider", "cpu")
    save(place.folder / "later_BF.png", cell())
    summary, event = stopped(place, written=2)
    assert (summary["finished"], summary["complete"]) == (True, True)
    assert event["counts"] == {"CTC": 3, "unclassified": 0}
    assert event["new"] == {"CTC": 2, "unclassified": 0}
