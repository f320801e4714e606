"""Measure the speed of this machine: `ctcedge bench`.

The pipeline as `classify` runs it, from file to sidecar, is measured in rounds that alternate with
the bare session of ONNX Runtime, so that background load affects both equally. The headline figures
are those of one round: the round with the median ratio of the pipeline's speed to the mean speed of
the session just before and just after it. The spread over all rounds is reported beside them.

Files are written to a temporary folder only, which is removed at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ctcedge.bench import machine
from ctcedge.bench.parity import cpu_parity, golden_difference
from ctcedge.bench.results import Bench, Round
from ctcedge.bench.sessions import BareSession, SessionTiming
from ctcedge.bench.synthetic_crops import write_crops
from ctcedge.bench.throughput import (
    Workload,
    latencies,
    min_crops,
    network_inputs_of,
    run_pipeline,
)
from ctcedge.classification.analysis import InferenceProvenance
from ctcedge.classification.classifier import Classifier
from ctcedge.discovery.scan import check_folder, list_folder, require_crops
from ctcedge.errors import OutputError, ProviderError
from ctcedge.fs.mounts import file_system
from ctcedge.model.folder import Model, load_model
from ctcedge.model.session import Provider, open_engine
from ctcedge.model.spec import Variant
from ctcedge.pipeline.pipeline import chunk_size
from ctcedge.settings import Settings

DEFAULT_CROPS = 2_000

_MIN_ROUNDS, _MAX_ROUNDS = 3, 9
_ROUNDS_SECONDS = 20.0  # as many rounds are measured as fit in
_SWEEP_SECONDS = 0.15  # per batch size and repetition
_SESSION_SECONDS = 0.25  # minimum of a session's measurement between two rounds
_WARM_UP_CROPS = 1_000
_MAX_COMPARED = 4_096  # inputs for the comparison of GPU and CPU


class Interrupted(Exception):
    """The caller's `should_stop` returned True."""


class _Opened(NamedTuple):
    """A model that was opened once, to see where it runs and how long that takes."""

    model: Model
    provider: Provider
    provenance: InferenceProvenance
    reason: str
    optimal_batch_size: int
    seconds: float


