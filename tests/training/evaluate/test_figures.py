"""Figures and their intervals on cells whose answers are known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.special import expit

from ctcedge.classification.decision import Prediction
from ctcedge.model.spec import DecisionThresholds
from train.data.dataset import Cells
from train.evaluate import Scores, figures
from train.evaluate.bootstrap import Resampling
from train.evaluate.calls import count_calls
from train.evaluate.figures import MEANING
from train.metrics.roc import Calls, Curve

DECISION = DecisionThresholds(threshold=0.5, review=(0.4, 0.6))


def made(positive, sample, group=None, stratum=None) -> Cells:
    """Cells without images."""
    count = len(positive)
    blank = np.zeros((count, 8, 8), dtype=np.uint8)
    return Cells(
        bright=blank,
        nucleus=blank,
        has_nucleus=np.zeros(count, dtype=bool),
        positive=positive,
        group=sample if group is None else group,
        sample=sample,
        cell=np.arange(count).astype(str),
        stratum=np.where(positive, "CTC", "leukocyte") if stratum is None else stratum,
        digest=np.arange(count).astype(str),
        diameter_um=np.full(count, np.nan),
    )


def drawn(seed=1, samples=20, each=20, shift=1.5, by_sample=0.5):
    """Cells of samples that are of one class each, with probabilities that are calibrated."""
    chance = np.random.default_rng(seed)
    positive = np.repeat(np.arange(samples) % 2 == 0, each)
    odds = np.where(positive, shift, -shift) + chance.normal(size=samples * each) * shift**0.5 * 1.2
    odds = odds + np.repeat(chance.normal(0, by_sample, samples), each)
    sample = np.repeat([f"s{i:02}" for i in range(samples)], each)
    return made(positive, sample), np.round(expit(odds), 6)


def measured(cells, probability, **options):
    settings = {"prior": 0.5, "baselines": {}, "seed": 1, "draws": 200} | options
    return figures(cells, Scores.of(probability, DECISION, {"screening": 0.1}), **settings)


def test_every_figure_has_a_meaning_and_an_interval_that_holds_it():
    found = measured(*drawn())
    assert list(found.values) == list(MEANING)
    for name, estimate in found.values.items():
        if math.isfinite(estimate.low):
            assert estimate.low <= estimate.value <= estimate.high, name
    assert found["auc"].low < found["auc"].value < found["auc"].high


def test_the_counts_are_those_of_the_cells():
    cells, probability = drawn()
    found = measured(cells, probability)
    assert (found.cells, found.ctcs, found.unlabelled) == (400, 200, 0)
    assert (found.samples, found.groups) == (20, 20)
    first = found.per_sample[0]
    assert (first.name, first.cells, first.ctcs, first.negatives) == ("s00", 20, 20, 0)
    assert first.called == int((probability[:20] >= 0.5).sum())
    assert sum(one.review for one in found.per_sample) == int(
        ((probability >= 0.4) & (probability < 0.6)).sum()
    )


def test_figures_agree_with_the_plain_ones():
    cells, probability = drawn()
    found = measured(cells, probability)
    calls = Calls.of(cells.positive, probability >= 0.5)
    assert found["f1"].value == pytest.approx(float(calls.f1()))
    assert found["false_calls_per_10000"].value == pytest.approx(
        10_000 * float(calls.false_positive_rate())
    )
    decided = (probability < 0.4) | (probability >= 0.6)
    outside = Calls.of(cells.positive[decided], probability[decided] >= 0.5)
    assert found["macro_f1_decided"].value == pytest.approx(float(outside.macro_f1()))
    assert found["review"].value == pytest.approx(1 - decided.mean())
    least = Calls.of(cells.positive, probability >= 0.1)
    screening = found.operating_points["screening"]
    assert screening["sensitivity"].value == pytest.approx(float(least.sensitivity()))


def test_the_most_certain_are_kept():
    positive = np.arange(100) % 2 == 0
    wrong = np.arange(100) < 30
    odds = np.where(wrong, 0.1, 2.0) * np.where(positive ^ wrong, 1, -1)
    sample = np.repeat([f"s{i}" for i in range(10)], 10)
    found = measured(made(positive, sample), expit(odds))
    assert found["macro_f1_70"].value == 1
    assert found["macro_f1"].value == pytest.approx(0.7)
    assert found["deferred_70_ctc"].value == pytest.approx(0.3)
    assert found["deferred_70_other"].value == pytest.approx(0.3)


def test_intervals_depend_on_samples_and_on_the_seed_alone():
    cells, probability = drawn(by_sample=1.5)
    by_sample = measured(cells, probability)["auc"]
    assert by_sample == measured(cells, probability)["auc"]
    assert by_sample != measured(cells, probability, seed=2)["auc"]
    alone = made(cells.positive, cells.sample, group=cells.cell)
    by_cell = measured(alone, probability)["auc"]
    assert by_sample.high - by_sample.low > 1.5 * (by_cell.high - by_cell.low)


def test_the_bootstrap_draws_whole_groups_of_each_class():
    group = np.repeat([f"s{i}" for i in range(6)], 3)
    positive = np.repeat([True, True, False, False, False, False], 3)
    seen = []

    def statistics(weight):
        seen.append(weight)
        return {"": {"ctcs": weight @ positive}}

    estimate = Resampling(group, positive, seed=1, draws=50).estimate(statistics)[""]["ctcs"]
    weight = np.concatenate(seen[1:])
    assert weight.shape == (50, 18)
    assert (weight.reshape(50, 6, 3) == weight.reshape(50, 6, 3)[:, :, :1]).all()
    assert (estimate.value, estimate.low, estimate.high) == (6, 6, 6)
    assert np.unique(weight).size > 2


def test_a_single_sample_of_a_class_has_no_interval():
    cells, probability = drawn(samples=2)
    found = measured(cells, probability)["auc"]
    assert math.isfinite(found.value)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize("where", ["a sample of its own", "a sample of the other class"])
def test_cells_without_a_label_are_of_no_class(where):
    """Of two CTC samples, one of others and one that nobody labelled, two make no class."""
    positive = np.repeat([True, True, False, False], 20)
    sample = np.repeat(["s0", "s1", "s2", "s3"], 20)
    known = np.arange(80) < 60
    if where == "a sample of the other class":
        sample[~known] = "s0"
    probability = np.round(np.random.default_rng(2).random(80), 6)
    found = measured(made(positive, sample), probability, known=known)["auc"]
    assert math.isfinite(found.value)
    assert math.isnan(found.low)


def test_cells_without_a_label_change_no_interval():
    cells, probability = drawn(samples=12)
    known = np.arange(len(cells)) % 10 != 0
    known[cells.sample == "s05"] = False
    found = measured(cells, probability, known=known)
    alone = measured(cells.select(known), probability[known])
    for name, estimate in found.values.items():
        expected = dataclasses.astuple(alone[name])
        assert dataclasses.astuple(estimate) == pytest.approx(expected, nan_ok=True), name


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Of 60 draws of samples, 95 % intervals should hold the AUC of a very large draw in 57."""
    cells, probability = drawn(seed=100, samples=4000)
    truth = float(Curve.of(cells.positive, probability).auc())
    held = 0
    for seed in range(60):
        cells, probability = drawn(seed=seed, samples=40, each=10)

        def auc(weight, positive=cells.positive, probability=probability):
            return {"": {"auc": Curve.of(positive, probability, weight).auc()}}

        drawing = Resampling(cells.group, cells.positive, seed=1, draws=200)
        interval = drawing.estimate(auc)[""]["auc"]
        held += interval.low <= truth <= interval.high
    assert 50 <= held < 60


