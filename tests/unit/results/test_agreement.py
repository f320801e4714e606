from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from ctcedge.discovery.naming import Crop
from ctcedge.results.agreement import assess, kappa
from ctcedge.sidecars.scan import CropRecord
from tests.helpers.sidecar_data import HASH, record
from tests.helpers.sidecar_files import typed


def said(word: str, **changes: Any) -> dict[str, Any]:
    return {
        "call": word,
        "reviewer": "Ada",
        "time": "2026-01-02T03:04:05Z",
        "from": "leukocyte",
        "note": "",
        "image_sha256": HASH,
        "channels": ["BF"],
        "blinded": True,
        "weight": None,
    } | changes


def drawn(word: str, weight: float = 20.0, **changes: Any) -> dict[str, Any]:
    return said(word, weight=weight, **changes)


def stored(call: str, *reviews: dict[str, Any]) -> CropRecord:
    review = reviews[-1] | {"history": list(reviews[:-1])} if reviews else None
    content = typed(record(call=call, review=review))
    return CropRecord(Crop("p", "S", "1", "BF"), Path("p"), content)


def leukocytes(count: int, *reviews: dict[str, Any]) -> list[CropRecord]:
    return [stored("leukocyte", *reviews)] * count


def test_counts_and_agreement() -> None:
    cells = [
        stored("CTC", said("CTC")),
        stored("CTC", said("leukocyte")),
        stored("review", said("CTC")),
        stored("leukocyte", said("unsure")),
        stored("leukocyte", said("leukocyte", image_sha256="1" * 64)),
        stored("leukocyte"),
        CropRecord(Crop("q", "S", "2", "BF"), Path("q"), None),
    ]
    found = assess(cells)
    assert (found.cells, found.reviewed, found.outdated) == (6, 4, 1)
    assert found.agreement() == (1, 2)
    assert found.as_json()["calls"]["review"] == {"CTC": 1, "leukocyte": 0, "unsure": 0}
    assert found.missed is None


def test_missed_ctcs_follow_from_the_draw() -> None:
    cells = leukocytes(940) + leukocytes(48, drawn("leukocyte")) + leukocytes(2, drawn("CTC"))
    found = assess(cells + [stored("CTC", said("CTC"))] * 7).missed
    assert found is not None
    assert (found.leukocytes, found.drawn, found.drawn_ctcs) == (990, 50, 2)
    assert found.estimate == pytest.approx(990 * 2 / 50)
    # Clopper and Pearson's limits of 2 in 50 are 0.0049 and 0.1371.
    assert (found.low, found.high) == pytest.approx((0.00488 * 990, 0.13714 * 990), rel=1e-3)


def test_no_ctc_in_the_draw_does_not_mean_none() -> None:
    found = assess(leukocytes(950) + leukocytes(50, drawn("leukocyte"))).missed
    assert found is not None
    assert (found.estimate, found.low) == (0, 0)
    assert found.high == pytest.approx(1000 * (1 - 0.025 ** (1 / 50)))


def test_when_all_were_drawn_and_reviewed_nothing_is_uncertain() -> None:
    found = assess(leukocytes(9, drawn("leukocyte", 1)) + leukocytes(1, drawn("CTC", 1))).missed
    assert found is not None
    assert (found.low, found.estimate, found.high) == (1, 1, 1)


def test_cells_that_were_looked_at_on_purpose_stand_for_themselves() -> None:
    on_purpose = leukocytes(30, said("CTC")) + leukocytes(10, said("leukocyte"))
    cells = leukocytes(910) + leukocytes(50, drawn("leukocyte")) + on_purpose
    found = assess(cells).missed
    assert found is not None
    assert (found.others, found.other_ctcs, found.estimate, found.low) == (40, 30, 30, 30)
    assert found.high == pytest.approx(30 + 960 * (1 - 0.025 ** (1 / 50)))


