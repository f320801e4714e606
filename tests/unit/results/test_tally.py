"""One tally counts calls, clusters and review reasons wherever they are counted."""

from __future__ import annotations

from ctcedge.results.tally import OTHER_REASONS, Tally


def test_counts_by_call_cluster_and_reason() -> None:
    tally = Tally()
    tally.add("CTC", cluster=True)
    tally.add("review", ("near-threshold", "debris"))
    tally.add("review", ("debris",), cluster=True)
    assert tally.as_json() == {
        "calls": {"CTC": 1, "leukocyte": 0, "review": 2},
        "clusters": {"CTC": 1, "leukocyte": 0, "review": 1},
        "review_reasons": {"near-threshold": 1, "debris": 2},
    }


def test_what_is_taken_back_leaves_no_trace() -> None:
    tally = Tally()
    tally.add("review", ("debris",), cluster=True)
    tally.add("review", ("debris",), cluster=True, count=-1)
    assert tally.as_json() == Tally().as_json()


def test_memory_is_bounded_whatever_reasons_come_and_go() -> None:
    tally = Tally()
    for count in (1, -1):
        for number in range(1000):
            tally.add("review", (f"reason-{number}",), count=count)
        assert len(tally.review_reasons) == 101
        assert tally.review_reasons[OTHER_REASONS] == (900 if count == 1 else 0)
    assert tally.as_json() == Tally().as_json()
