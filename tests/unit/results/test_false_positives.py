"""The number of false positives to expect, and its interval."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from ctcedge.model.folder import load_model
from ctcedge.model.spec import ModelSpec, OperatingPoint, Rate
from ctcedge.results.controls import Control, DecisionContext
from ctcedge.results.false_positives import FalsePositives, describe, expected_false_positives

CONTEXT = DecisionContext("0" * 64, "balanced", "1" * 64)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "state"
    monkeypatch.setenv("CTCEDGE_STATE", str(folder))
    yield folder


def control(sample: str = "A", calls: int = 3, cells: int = 3000, **changes: Any) -> Control:
    made = Control(sample, "/x", "2026-01-02T03:04:05.678Z", "m 1", CONTEXT, cells, calls)
    return structs.replace(made, **changes)


def several(*counts: tuple[int, int]) -> list[Control]:
    return [control(str(i), calls, cells) for i, (calls, cells) in enumerate(counts)]


def predicted(cells: int, *counts: tuple[int, int]) -> FalsePositives:
    found = expected_false_positives(cells, CONTEXT, controls=several(*counts))
    assert found is not None
    return found


def test_without_controls_it_is_unknown() -> None:
    assert expected_false_positives(5000, CONTEXT) is None
    assert ": unknown; add healthy-donor runs" in describe(None)


@pytest.mark.parametrize(
    "other",
    [
        {"model_sha256": "f" * 64},
        {"operating_point": "confirm"},
        {"operating_point": None},
        {"inference_sha256": None},
    ],
)
def test_counts_of_another_context_say_nothing(other: dict[str, Any]) -> None:
    of_another = structs.replace(CONTEXT, **other)
    assert expected_false_positives(5000, of_another, controls=[control()]) is None
    assert expected_false_positives(5000, CONTEXT, controls=[control()]) is not None


def test_the_expected_number_is_at_the_rate_of_all_controls() -> None:
    found = predicted(6000, (3, 3000), (0, 2000), (7, 5000))
    assert found.expected == pytest.approx(6.0)
    assert (found.samples, found.control_cells, found.source) == (3, 10_000, "controls")
    assert found.low <= found.expected <= found.high
    assert "6.0 (95 % interval" in describe(found)
    assert "3 healthy-donor samples of 10,000 cells" in describe(found)


def test_one_control_gives_a_wide_interval_and_more_a_narrower_one() -> None:
    upper = [predicted(3000, *[(9, 3000)] * count).high for count in (1, 3, 10, 40)]
    assert upper[0] > 20 * 9  # one sample has no information on the spread between samples
    assert upper == sorted(upper, reverse=True)
    assert upper[-1] < 3 * 9


def test_the_interval_carries_the_spread_between_samples() -> None:
    equal = predicted(3000, *[(10, 3000)] * 8)
    spread = predicted(3000, *[(1, 3000), (40, 3000), (2, 3000), (3, 3000)] * 2)
    assert spread.high > 2 * equal.high
    # One pooled sample of the same cells could not show it: there only counting varies.
    assert equal.high > 10 + 1.96 * 10**0.5


def test_no_false_positive_in_the_controls_does_not_mean_none() -> None:
    found = predicted(3000, (0, 3000), (0, 3000), (0, 3000))
    assert (found.expected, found.low) == (0, 0)
    assert found.high >= 2


@pytest.mark.parametrize("cells", [1, 2, 10])
def test_no_more_than_there_are_cells(cells: int) -> None:
    found = predicted(cells, (3000, 3000), (2000, 3000))
    assert 0 <= found.low <= found.high <= cells


@pytest.mark.parametrize(("mean", "spread"), [(1.0, 1.0), (4.0, 0.5), (15.0, 1.0)])
@pytest.mark.parametrize("samples", [1, 4, 12])
@pytest.mark.parametrize("runs", [5, pytest.param(20, marks=pytest.mark.statistical)])
def test_coverage(samples: int, mean: float, spread: float, runs: int) -> None:
    """A new sample's count is in the 95 % interval about as often as that claims."""
    rng = np.random.default_rng(6)
    cells, inside = 3000, []
    variance = np.log1p(spread**2)

    def rates(count: int) -> np.ndarray:
        return mean / cells * np.exp(rng.normal(-variance / 2, variance**0.5, count))

    for _ in range(runs):
        sizes = rng.integers(1500, 6000, samples)
        counts = rng.poisson(rates(samples) * sizes)
        found = predicted(cells, *zip(counts.tolist(), sizes.tolist(), strict=True))
        new = rng.poisson(rates(200) * cells)
        inside.append(np.mean((new >= found.low) & (new <= found.high)))
    assert np.mean(inside) >= 0.92


def measured_spec(model_folder: Path, *, demonstration: bool) -> ModelSpec:
    point = OperatingPoint(
        "few", 0.9, Rate(0.5, 0.4, 0.6), Rate(2.0, 1.0, 3.0), 4.0, 500, 50_000, 20
    )
    spec = load_model(model_folder).spec
    points = {"screening": None, "balanced": point, "confirm": None}
    return structs.replace(spec, operating_points=points, demonstration=demonstration)


def test_a_simulators_figure_never_serves(model_folder: Path) -> None:
    spec = measured_spec(model_folder, demonstration=True)
    assert expected_false_positives(5000, CONTEXT, spec, controls=[]) is None


def test_a_models_figure_of_real_cells_serves_where_there_are_no_controls(
    model_folder: Path,
) -> None:
    spec = measured_spec(model_folder, demonstration=False)
    found = expected_false_positives(5000, CONTEXT, spec, controls=[])
    assert found is not None
    assert (found.expected, found.samples, found.source) == (1.0, 1, "model")
    assert "the model's own rate" in describe(found)
    # Its samples are not distinguished, so that their spread is as unknown as that of one.
    assert found.high > 10
    own = expected_false_positives(5000, CONTEXT, spec, controls=[control()])
    assert own is not None and own.source == "controls"
    unsupported = structs.replace(CONTEXT, operating_point="confirm")
    assert expected_false_positives(5000, unsupported, spec, controls=[]) is None


def test_the_models_own_decision_has_a_figure_only_if_a_point_has_its_threshold(
    model_folder: Path,
) -> None:
    spec = measured_spec(model_folder, demonstration=False)
    own = structs.replace(CONTEXT, operating_point=None)
    assert expected_false_positives(5000, own, spec, controls=[]) is None
    decision = structs.replace(spec.decision, threshold=0.9, review=(0.8, 0.9))
    spec = structs.replace(spec, decision=decision)
    assert expected_false_positives(5000, own, spec, controls=[]) is not None