def bench(
    folder: Path | None,
    settings: Callable[[Path], Settings],
    *,
    out: Path | None = None,
    count: int | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Bench:
    """Measure this machine.

    Args:
        folder: folder of crops, which are only read; None for synthetic crops.
        settings: returns how to read and classify the crops of a folder.
        out: folder in which the temporary folder of the sidecars is made, to measure its disk; None
            for the system's folder for temporary files.
        count: maximum number of crops per round; None for as many as a steady speed needs.
        on_progress: called with a description of the next step.
        should_stop: called now and then; return True to end with `Interrupted`.

    Raises:
        SetupError: something prevents the measurement; the message suggests a remedy.
        Interrupted: all written files are removed.
    """

    def check() -> None:
        if should_stop():
            raise Interrupted

    if folder is not None:
        check_folder(folder)
    with _temporary_folder(out) as scratch:
        crops_folder = scratch / "crops" if folder is None else folder
        chosen = settings(crops_folder)
        gpu_before = machine.gpu_memory_mb()
        opened = _open_once(chosen)
        model, provenance = opened.model, opened.provenance
        on_progress(
            f"Model {model.spec.name} ({provenance.variant}) on {provenance.provider.upper()}:"
            f" {opened.reason}"
        )
        batch = opened.optimal_batch_size
        max_crops = count or max(DEFAULT_CROPS, min_crops(chunk_size(chosen.batch_size, batch)))
        if folder is None:
            on_progress(f"Drawing {max_crops:,} crops")
            for _ in write_crops(crops_folder, max_crops):
                check()
        listing = list_folder(crops_folder, chosen.images.naming())
        require_crops(crops_folder, listing)
        workload = Workload(crops_folder, chosen, listing.crops[:max_crops], check)
        crops = len(workload.crops)
        time_scale = min(1.0, max(0.1, crops / DEFAULT_CROPS))

        on_progress("Warming up; one crop at a time")
        warm_up = dataclasses.replace(workload, crops=workload.crops[:_WARM_UP_CROPS])
        run_pipeline(warm_up, scratch / "warm-up", 0)
        latency_ms = _latency_ms(workload, scratch / "single")
        gpu_after = machine.gpu_memory_mb()
        peak_memory_mb = machine.peak_memory_mb()
        classify_one = _classify_one(scratch / "classify-one", chosen, model)

        inputs = network_inputs_of(workload, model, _MAX_COMPARED)
        sessions, unavailable = _sweep_sessions(
            opened, chosen, inputs, time_scale, on_progress, check
        )
        by_graph = {(session.provider, session.variant): session for session in sessions}
        rounds = _measure_rounds(
            workload,
            scratch,
            by_graph[opened.provider, provenance.variant],
            by_graph.get((opened.provider, "fp32")),
            time_scale,
            on_progress,
        )
        on_progress("Comparing with the golden outputs")
        classifier = Classifier.open(model, opened.provider, chosen.decision)
        return Bench(
            model=model,
            provenance=provenance,
            provider_reason=opened.reason,
            rounds=rounds,
            sessions=sessions,
            unavailable=unavailable,
            crops={
                "count": crops,
                "drawn": folder is None,
                "unclassified": rounds[0].pipeline.unclassified,
                "bytes": round(_total_bytes(workload) / crops),
                "file_system": file_system(crops_folder),
            },
            sidecars={"folder": str(scratch.parent), "file_system": file_system(scratch)},
            batch=chosen.batch_size or batch,
            latency_ms=latency_ms,
            start_s={"open": round(opened.seconds, 3), "classify_one": round(classify_one, 3)},
            peak_memory_mb=peak_memory_mb,
            gpu_memory_mb=(
                None if gpu_before is None or gpu_after is None else gpu_after - gpu_before
            ),
            golden_difference=golden_difference(classifier),
            parity=cpu_parity(classifier, chosen.decision, inputs),
        )


@contextlib.contextmanager
def _temporary_folder(out: Path | None) -> Iterator[Path]:
    """A temporary folder that also holds the state of the runs; both are removed afterwards."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="ctcedge-bench-", dir=out))
    except OSError as error:
        raise OutputError(
            f"{out or tempfile.gettempdir()} cannot be written: {error.strerror}; give --out DIR, a"
            " folder on the disk to be measured"
        ) from None
    before = os.environ.get("CTCEDGE_STATE")
    os.environ["CTCEDGE_STATE"] = str(folder / "state")
    try:
        yield folder
    finally:
        if before is None:
            del os.environ["CTCEDGE_STATE"]
        else:
            os.environ["CTCEDGE_STATE"] = before
        shutil.rmtree(folder)


def _open_once(settings: Settings) -> _Opened:
    """Open the model and close it again: its memory is not to be counted as the pipeline's."""
    start = time.perf_counter()
    model = load_model(settings.model)
    classifier = Classifier.open(model, settings.provider, settings.decision)
    seconds = time.perf_counter() - start
    engine = classifier.engine
    return _Opened(
        model,
        engine.provider,
        classifier.provenance,
        engine.reason,
        engine.optimal_batch_size,
        seconds,
    )


def _latency_ms(workload: Workload, out: Path) -> dict[str, float]:
    """Time from file to sidecar of single crops."""
    seconds = latencies(workload, out, max(10, len(workload.crops) // 10))
    return {
        "median": round(1e3 * float(np.median(seconds)), 2),
        "p99": round(1e3 * float(np.percentile(seconds, 99)), 2),
        "crops": len(seconds),
    }


def _total_bytes(workload: Workload) -> int:
    return sum(os.path.getsize(workload.folder / crop.path) for crop in workload.crops)


def _classify_one(scratch: Path, settings: Settings, model: Model) -> float:
    """Seconds of a whole `ctcedge classify` of one crop, the start of Python included."""
    for _ in write_crops(scratch / "crops", 1):
        pass
    command = [sys.executable, "-m", "ctcedge", "classify", str(scratch / "crops")]
    command += ["--out", str(scratch / "out"), "--model", str(model.folder)]
    command += ["--provider", settings.provider]
    start = time.perf_counter()
    process = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        text = process.stderr.decode("utf-8", "replace").strip()
        raise ProviderError(f"'ctcedge classify' of one crop failed: {text[-500:]}")
    return seconds


def _sweep_sessions(
    opened: _Opened,
    settings: Settings,
    inputs: NDArray[np.uint8],
    time_scale: float,
    on_progress: Callable[[str], None],
    check: Callable[[], None],
) -> tuple[list[BareSession], dict[str, str]]:
    """Measure each provider and graph at each batch size.

    Returns:
        The sessions, and by provider or `provider graph` why one does not run here.

    Raises:
        ProviderError: the graph that the pipeline uses does not run here.
    """
    model, own = opened.model, (opened.provider, opened.provenance.variant)
    sessions: list[BareSession] = []
    unavailable: dict[str, str] = {}
    for provider in sorted(get_args(Provider), key=lambda name: name != opened.provider):
        on_progress(f"Bare sessions on {provider.upper()} by batch size")
        try:
            engine = open_engine(model, provider)
        except ProviderError as error:
            unavailable[provider] = str(error)
            continue
        for variant in _variants(model, provider, engine.variant):
            try:
                session = BareSession(model, variant, engine, inputs)
                repetitions = 3 if variant == own[1] else 1
                session.sweep(time_scale * _SWEEP_SECONDS, repetitions, check)
            except Interrupted:
                raise
            except Exception as error:  # ONNX Runtime's exceptions have no common base class
                text = str(error).strip().partition("\n")[0][:200]
                unavailable[f"{provider} {variant}"] = text
            else:
                sessions.append(session)
    if own not in [(session.provider, session.variant) for session in sessions]:
        raise ProviderError(f"the bare session does not run: {unavailable[' '.join(own)]}")
    return sessions, unavailable


def _variants(model: Model, provider: Provider, first: Variant) -> list[Variant]:
    """Graphs to measure; INT8 has no kernels on a GPU."""
    others = [
        variant
        for variant in get_args(Variant)
        if variant in model.spec.graphs
        and variant != first
        and (provider, variant) != ("cuda", "int8")
    ]
    return [first, *others]


def _measure_rounds(
    workload: Workload,
    scratch: Path,
    session: BareSession,
    fp32: BareSession | None,
    time_scale: float,
    on_progress: Callable[[str], None],
) -> list[Round]:
    crops = len(workload.crops)

    def run_session(bare: BareSession, images: int) -> SessionTiming:
        workload.check()
        best = bare.best
        seconds = time_scale * _SESSION_SECONDS
        return bare.run(best.batch, best.calls_at_once, images, seconds)

    def run_sessions() -> tuple[SessionTiming, SessionTiming | None]:
        return (
            run_session(session, crops // 2),
            None if fp32 is None else run_session(fp32, crops // 8),
        )

    rounds: list[Round] = []
    start = time.perf_counter()
    before = run_sessions()
    while len(rounds) < _MIN_ROUNDS or (
        len(rounds) < _MAX_ROUNDS and time.perf_counter() - start < time_scale * _ROUNDS_SECONDS
    ):
        out = scratch / f"round-{len(rounds) + 1}"
        pipeline = run_pipeline(workload, out, max(10, crops // 10))
        after = run_sessions()
        timing = SessionTiming.sum(before[0], after[0])
        fp32_timings = [pair[1] for pair in (before, after) if pair[1] is not None]
        rounds.append(
            Round(
                session_per_s=timing.images_per_s,
                session_cpu_us=1e6 * timing.cpu_seconds / timing.images,
                fp32_session_per_s=(
                    SessionTiming.sum(*fp32_timings).images_per_s if fp32_timings else None
                ),
                pipeline=pipeline,
            )
        )
        before = after
        on_progress(
            f"Round {len(rounds)}: bare session {timing.images_per_s:,.0f} images per second, file"
            f" to sidecar {pipeline.crops_per_s:,.0f} ({rounds[-1].fraction_of_session:.0%})"
        )
    return rounds
