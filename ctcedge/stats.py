"""Exact confidence intervals of small counts, with NumPy only.

They use the regularised incomplete beta function, from which follow the limits of a fraction
(Clopper and Pearson, Biometrika 26:404, 1934) and the negative binomial distribution.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TINY = 1e-300
_PRECISION = 1e-12
_MAX_STEPS = 20_000
_MAX_BISECTIONS = 100

log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])
"""Logarithm of the gamma function, elementwise."""


def beta_cdf(x: Floats | float, a: Floats | float, b: Floats | float) -> Floats:
    """Return the regularised incomplete beta function I_x(a, b), elementwise.

    It is computed by the continued fraction 26.5.8 of Abramowitz and Stegun with Lentz's method,
    from the side on which that converges fast.

    Args:
        x: 0 to 1.
        a: above 0.
        b: above 0.
    """
    x, a, b = (np.array(value, np.float64) for value in np.broadcast_arrays(x, a, b))
    swapped = x > (a + 1) / (a + b + 2)
    a, b, x = np.where(swapped, b, a), np.where(swapped, a, b), np.where(swapped, 1 - x, x)
    inside = np.clip(x, _TINY, 1 - 1e-16)
    front = a * np.log(inside) + b * np.log1p(-inside) - np.log(a)
    front += log_gamma(a + b) - log_gamma(a) - log_gamma(b)
    part = np.where(x <= 0, 0.0, np.exp(front) * _continued_fraction(inside, a, b))
    return np.clip(np.where(swapped, 1 - part, part), 0.0, 1.0)


def _continued_fraction(x: Floats, a: Floats, b: Floats) -> Floats:
    c = np.ones_like(x)
    d = _nonzero(1 - (a + b) * x / (a + 1))
    d = 1 / d
    value = d.copy()
    for m in range(1, _MAX_STEPS):
        change = np.ones_like(x)
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _nonzero(1 + term * d)
            c = _nonzero(1 + term / c)
            change = c * d
            value *= change
        if np.all(np.abs(change - 1) < _PRECISION):
            break
    return value


def _nonzero(value: Floats) -> Floats:
    return np.where(np.abs(value) < _TINY, _TINY, value)


def clopper_pearson(count: float, total: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the confidence limits of a fraction.

    Args:
        count: number of successes, 0 to `total`; that of a weighted sample need not be whole.
        total: number of trials, above 0.
        confidence: two-sided confidence level.

    Raises:
        ValueError: the counts are not such numbers.
    """
    if not (0 <= count <= total < math.inf and total > 0):
        raise ValueError(f"{count} of {total} is no fraction of a count")
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else _beta_quantile(tail, count, total - count + 1)
    high = 1.0 if count == total else _beta_quantile(1 - tail, count + 1, total - count)
    return low, high


def _beta_quantile(p: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_MAX_BISECTIONS):
        if high - low <= 1e-12 * max(high, 1e-6):
            break
        middle = (low + high) / 2
        if float(beta_cdf(middle, a, b)) < p:
            low = middle
        else:
            high = middle
    return (low + high) / 2