def test_few_negatives_cannot_tell_a_small_false_call_rate():
    found = measured(*drawn(samples=20, each=20))
    assert math.isfinite(found["sensitivity_at_1_in_10"].value)
    assert math.isnan(found["sensitivity_at_1_in_100"].value)
    found = measured(*drawn(samples=20, each=31))
    assert math.isfinite(found["sensitivity_at_1_in_100"].value)


def test_samples_with_ctcs_are_told_from_those_without():
    cells, probability = drawn()
    assert measured(cells, probability)["sample_auc"].value > 0.9
    # As blood is: a few CTCs among leukocytes, and samples without.
    sample = np.where(cells.positive, cells.sample, np.roll(cells.sample, 40))
    shared = made(cells.positive, np.where(np.arange(len(cells)) % 3 == 0, sample, cells.sample))
    found = measured(shared, probability)["sample_auc"]
    assert 0.5 < found.value <= 1
    everywhere = made(cells.positive, np.tile([f"s{i}" for i in range(20)], 20))
    assert math.isnan(measured(everywhere, probability)["sample_auc"].value)


def test_a_coin_is_worth_nothing():
    cells, _ = drawn()
    coin = np.round(np.random.default_rng(3).random(400), 6)
    found = measured(cells, coin)
    assert found["auc"].low < 0.5 < found["auc"].high
    assert found["log_loss"].low > found["log_loss_constant"].value
    assert found["brier"].low > found["brier_constant"].value


