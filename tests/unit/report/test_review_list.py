"""The review list: candidates and the random draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ctcedge.report.review_list import MAX_CANDIDATES, review_list
from tests.helpers import report_data


def test_the_draw_is_random_described_and_reproducible(tmp_path: Path) -> None:
    run = report_data.run_of(tmp_path / "run", leukocytes=90)
    data = report_data.data_of(report_data.write(run))
    draw, calls = data["draw"], data["cells"]["call"]
    assert draw["leukocytes"] == calls.count(2) == 91
    assert draw["drawn"] == len(draw["cells"]) == 51  # 50 and one per 200
    assert {calls[index] for index in draw["cells"]} == {2}
    assert draw["cells"] != sorted(draw["cells"])
    candidates = {index for index, call in enumerate(calls) if call != 2}
    assert set(data["list"]) == candidates | set(draw["cells"])
    assert "51 drawn at random from 91 called leukocyte" in draw["text"]
    again = report_data.data_of(report_data.write(run))
    assert (again["list"], again["report_id"]) == (data["list"], data["report_id"])
    hidden = report_data.data_of(report_data.write(run, pseudonymise=True))
    assert hidden["list"] == data["list"]
    report_data.add(run, "S1", "00001", 0.1)
    assert report_data.data_of(report_data.write(run))["report_id"] != data["report_id"]


def test_drawn_cells_have_no_distinct_place_or_picture(tmp_path: Path) -> None:
    run = report_data.run_of(tmp_path / "run", leukocytes=300)
    for number in range(1000, 1120):
        report_data.add(run, "S1", f"{number}", 0.9 - number / 1e5)
    data = report_data.data_of(report_data.write(run))
    drawn = set(data["draw"]["cells"])
    places = [place for place, index in enumerate(data["list"]) if index in drawn]
    thirds = np.histogram(places, bins=3, range=(0, len(data["list"])))[0]
    assert thirds.min() > len(drawn) / 6
    assert all(data["cells"]["strip"][index] is not None for index in data["list"])


def test_candidates_beyond_the_limit_are_counted(run: Path) -> None:
    template = report_data.cells_of(run)[1]
    cells = [template] * (MAX_CANDIDATES + 7)
    result = review_list(cells)
    assert (len(result.order), result.left_out) == (MAX_CANDIDATES, 7)


def test_nothing_to_draw_from_and_nothing_to_review(tmp_path: Path) -> None:
    report_data.add(tmp_path, "S", "1", 0.1)
    data = report_data.data_of(report_data.write(tmp_path))
    assert data["list"] == [0]
    report_data.add(tmp_path, "S", "1", 0.9)
    data = report_data.data_of(report_data.write(tmp_path))
    assert (data["list"], data["draw"]["drawn"]) == ([0], 0)