@pytest.mark.parametrize(
    "changes", [{"blinded": False}, {"from": "review"}, {"image_sha256": "1" * 64}]
)
def test_what_is_no_part_of_the_blinded_draw_does_not_stand_for_others(
    changes: dict[str, Any],
) -> None:
    assert assess(leukocytes(10) + leukocytes(5, drawn("CTC", **changes))).missed is None


def test_an_unsure_person_widens_the_interval() -> None:
    sure = assess(leukocytes(900) + leukocytes(50, drawn("leukocyte"))).missed
    cells = leukocytes(900) + leukocytes(47, drawn("leukocyte")) + leukocytes(3, drawn("unsure"))
    unsure = assess(cells).missed
    assert sure is not None and unsure is not None
    assert (unsure.drawn_unsure, unsure.estimate, unsure.low) == (3, 0, 0)
    assert unsure.high > 2 * sure.high


def test_a_later_word_counts_also_where_the_first_was_of_the_draw() -> None:
    twice = leukocytes(1, drawn("CTC"), said("leukocyte", reviewer="Bo", blinded=False))
    found = assess(leukocytes(10) + twice).missed
    assert found is not None
    assert (found.drawn, found.drawn_ctcs) == (1, 0)


def test_the_draws_of_two_reports_of_different_weight() -> None:
    cells = leukocytes(800) + leukocytes(90, drawn("leukocyte", 10))
    found = assess(cells + leukocytes(10, drawn("CTC", 100))).missed
    assert found is not None
    assert found.estimate == pytest.approx(900 * 1000 / 1900)  # by weight, not by number
    even = assess(cells + leukocytes(10, drawn("CTC", 10))).missed
    assert even is not None
    assert found.high - found.low > even.high - even.low  # fewer effective cells


@pytest.mark.parametrize("runs", [20, pytest.param(150, marks=pytest.mark.statistical)])
def test_coverage_of_missed_ctcs(runs: int) -> None:
    lot = random.Random(6)
    inside = 0
    unseen = stored("leukocyte")
    reviewed = {word: stored("leukocyte", drawn(word)) for word in ("CTC", "leukocyte")}
    for _ in range(runs):
        ctcs = lot.randint(0, 60)
        words = ["CTC"] * ctcs + ["leukocyte"] * (3000 - ctcs)
        chosen = set(lot.sample(range(3000), 150))
        cells = [reviewed[word] if index in chosen else unseen for index, word in enumerate(words)]
        found = assess(cells).missed
        assert found is not None
        inside += found.low <= ctcs <= found.high
    assert inside >= 0.95 * runs


def test_kappa_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    one = rng.choice(["CTC", "leukocyte", "unsure"], 200, p=[0.2, 0.7, 0.1])
    two = np.where(rng.random(200) < 0.8, one, rng.choice(["CTC", "leukocyte"], 200))
    found = kappa(("Ada", "Bo"), Counter(zip(one.tolist(), two.tolist(), strict=True)))
    assert found.kappa == pytest.approx(cohen_kappa_score(one, two))
    assert found.low is not None and found.high is not None and found.kappa is not None
    assert found.low < found.kappa < found.high
    assert (found.cells, found.same) == (200, int((one == two).sum()))


def test_perfect_agreement_on_few_cells_is_not_certain() -> None:
    few = kappa(("Ada", "Bo"), Counter({("CTC", "CTC"): 3, ("leukocyte", "leukocyte"): 9}))
    many = kappa(("Ada", "Bo"), Counter({("CTC", "CTC"): 300, ("leukocyte", "leukocyte"): 900}))
    assert (few.kappa, few.high, many.high) == (1, 1, 1)
    assert few.low is not None and many.low is not None
    assert few.low < 0.8 < 0.95 < many.low


def test_one_word_alone_has_no_kappa() -> None:
    found = kappa(("Ada", "Bo"), Counter({("leukocyte", "leukocyte"): 50}))
    assert (found.cells, found.same, found.kappa, found.low) == (50, 50, None, None)


