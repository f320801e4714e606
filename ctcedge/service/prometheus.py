"""The state of a watch as a text file for Prometheus (the node exporter's textfile collector).

No sample or cell is named: names could tell who a patient is.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from ctcedge.fs.files import atomic_write
from ctcedge.log import event
from ctcedge.results.tally import CALLS
from ctcedge.service.watch_state import Histogram, WatchState
from ctcedge.version import __version__

log = logging.getLogger("ctcedge.service.prometheus")

Labels: TypeAlias = dict[str, str]
Sample: TypeAlias = tuple[str, Labels, float]  # suffix of the metric's name, labels, value

_BAD_STATUSES = ("unreadable", "unsupported")
_OUTCOMES = ("written", "current", "vanished", "deferred", "not-written")


class MetricsFile:
    """A file that is kept up to date with a watch, and that never stops it.

    Args:
        path: of the file; the collector reads names that end in `.prom`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False

    def update(self, state: WatchState) -> None:
        """Write the state; that it cannot be written is logged once, and once when it can again."""
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
    """Replace the file, whole or not at all, readable by everyone.

    Raises:
        OSError: it cannot be written.
    """
    text = render(state, watch=path.stem)
    atomic_write(path, text.encode(), durable=False, world_readable=True)


def render(state: WatchState, watch: str) -> str:
    """The state in Prometheus' text format.

    Args:
        state: of the watch.
        watch: tells apart several watches of one machine, whose files one collector reads.
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
        "What runs: ctcedge, the model, its SHA-256, and where the network runs; always 1.",
        _one(
            1,
            version=__version__,
            model=state.model,
            model_sha256=state.model_sha256,
            provider=state.provider,
        ),
    )
    yield metric(
        "start_time_seconds", "gauge", "When the watch started, Unix time.", _one(state.started)
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
        "Newly written sidecars of touching cells, which are among the crops too.",
        (("", {"call": call}, state.tally.clusters[call]) for call in CALLS),
    )
    yield metric(
        "review_reasons_total",
        "counter",
        "Newly written calls of review by reason; a call may have several.",
        (("", {"reason": reason}, n) for reason, n in sorted(state.tally.review_reasons.items())),
    )
    yield metric(
        "outcomes_total",
        "counter",
        "What was done with crops, also with those that needed nothing.",
        (("", {"done": done}, state.done[done]) for done in _OUTCOMES),
    )
    yield metric(
        "pending_crops", "gauge", "Crops that wait to be whole or classified.", _one(state.pending)
    )
    yield metric(
        "trouble",
        "gauge",
        "1 while something keeps the watch from working.",
        _one(bool(state.trouble)),
    )
    if state.last_success is not None:
        yield metric(
            "last_success_timestamp_seconds",
            "gauge",
            "When a crop was last newly classified, Unix time.",
            _one(state.last_success),
        )
    if state.likeness is not None and state.likeness.distance is not None:
        yield metric(
            "unlike_training",
            "gauge",
            "1 while the latest crops are unlike those that the model was trained on.",
            _one(state.likeness.state == "unlike"),
        )
        yield metric(
            "training_distance",
            "gauge",
            "Distance of the latest crops from the model's training crops; 1 is the limit.",
            _one(state.likeness.distance),
        )
    yield metric("batch_crops", "histogram", "Crops taken in one pass.", _buckets(state.batches))
    yield metric(
        "latency_seconds",
        "histogram",
        "From a whole file to its sidecar.",
        _buckets(state.latencies),
    )


def _one(value: float, **labels: str) -> list[Sample]:
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
    value = value.encode("utf-8", "backslashreplace").decode()  # a file's name may be any bytes
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")
