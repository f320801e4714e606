from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import wilcoxon

from tests.bench.compare_commits import median_interval


def test_the_interval_is_that_of_the_signed_rank_test() -> None:
    rng = np.random.default_rng(3)
    for count in (6, 7, 9, 12):
        ratios = np.exp(rng.normal(0.02, 0.05, count)).tolist()
        found = median_interval(ratios)
        logs = np.log(ratios)
        for end in (found.low, found.high):
            inside = math.copysign(1e-9, found.median - end)
            assert wilcoxon(logs - math.log(end) - inside).pvalue > 0.05
            assert wilcoxon(logs - math.log(end) + inside).pvalue <= 0.05
        assert found.low <= found.median <= found.high


def test_too_few_pairs_give_no_interval() -> None:
    with pytest.raises(ValueError, match="at least 6 pairs"):
        median_interval([1.0, 1.1, 0.9, 1.0, 1.2])
