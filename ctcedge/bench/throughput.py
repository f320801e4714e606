"""Speed of the pipeline: crops through `Pipeline.run`, timed from outside, and stage by stage."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from ctcedge.bench.cpu_meter import Meter
from ctcedge.classification.analysis import CellAnalysis
from ctcedge.classification.fingerprints import known_pixel_size
from ctcedge.discovery.naming import Crop
from ctcedge.errors import BadImage, NoCropsError
from ctcedge.fs.tree import Tree
from ctcedge.images.decode import decode
from ctcedge.images.preprocess import network_input
from ctcedge.images.read import read_file
from ctcedge.model.failover import FailoverEngine
from ctcedge.model.folder import Model
from ctcedge.pipeline.outcome import Outcome
from ctcedge.pipeline.run import Run, open_run
from ctcedge.settings import Settings
from ctcedge.sidecars.store import SidecarStore

STAGES = ("read", "decode", "prepare", "infer", "decide", "write")
"""Stages of a crop, as in the pipeline; `prepare` is preprocessing and quality checks."""

_MIN_CHUNKS = 4
"""Minimum number of chunks in the middle of a run whose speed counts as steady."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Crops that are put through the pipeline repeatedly.

    Attributes:
        folder: folder of the crops.
        settings: settings as for `classify`; `out` is replaced.
        crops: crops of one run.
        check: called now and then; what it raises ends the measurement.
    """

    folder: Path
    settings: Settings
    crops: Sequence[Crop]
    check: Callable[[], None]

    def settings_for(self, out: Path) -> Settings:
        """The settings with another folder for sidecars, and for a single process."""
        return structs.replace(self.settings, out=str(out), workers=1)


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """Timing of one run of the pipeline.

    Attributes:
        crops: number of crops in the measured part of the run.
        seconds: wall time of that part.
        cpu_seconds: CPU time of all threads in that part.
        session_cpu_seconds: the session's part of the CPU time, see `cpu_meter`.
        steady: whether start and end of the run are left out.
        unclassified: number of crops in the whole run without a call.
        stages: CPU seconds per crop of each of `STAGES`, in one thread.
    """

    crops: int
    seconds: float
    cpu_seconds: float
    session_cpu_seconds: float
    steady: bool
    unclassified: int
    stages: dict[str, float]

    @property
    def crops_per_s(self) -> float:
        """Crops per second."""
        return self.crops / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU time per crop, us."""
        return 1e6 * self.cpu_seconds / self.crops

    @property
    def cpu_us_outside_session(self) -> float:
        """CPU time per crop outside the session, us."""
        return 1e6 * (self.cpu_seconds - self.session_cpu_seconds) / self.crops


def min_crops(chunk: int) -> int:
    """Minimum number of crops for a steady speed on any number of cores."""
    return 10 * _MIN_CHUNKS * chunk


