"""Expected number of false positives in a run, predicted from healthy-donor controls.

The false-positive rate differs between samples. Its logarithm is assumed to be normally distributed
over samples; the typical rate has the weak prior rate^(1/2) (per unit of its logarithm), and the
standard deviation between samples a half-normal prior of scale 1, a factor of 2.7. The interval is
the predictive interval of a new sample's count, which includes the uncertainty of both, so that one
control sample gives a wide interval. A run of several samples counts as one sample of its size,
which gives the widest interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any, Literal

import msgspec
import numpy as np

from ctcedge.model.spec import ModelSpec
from ctcedge.records import plain
from ctcedge.results.controls import Control, DecisionContext, usable_controls
from ctcedge.stats import Floats, beta_cdf

_TAIL = 0.025
_MAX_SMALL = 1023  # counts; the limits of larger ones are found by bisection

# Grids of the natural logarithm of the rate, and of its standard deviation between samples.
_LOG_RATES: Floats = np.linspace(np.log(1e-7), 0, 162)[:-1]
_SPREADS: Floats = np.linspace(0.05, 4, 27)


class FalsePositives(msgspec.Struct, frozen=True):
    """Expected false positives of a run.

    Attributes:
        cells: size of the run.
        expected: expected number, at the pooled rate of all control samples.
        low: lower limit of the 95 % interval of the number.
        high: upper limit of the 95 % interval of the number.
        samples: number of control samples; 1 for a model's own rate, whose samples are pooled.
        control_cells: number of cells of the control samples.
        source: `controls` of this laboratory, or the `model`'s own rate, measured on real cells.
        samples_with_ctcs: number of control samples in which persons confirmed CTCs; where it is
            not 0, the prediction is too high.
    """

    cells: int
    expected: float
    low: int
    high: int
    samples: int
    control_cells: int
    source: Literal["controls", "model"]
    samples_with_ctcs: int = 0

    @property
    def number(self) -> str:
        """The expected number as text."""
        return f"{self.expected:.1f}" if self.expected < 10 else f"{self.expected:,.0f}"

    @property
    def basis(self) -> str:
        """The data that the prediction follows from, in words."""
        samples = f"{self.samples:,} healthy-donor sample{'s' * (self.samples != 1)}"
        source = samples if self.source == "controls" else "the model's own rate"
        count = self.samples_with_ctcs
        ctcs = f" (CTCs were confirmed in {count:,} of them)" if count else ""
        return f"{source} of {self.control_cells:,} cells{ctcs}"

    def as_json(self) -> dict[str, Any]:
        """Return the prediction for `--json`."""
        return plain(self)


def expected_false_positives(
    cells: int,
    context: DecisionContext,
    spec: ModelSpec | None = None,
    controls: Iterable[Control] | None = None,
) -> FalsePositives | None:
    """Predict the number of false positives among so many cells without a CTC.

    Args:
        cells: number of classified cells of the run.
        context: model, operating point and image settings of the run.
        spec: spec of the model, where it is available: its own rate is used where there are no
            controls, if it was measured on real cells. Its samples are pooled.
        controls: control samples; those of this machine by default.

    Returns:
        The prediction; None where no rate was measured in this context.
    """
    if cells <= 0:
        return None
    matching = [
        control
        for control in (usable_controls() if controls is None else controls)
        if control.context == context
    ]
    if matching:
        counts = [(control.ctc_calls, control.cells) for control in matching]
        with_ctcs = sum(bool(control.confirmed_ctcs) for control in matching)
        return msgspec.structs.replace(
            _predict(cells, counts, "controls"), samples_with_ctcs=with_ctcs
        )
    measured = None if spec is None else _measured_by_model(spec, context.operating_point)
    return None if measured is None else _predict(cells, [measured], "model")


def describe(prediction: FalsePositives | None) -> str:
    """Return a prediction as one line of text."""
    title = "Expected false positives in a run of this size without CTCs"
    if prediction is None:
        return (
            f"{title}: unknown; add healthy-donor runs, classified with the same model, operating"
            " point and um/px, with 'ctcedge controls add FOLDER'"
        )
    return (
        f"{title}: {prediction.number} (95 % interval {prediction.low:,} to {prediction.high:,}),"
        f" from {prediction.basis}"
    )


def _measured_by_model(spec: ModelSpec, operating_point: str | None) -> tuple[int, int] | None:
    """Return the model's own false positives and negatives; None where not measured on cells."""
    if spec.demonstration:
        return None
    if operating_point is None:
        points = (
            point
            for point in spec.operating_points.values()
            if point is not None and point.threshold == spec.decision.threshold
        )
        point = next(points, None)
    else:
        point = spec.operating_points.get(operating_point)
    if point is None or point.negatives == 0:
        return None
    rate = point.false_positives_per_10000.value / 10_000
    return round(rate * point.negatives), point.negatives


