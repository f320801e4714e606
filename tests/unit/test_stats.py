from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import betainc
from scipy.stats import beta

from ctcedge.stats import beta_cdf, clopper_pearson


def test_the_incomplete_beta_function_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = np.exp(rng.uniform(-3, 9, 3000)), np.exp(rng.uniform(-3, 12, 3000))
    near = beta.rvs(a, b, random_state=rng) * np.exp(rng.normal(0, 0.3, 3000))
    x = np.clip(near, 0, 1)
    assert np.abs(beta_cdf(x, a, b) - betainc(a, b, x)).max() < 1e-8


@pytest.mark.parametrize(("x", "wanted"), [(0.0, 0.0), (1.0, 1.0)])
def test_the_ends_of_the_incomplete_beta_function(x: float, wanted: float) -> None:
    assert float(beta_cdf(x, 3.0, 5.0)) == wanted


@pytest.mark.parametrize(
    ("found", "of"), [(0, 1), (0, 300), (1, 1), (3, 100), (10, 10), (7, 30_000), (2.5, 40.2)]
)
def test_limits_of_a_fraction(found: float, of: float) -> None:
    low, high = clopper_pearson(found, of)
    wanted_low = beta.ppf(0.025, found, of - found + 1) if found else 0
    wanted_high = beta.ppf(0.975, found + 1, of - found) if found < of else 1
    assert (low, high) == pytest.approx((wanted_low, wanted_high), abs=1e-8)


@pytest.mark.parametrize(
    ("count", "total"), [(-1, 10), (11, 10), (0, 0), (math.nan, 10), (1, math.nan), (1, math.inf)]
)
def test_what_is_no_fraction_is_refused(count: float, total: float) -> None:
    with pytest.raises(ValueError, match="no fraction of a count"):
        clopper_pearson(count, total)


@pytest.mark.parametrize("total", [1e-9, 1e-300, 1.0, 1e9, 1e15])
@pytest.mark.parametrize("fraction", [0.0, 1e-300, 0.5, 1 - 1e-16, 1.0])
def test_limits_of_counts_of_any_size_are_found_in_bounded_time(
    total: float, fraction: float
) -> None:
    low, high = clopper_pearson(total * fraction, total)
    assert 0 <= low <= high <= 1