@pytest.mark.parametrize("runs", [40, pytest.param(200, marks=pytest.mark.statistical)])
@pytest.mark.parametrize("error", [0.02, 0.1])
@pytest.mark.parametrize("cells", [20, 100])
def test_coverage_of_kappa(cells: int, error: float, runs: int) -> None:
    rng = np.random.default_rng(6)
    truth, slip = np.array([0.25, 0.75]), np.array([[1 - error, error], [error, 1 - error]])
    table = np.einsum("t,ti,tj->ij", truth, slip, slip)
    by_chance = (table.sum(0) * table.sum(1)).sum()
    real = (np.trace(table) - by_chance) / (1 - by_chance)
    inside = []
    for _ in range(runs):
        counts = rng.multinomial(cells, table.ravel()).reshape(2, 2)
        words = ("CTC", "leukocyte")
        pairs = {
            (a, b): int(counts[i, j]) for i, a in enumerate(words) for j, b in enumerate(words)
        }
        found = kappa(("Ada", "Bo"), Counter({p: n for p, n in pairs.items() if n}))
        if found.low is not None and found.high is not None:
            inside.append(found.low <= real <= found.high)
    assert np.mean(inside) >= 0.9


def test_readers_are_compared_on_the_cells_of_both() -> None:
    cells = [
        stored("CTC", said("CTC"), said("CTC", reviewer="Bo")),
        stored("CTC", said("CTC"), said("leukocyte", reviewer="Bo")),
        # A second thought replaces the first, and another image is another cell.
        stored("CTC", said("leukocyte"), said("CTC"), said("CTC", reviewer="Bo")),
        stored("CTC", said("leukocyte", image_sha256="1" * 64), said("CTC", reviewer="Bo")),
        stored("CTC", said("CTC")),
    ]
    (found,) = assess(cells).kappas
    assert (found.readers, found.cells, found.same) == (("Ada", "Bo"), 3, 2)


@pytest.mark.parametrize("weight", [1.0, 20.0, 1e9, 1e15])
def test_equal_weights_of_any_size_give_one_estimate(weight: float) -> None:
    cells = [
        *leukocytes(3, drawn("CTC", weight)),
        *leukocytes(47, drawn("leukocyte", weight)),
        *leukocytes(950),
    ]
    found = assess(cells).missed
    assert found is not None
    assert found.estimate == pytest.approx(60)
    assert (found.low, found.high) == (pytest.approx(12.5, abs=0.1), pytest.approx(165.5, abs=0.1))


@pytest.mark.parametrize("weights", [(1.0, 1e15), (1e15, 1e15), (1.0, 1.0000001), (1e9, 1.5)])
@pytest.mark.parametrize("words", [("CTC", "leukocyte"), ("unsure", "CTC"), ("CTC", "CTC")])
def test_weights_of_any_size_give_finite_limits(
    weights: tuple[float, float], words: tuple[str, str]
) -> None:
    cells = [
        stored("leukocyte", drawn(w, weight)) for w, weight in zip(words, weights, strict=True)
    ]
    found = assess(cells + leukocytes(10)).missed
    assert found is not None
    assert 0 <= found.low <= found.estimate <= found.high <= 12


def test_any_number_of_readers_is_compared_in_bounded_time() -> None:
    """Pairs grow with the square of the readers; 3,000 readers would be 4.5 million pairs."""
    crowd = [said("CTC", reviewer=f"reader {number:04}") for number in range(3000)]
    cells = [stored("CTC", *crowd)] + [
        stored("CTC", said("CTC", reviewer="Ada"), said("leukocyte", reviewer="Bob"))
    ] * 3
    found = assess(cells)
    assert len(found.kappas) == 18 * 17 // 2 + 1
    assert found.readers_left_out == 2
    (both,) = [kappa for kappa in found.kappas if kappa.readers == ("Ada", "Bob")]
    assert (both.cells, both.same) == (3, 0)
    assert found.as_json()["readers_left_out"] == 2
    assert assess(cells[1:]).readers_left_out == 0