def test_the_share_of_ctcs_is_known_to_the_constant_predictor_as_is():
    cells, probability = drawn()
    kept = np.flatnonzero(~cells.positive | (np.arange(400) % 4 == 0))
    found = measured(cells.select(kept), probability[kept])
    share = cells.positive[kept].mean()
    assert found["brier_constant"].value == pytest.approx(0.25)
    assert found["brier_constant_as_is"].value == pytest.approx(share * (1 - share))
    assert found["log_loss_as_is"].value < found["log_loss_constant_as_is"].value


def test_the_gain_over_a_baseline_is_of_the_same_draws():
    cells, probability = drawn()
    found = measured(cells, probability, baselines={"same": 3 * probability - 7})
    assert found.baselines["same"]["auc"] == found["auc"]
    gain = found.baselines["same"]["auc_gain"]
    assert (gain.value, gain.low, gain.high) == (0, 0, 0)


def test_strata_show_what_the_whole_hides():
    cells, probability = drawn(samples=40)
    hard = cells.positive & (np.arange(len(cells)) % 4 == 0)
    probability = np.where(hard, 0.3, probability)
    stratum = np.where(hard, "double-negative", np.where(cells.positive, "CTC", "leukocyte"))
    found = measured(made(cells.positive, cells.sample, stratum=stratum), probability)
    by_name = {one.counts.name: one for one in found.strata}
    assert by_name["double-negative"].called.value == 0
    assert by_name["CTC"].called.value == pytest.approx(
        (probability[stratum == "CTC"] >= 0.5).mean()
    )
    assert by_name["double-negative"].auc.value < found["auc"].value < by_name["CTC"].auc.value


def test_cells_of_unknown_label_enter_strata_alone():
    cells, probability = drawn(samples=40)
    known = np.arange(len(cells)) % 10 != 0
    stratum = np.where(known, cells.stratum, "near-gate")
    unsure = made(cells.positive & known, cells.sample, stratum=stratum)
    found = measured(unsure, probability, known=known)
    assert found.unlabelled == 80
    assert found["auc"].value == pytest.approx(
        float(Curve.of(cells.positive[known], probability[known]).auc())
    )
    (near,) = [one for one in found.strata if one.counts.name == "near-gate"]
    assert (near.counts.cells, near.counts.ctcs, near.counts.negatives) == (80, 0, 0)
    assert near.called.value == pytest.approx((probability[~known] >= 0.5).mean())
    assert math.isnan(near.auc.value)


def test_one_class_is_refused():
    cells, probability = drawn()
    with pytest.raises(ValueError, match="one class only"):
        measured(cells.select(cells.positive), probability[cells.positive])


def test_scores_of_several_models_are_joined_at_the_points_that_all_have():
    first = Scores.of(np.array([0.2, 0.7]), DECISION, {"screening": 0.1, "confirm": 0.9})
    other = Scores.of(np.array([0.55]), DecisionThresholds(0.6, (0.5, 0.65)), {"screening": 0.6})
    joined = Scores.joined([first, other])
    assert list(joined.at) == ["screening"]
    assert joined.at["screening"].tolist() == [True, True, False]
    assert joined.called.tolist() == [False, True, False]
    assert joined.review.tolist() == [False, False, True]


def test_calls_are_counted_with_what_the_threshold_alone_would_say():
    positive = np.array([True, True, True, False, False, False])
    sample = np.array(["s0", "s0", "s1", "s2", "s3", "s3"])
    verdicts = [
        Prediction("CTC", 0.9),
        Prediction("review", 0.8, ("empty", "near-threshold")),
        Prediction("review", 0.3, ("near-threshold",)),
        Prediction("leukocyte", 0.1),
        Prediction("review", 0.7, ("empty",)),
        Prediction("review", 0.1, ("empty",)),
    ]
    above = np.array([verdict.probability >= 0.5 for verdict in verdicts])
    known = np.arange(6) < 5
    found = count_calls(made(positive, sample), verdicts, above, known=known, seed=1, draws=200)
    review = found.by_call["review"]
    assert (review.ctcs, review.negatives, review.unlabelled) == (2, 1, 1)
    assert (review.ctcs_above, review.negatives_above) == (1, 1)
    assert (review.ctcs_fraction.value, review.negatives_fraction.value) == (2 / 3, 1 / 2)
    assert (review.negatives_fraction.low, review.negatives_fraction.high) == (0, 1)
    assert found.by_call["CTC"].ctcs_fraction.value == 1 / 3
    assert list(found.by_reason) == ["empty", "near-threshold"]
    assert found.by_reason["near-threshold"].ctcs == 2
    assert (found.flagged.ctcs, found.flagged.negatives, found.flagged.unlabelled) == (1, 1, 1)