def steady_window(crops: int, chunk: int) -> tuple[int, int] | None:
    """The middle of a run, in whole chunks, between whose outcomes its speed is measured.

    The fifth at either end, in which the pipeline fills and empties, is left out. Outcomes come a
    chunk at a time, so that time is taken at the first outcome of a chunk.

    Args:
        crops: number of crops of the run.
        chunk: number of crops of a chunk.

    Returns:
        Numbers of two outcomes, from 0; None where there are too few chunks between them.
    """
    first = -(-crops // (5 * chunk)) * chunk
    last = (crops - first) // chunk * chunk
    return (first, last) if last - first >= _MIN_CHUNKS * chunk else None


class _Clock(NamedTuple):
    """Readings of three clocks at one moment, seconds."""

    wall: float
    cpu: float
    session: float

    @classmethod
    def now(cls, meter: Meter) -> _Clock:
        return cls(time.perf_counter(), time.process_time(), meter.seconds())


def run_pipeline(workload: Workload, out: Path, stage_crops: int) -> PipelineRun:
    """Run the pipeline over all crops, as `classify` does, into a new folder.

    Args:
        workload: the crops and settings.
        out: folder of the sidecars; must not exist.
        stage_crops: number of crops on which each stage is measured alone, afterwards.

    Raises:
        SetupError: as `classify`.
    """
    meter = Meter()
    with contextlib.ExitStack() as stack:
        with meter.opening():
            run = stack.enter_context(open_run(workload.folder, workload.settings_for(out)))
        inference = run.classifier.inference
        assert isinstance(inference, FailoverEngine)
        meter.measure(inference)
        window = steady_window(len(workload.crops), run.pipeline.chunk_size)
        first, last = window or (0, len(workload.crops))
        unclassified = 0
        kept: list[Outcome] = []  # only as many as the stages need, as `classify` keeps none
        start = end = _Clock.now(meter)
        for number, outcome in enumerate(run.pipeline.run(workload.crops)):
            if window is not None and number == first:
                start = _Clock.now(meter)
            elif number == last:
                end = _Clock.now(meter)
            workload.check()
            if outcome.error is not None or outcome.record is None:
                unclassified += 1
            elif len(kept) < stage_crops:
                kept.append(outcome)
        if window is None:
            end = _Clock.now(meter)
        stages = _stage_seconds(workload, out.with_name(f"{out.name}-stages"), run, meter, kept)
    timing = _Clock(*(late - early for late, early in zip(end, start, strict=True)))
    return PipelineRun(
        crops=last - first,
        seconds=timing.wall,
        cpu_seconds=timing.cpu,
        session_cpu_seconds=timing.session,
        steady=window is not None,
        unclassified=unclassified,
        stages={stage: seconds / max(1, len(kept)) for stage, seconds in stages.items()},
    )


def _stage_seconds(
    workload: Workload, out: Path, run: Run, meter: Meter, outcomes: Sequence[Outcome]
) -> dict[str, float]:
    """Run the pipeline's stages one after another in one thread.

    Returns:
        CPU seconds by stage, of all crops together.
    """
    stages = dict.fromkeys(STAGES, 0.0)

    @contextlib.contextmanager
    def timed(stage: str) -> Iterator[None]:
        start = time.thread_time()
        yield
        stages[stage] += time.thread_time() - start

    classifier = run.classifier
    um_per_px = known_pixel_size(workload.settings.images, classifier.model.spec)
    sidecars = SidecarStore(workload.folder, out)
    batch_size, chunk_size = run.pipeline.batch_size, run.pipeline.chunk_size
    with sidecars.open():
        for begin in range(0, len(outcomes), chunk_size):
            workload.check()
            chunk = outcomes[begin : begin + chunk_size]
            with timed("read"):
                with Tree(workload.folder) as tree:
                    files = [read_file(tree, item.crop.path) for item in chunk]
                for data in files:
                    hashlib.sha256(data).hexdigest()
            with timed("decode"):
                images = [decode(data) for data in files]
            with timed("prepare"):
                prepared = classifier.prepare([image.image for image in images], um_per_px)
                inputs = [crop.input for crop in prepared]
                batches = [
                    np.stack(inputs[start : start + batch_size])
                    for start in range(0, len(inputs), batch_size)
                ]
            before = meter.seconds()
            outputs = [classifier.infer(batch) for batch in batches]
            stages["infer"] += meter.seconds() - before
            with timed("decide"):
                starts = range(0, len(prepared), batch_size)
                for start, output in zip(starts, outputs, strict=True):
                    quality = [crop.quality for crop in prepared[start : start + batch_size]]
                    for result in classifier.postprocess(quality, output):
                        if isinstance(result, CellAnalysis):
                            classifier.rule.decide(result)
            with timed("write"), sidecars.batch() as write:
                for item in chunk:
                    if item.record is not None:
                        write(item.crop, item.record)
    return stages


def latencies(workload: Workload, out: Path, count: int) -> list[float]:
    """Run the pipeline with one crop at a time.

    Returns:
        Seconds from file to sidecar of each crop.
    """
    seconds = []
    with open_run(workload.folder, workload.settings_for(out)) as run:
        for crop in workload.crops[:count]:
            workload.check()
            start = time.perf_counter()
            for _ in run.pipeline.run([crop]):
                pass
            seconds.append(time.perf_counter() - start)
    return seconds


def network_inputs_of(workload: Workload, model: Model, max_crops: int) -> NDArray[np.uint8]:
    """Network inputs of the first crops, without those that cannot be read.

    Returns:
        (n, size, size) uint8, n at least 1.

    Raises:
        NoCropsError: none can be read.
    """
    spec = model.spec
    um_per_px = known_pixel_size(workload.settings.images, spec)
    inputs = []
    for crop in workload.crops[:max_crops]:
        workload.check()
        with contextlib.suppress(BadImage, OSError), Tree(workload.folder) as tree:
            pixels = decode(read_file(tree, crop.path)).pixels
            inputs.append(network_input(pixels, um_per_px, spec.input))
    if not inputs:
        raise NoCropsError(
            f"none of the first {min(max_crops, len(workload.crops))} crops in {workload.folder}"
            " can be read; 'ctcedge inspect' shows why"
        )
    return np.stack(inputs)
