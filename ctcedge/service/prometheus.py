"""Metrics of a watch as a text file for Prometheus (the node exporter's textfile collector).

They contain no names of samples or cells, as these can identify patients.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from ctcedge.fs.files import atomic_write
from ctcedge.log import event
from ctcedge.service.watch_state import Histogram, WatchState
from ctcedge.sidecars.schema import CALLS
from ctcedge.version import __version__

log = logging.getLogger("ctcedge.service.prometheus")

Labels: TypeAlias = dict[str, str]
Sample: TypeAlias = tuple[str, Labels, float]  # suffix of the metric's name, labels, value

_BAD_STATUSES = ("unreadable", "unsupported")
_OUTCOMES = ("written", "upgraded", "current", "vanished", "deferred", "not-written")


class MetricsFile:
    """The metrics file of a watch; a failure to write it never stops the watch.

    Args:
        path: path of the file; the collector reads names that end in `.prom`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False

    def update(self, state: WatchState) -> None:
        """Write the state; the first failure is logged, and the first success after it."""
        try:
            write(self._path, state)
        except OSError as error:
            if not self._failed:
                log.warning(
                    "metrics cannot be written to %s (%s); the watch goes on without",
                    self._path,
                    error.strerror,
                    extra=event("metrics-failed"),
                )
            self._failed = True
        else:
            if self._failed:
                log.info("metrics are written again", extra=event("metrics-written"))
            self._failed = False


def write(path: Path, state: WatchState) -> None:
    """Replace the file atomically, readable by everyone.

    Raises:
        OSError: the file cannot be written.
    """
    text = render(state, watch=path.stem)
    atomic_write(path, text.encode(), durable=False, world_readable=True)


def render(state: WatchState, watch: str) -> str:
    """The state in Prometheus' text format.

    Args:
        state: state of the watch.
        watch: value of the label `watch`, as one collector may read the files of several watches.
    """
    return "".join(itertools.chain.from_iterable(_lines(state, watch)))


def _lines(state: WatchState, watch: str) -> Iterator[Iterator[str]]:
    def metric(
        name: str,
        kind: Literal["counter", "gauge", "histogram"],
        meaning: str,
        samples: Iterable[Sample],
    ) -> Iterator[str]:
        yield f"# HELP ctcedge_{name} {meaning}\n# TYPE ctcedge_{name} {kind}\n"
        for suffix, labels, value in samples:
            yield f"ctcedge_{name}{suffix}{_braces({'watch': watch, **labels})} {_number(value)}\n"

    yield metric(
        "info",
        "gauge",
        "Version, model, its SHA-256 and the provider of the inference; always 1.",
        _single(
            1,
            version=__version__,
            model=state.model,
            model_sha256=state.model_sha256,
            provider=state.provider,
        ),
    )
    yield metric(
        "start_time_seconds",
        "gauge",
        "Time of the start of the watch, Unix time.",
        _single(state.started),
    )
    yield metric(
        "crops_total",
        "counter",
        "Newly written sidecars; the call is empty where the crop could not be classified.",
        _crops(state),
    )
    yield metric(
        "clusters_total",
        "counter",
        "Newly written sidecars of touching cells, also counted in crops_total.",
        (("", {"call": call}, state.tally.clusters[call]) for call in CALLS),
    )
    yield metric(
        "review_reasons_total",
        "counter",
        "Newly written calls of review by reason; one call can have several.",
        (("", {"reason": reason}, n) for reason, n in sorted(state.tally.review_reasons.items())),
    )
    yield metric(
        "outcomes_total",
        "counter",
        "Outcomes of crops, including those that were already done.",
        (("", {"done": done}, state.done[done]) for done in _OUTCOMES),
    )
    yield metric(
        "pending_crops",
        "gauge",
        "Crops that are incomplete or not classified yet.",
        _single(state.pending),
    )
    yield metric(
        "samples",
        "gauge",
        "Samples with a classified cell, and those among them with a cell of a kind.",
        (("", {"with": name}, n) for name, n in state.samples.samples_with().items()),
    )
    yield metric(
        "cells_to_review",
        "gauge",
        "Cells that a person must look at: called CTC or review, and not reviewed yet.",
        _single(state.samples.to_review),
    )
    yield metric(
        "not_understood_images",
        "gauge",
        "Files that look like images, whose names fit no rule; they are not classified.",
        _single(state.not_understood),
    )
    yield metric(
        "degraded",
        "gauge",
        "1 while a problem prevents the watch from working.",
        _single(bool(state.problem)),
    )
    if state.last_success is not None:
        yield metric(
            "last_success_timestamp_seconds",
            "gauge",
            "Time of the last newly classified crop, Unix time.",
            _single(state.last_success),
        )
    shift = state.domain_shift
    if shift is not None and shift.distance is not None:
        yield metric(
            "domain_shift",
            "gauge",
            "1 while the latest crops differ from the model's training data.",
            _single(shift.state == "shifted"),
        )
        yield metric(
            "training_distance",
            "gauge",
            "Distance of the latest crops from the model's training data; the limit is 1.",
            _single(shift.distance),
        )
    yield metric("batch_crops", "histogram", "Crops per pass.", _buckets(state.batches))
    yield metric(
        "latency_seconds",
        "histogram",
        "Seconds from a complete file to its sidecar.",
        _buckets(state.latencies),
    )


def _single(value: float, **labels: str) -> list[Sample]:
    return [("", labels, value)]


def _crops(state: WatchState) -> Iterator[Sample]:
    for call in CALLS:
        yield "", {"status": "classified", "call": call}, state.tally.calls[call]
    for status in _BAD_STATUSES:
        yield "", {"status": status, "call": ""}, state.statuses[status]


def _buckets(histogram: Histogram) -> Iterator[Sample]:
    counts = list(itertools.accumulate(histogram.counts))
    for bound, count in zip((*map(_number, histogram.bounds), "+Inf"), counts, strict=True):
        yield "_bucket", {"le": bound}, count
    yield "_sum", {}, histogram.sum
    yield "_count", {}, counts[-1]


def _braces(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    value = value.encode("utf-8", "backslashreplace").decode()  # a file name may be any bytes
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")