def _predict(
    cells: int, counts: Sequence[tuple[int, int]], source: Literal["controls", "model"]
) -> FalsePositives:
    """Predict a new sample's count from (false positives, cells) of the controls."""
    rates = _rates(tuple(counts))
    low, high = _quantiles(cells, rates, (_TAIL, 1 - _TAIL))
    all_positives = sum(positives for positives, _ in counts)
    all_cells = sum(total for _, total in counts)
    return FalsePositives(
        cells=cells,
        expected=cells * all_positives / all_cells,
        low=low,
        high=high,
        samples=len(counts),
        control_cells=all_cells,
        source=source,
    )


@lru_cache(maxsize=32)
def _rates(counts: tuple[tuple[int, int], ...]) -> Floats:
    """Return the probability of each rate of the grid in a new sample."""
    log_weights = _LOG_RATES / 2 - _SPREADS[:, None] ** 2 / 2
    for positives, total in counts:
        log_likelihood = positives * _LOG_RATES + (total - positives) * np.log1p(
            -np.exp(_LOG_RATES)
        )
        likelihood = _rate_distributions() @ np.exp(log_likelihood - log_likelihood.max())
        log_weights = log_weights + np.log(likelihood + 1e-300)
    posterior = np.exp(log_weights - log_weights.max())
    posterior /= posterior.sum()
    return np.asarray(posterior.ravel() @ _rate_distributions().reshape(posterior.size, -1))


@cache
def _rate_distributions() -> Floats:
    """Return the probability of each rate: (spread, typical rate, rate)."""
    steps = (_LOG_RATES[None, None, :] - _LOG_RATES[None, :, None]) / _SPREADS[:, None, None]
    density = np.exp(-(steps**2) / 2)
    return np.asarray(density / density.sum(axis=-1, keepdims=True))


def _quantiles(cells: int, rates: Floats, ps: Sequence[float]) -> list[int]:
    """Return `_quantile` of each probability: by the probability of each small count, if possible.

    A folder of thousands of samples needs thousands of intervals, and most counts are small.
    """
    counts = np.arange(min(cells, _MAX_SMALL) + 1.0)
    steps = np.log((cells - counts[1:] + 1) / counts[1:])
    log_choose = np.concatenate(([0.0], np.cumsum(steps)))
    size = 64
    while True:
        few = counts[:size]
        log_one_minus = np.log1p(-np.exp(_LOG_RATES))
        log_probability = (
            log_choose[:size] + np.outer(_LOG_RATES, few) + np.outer(log_one_minus, cells - few)
        )
        cumulative = np.cumsum(rates @ np.exp(log_probability))
        if cumulative[-1] >= max(ps):
            return [int(np.argmax(cumulative >= p)) for p in ps]
        if size >= len(counts):
            return [_quantile(cells, rates, p) for p in ps]
        size *= 4


def _quantile(cells: int, rates: Floats, p: float) -> int:
    """Return the smallest count that is not exceeded with probability p.

    Args:
        cells: number of cells.
        rates: probability of each rate of the grid.
        p: the probability.
    """
    low, high = -1, cells
    while high - low > 1:
        middle = (low + high) // 2
        exceeded = beta_cdf(np.exp(_LOG_RATES), middle + 1.0, float(cells - middle))
        if float(rates @ (1 - exceeded)) >= p:
            high = middle
        else:
            low = middle
    return high
