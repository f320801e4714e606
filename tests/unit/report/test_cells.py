"""Reading the cells of a report from sidecars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import report_data


def test_clusters_come_first_then_probability(run: Path) -> None:
    data = report_data.data_of(report_data.write(run))
    clusters, probabilities = data["cells"]["cluster"], data["cells"]["probability"]
    assert (clusters[0], probabilities[0]) == (1, 0.01)
    assert clusters[1:] == [0] * (len(clusters) - 1)
    assert probabilities[1:] == sorted(probabilities[1:], reverse=True)


def test_probabilities_at_different_priors_are_ordered_by_likelihood_ratio(
    tmp_path: Path,
) -> None:
    report_data.add(tmp_path, "S", "1", 0.9)
    report_data.add(tmp_path, "S", "2", 0.01, prior=0.0002, call="CTC")
    assert [cell.crop.cell for cell in report_data.cells_of(tmp_path)] == ["2", "1"]


@pytest.mark.parametrize(
    "change",
    [
        {"um_per_px": "evil"},
        {"um_per_px": 0},
        {"um_per_px": float("nan")},
        {"width": 0},
        {"height": 10**400},
        {"probability": float("nan")},
        {"probability": 10**400},
        {"prior": 0},
        {"prior": 5},
        {"operating_point": {"a": 1}},
        {"ood": {"distance": 1, "p_value": 2, "features": []}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_edited_sidecars_do_not_break_the_page(run: Path, change: dict[str, Any]) -> None:
    path = run / "S1" / "00001_BF.png.ctc.json"
    content = json.loads(path.read_bytes())
    for key, value in change.items():
        (content["image"] if key in content["image"] else content)[key] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    data = report_data.data_of(report_data.write(run))
    assert "S1/00001_BF.png" not in data["cells"]["path"]
    assert ["No call yet", "1: damaged sidecar"] in data["facts"]
