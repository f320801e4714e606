"""Phrases that several parts of a report use."""

from __future__ import annotations

from collections.abc import Mapping

from ctcedge.classification.decision import adjust_for_prevalence
from ctcedge.report.cells import CallThresholds
from ctcedge.report.review_list import ReviewList

PAGE_CALLS = ("CTC", "review", "leukocyte")
"""Calls in the order in which the page numbers and draws them: by falling probability."""

RARE_PREVALENCE = 1 / 5000
"""Fraction of CTCs among enriched cells, as an example of a rare one."""


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, such as "1 cell" or "2 cells"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def one_in(fraction: float) -> str:
    """Return a fraction as people read it, such as "1 in 5,000"."""
    of = 1 / fraction
    return f"1 in {of:,.0f}" if of >= 10 else f"1 in {of:.3g}"


def counts_text(counter: Mapping[str, int]) -> str:
    """Return the names, the most frequent first, with their counts where there are several."""
    ordered = sorted(counter.items(), key=lambda item: -item[1])
    if len(ordered) == 1:
        return ordered[0][0]
    return ", ".join(f"{name} ({count:,})" for name, count in ordered) or "none"


def decision_text(thresholds: CallThresholds) -> str:
    """Return the thresholds of the calls."""
    name = thresholds.operating_point
    rule = "the model’s own" if name is None else f"operating point {name}"
    band = (
        f"review from {thresholds.review:.4g}"
        if thresholds.review < thresholds.ctc
        else "no review band"
    )
    return f"{rule}: CTC from {thresholds.ctc:.4g}, {band}"


def prior_text(prior: float) -> str:
    """Return the fraction of CTCs that a probability assumes, with an example at a rarer one."""
    text = f"if {one_in(prior)} cells were a CTC"
    if prior > 0.01:
        rare = adjust_for_prevalence(0.9, prior, RARE_PREVALENCE)
        text += f"; 0.9 becomes {rare:.2g} if {one_in(RARE_PREVALENCE)} were"
    return text


def draw_text(draw: ReviewList) -> str:
    """Return the composition of the review list."""
    candidates = len(draw.order) - len(draw.drawn)
    return (
        f"The review list contains {plural(candidates, 'cell')} called CTC or review, mixed with"
        f" {len(draw.drawn):,} drawn at random from {draw.leukocytes:,} called leukocyte, which"
        " show how many CTCs the model missed. The model's call is hidden until you have decided."
    )
