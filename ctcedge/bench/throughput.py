"""The real thing: crops through `Pipeline.run`, timed from outside."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctcedge.bench.cpu_meter import Meter
from ctcedge.classification.analysis import CellAnalysis
from ctcedge.classification.classifier import Judged
from ctcedge.classification.fingerprints import scale
from ctcedge.discovery.naming import Crop
from ctcedge.errors import BadImage, NoCropsError
from ctcedge.images.decode import decode
from ctcedge.images.preprocess import network_input, network_inputs
from ctcedge.images.read import read_file
from ctcedge.model.folder import Model
from ctcedge.pipeline.pipeline import Outcome
from ctcedge.pipeline.run import Run, open_run
from ctcedge.quality.checks import assess
from ctcedge.settings import Settings
from ctcedge.sidecars.store import SidecarStore

STAGES = ("read", "decode", "preprocess", "gates", "infer", "decide", "write")

_LEAST_HANDFULS = 4
"""In the middle of a run; of fewer, no steady speed can be told."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is put through the pipeline, again and again.

    Attributes:
        folder: of the crops.
        settings: as for `classify`; `out` is replaced.
        crops: each comes once a run.
        check: called now and then; what it raises ends all.
    """

    folder: Path
    settings: Settings
    crops: Sequence[Crop]
    check: Callable[[], None]

    def into(self, out: Path) -> Settings:
        """The settings with another folder for sidecars."""
        return dataclasses.replace(self.settings, out=str(out))


@dataclass(frozen=True, slots=True)
class Passed:
    """One run of the pipeline.

    Attributes:
        crops: on which the speed is measured.
        seconds: they took, by the clock.
        cpu_seconds: of all threads.
        session_cpu_seconds: of these, of the session, see `meter`.
        steady: whether start and end of the run are left out.
        unclassified: crops of the run that got no call.
        stages: CPU seconds a crop of each of `STAGES`, one thread after the other.
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
        """Its speed."""
        return self.crops / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU time per crop, us."""
        return 1e6 * self.cpu_seconds / self.crops

    @property
    def cpu_us_outside_session(self) -> float:
        """CPU time per crop that is not the session's, us."""
        return 1e6 * (self.cpu_seconds - self.session_cpu_seconds) / self.crops


def least_crops(step: int) -> int:
    """Crops of which a steady speed can be told whatever the number of cores."""
    return 10 * _LEAST_HANDFULS * step


def steady_window(crops: int, step: int) -> tuple[int, int] | None:
    """Between which outcomes a run's speed is measured: its middle, in whole handfuls.

    The fifth at either end, in which the pipeline fills and empties, is left out. Outcomes come a
    handful at a time, so that the time is taken at the first of one.

    Args:
        crops: of the run.
        step: crops of a handful.

    Returns:
        Numbers of two outcomes, from 0; None where too few handfuls lie between them.
    """
    first = -(-crops // (5 * step)) * step
    last = (crops - first) // step * step
    return (first, last) if last - first >= _LEAST_HANDFULS * step else None


class _Clock(NamedTuple):
    """Times at one moment, seconds."""

    wall: float
    cpu: float
    session: float

    @classmethod
    def now(cls, meter: Meter) -> _Clock:
        return cls(time.perf_counter(), time.process_time(), meter.seconds())


def pass_through(work: Work, out: Path, stage_crops: int) -> Passed:
    """Run the pipeline over all crops, as `classify` does, into a fresh folder.

    Args:
        work: what is run.
        out: of the sidecars; must not exist.
        stage_crops: on how many each stage is measured by itself, afterwards.

    Raises:
        SetupError: as `classify`.
    """
    meter = Meter()
    with contextlib.ExitStack() as stack:
        with meter.opening():
            run = stack.enter_context(open_run(work.folder, work.into(out)))
        meter.measure(run.classifier.inference)
        window = steady_window(len(work.crops), run.pipeline.handful)
        first, last = window or (0, len(work.crops))
        unclassified = 0
        staged: list[Outcome] = []  # no more than are needed: `classify` keeps none
        start = end = _Clock.now(meter)
        for number, outcome in enumerate(run.pipeline.run(work.crops)):
            if window is not None and number == first:
                start = _Clock.now(meter)
            elif number == last:
                end = _Clock.now(meter)
            work.check()
            if outcome.error is not None or outcome.record is None:
                unclassified += 1
            elif len(staged) < stage_crops:
                staged.append(outcome)
        if window is None:
            end = _Clock.now(meter)
        seconds = _stages(work, out.with_name(f"{out.name}-stages"), run, meter, staged)
    spent = _Clock(*(late - early for late, early in zip(end, start, strict=True)))
    return Passed(
        crops=last - first,
        seconds=spent.wall,
        cpu_seconds=spent.cpu,
        session_cpu_seconds=spent.session,
        steady=window is not None,
        unclassified=unclassified,
        stages={name: each / max(1, len(staged)) for name, each in seconds.items()},
    )


def _stages(
    work: Work, out: Path, run: Run, meter: Meter, outcomes: Sequence[Outcome]
) -> dict[str, float]:
    """Do in one thread, by the same functions, what the pipeline does in several.

    Returns:
        CPU seconds by stage, of all crops together.
    """
    seconds = dict.fromkeys(STAGES, 0.0)

    @contextlib.contextmanager
    def timed(stage: str) -> Iterator[None]:
        start = time.thread_time()
        yield
        seconds[stage] += time.thread_time() - start

    classifier = run.classifier
    spec = classifier.model.spec.input
    um_per_px = scale(work.settings.images, classifier.model.spec)
    sidecars = SidecarStore(work.folder, out)
    batch, step = run.pipeline.batch_size, run.pipeline.handful
    with sidecars.open():
        for begin in range(0, len(outcomes), step):
            work.check()
            some = outcomes[begin : begin + step]
            with timed("read"):
                files = [read_file(f"{work.folder}/{each.crop.path}") for each in some]
                for data in files:
                    hashlib.sha256(data).hexdigest()
            with timed("decode"):
                images = [decode(data) for data in files]
            with timed("preprocess"):
                windows = network_inputs([each.pixels for each in images], um_per_px, spec)
            with timed("gates"):
                seen = [(each.pixels, each.header.bits) for each in images]
                quality = assess(seen, windows, um_per_px, spec)
            before = meter.seconds()
            answered = [
                classifier.answer(windows[start : start + batch])
                for start in range(0, len(windows), batch)
            ]
            seconds["infer"] += meter.seconds() - before
            with timed("decide"):
                judged = chain.from_iterable(map(classifier.judged, answered))
                for result, one in zip(judged, quality, strict=True):
                    if isinstance(result, Judged):
                        found = CellAnalysis.of(result.score, one, result.unlike, result.ran)
                        classifier.policy.verdict(found.score, found.review_flags)
            with timed("write"), sidecars.batch() as write:
                for each in some:
                    if each.record is not None:
                        write(each.crop, each.record)
    return seconds


def alone(work: Work, out: Path, count: int) -> list[float]:
    """Run the pipeline with one crop at a time.

    Returns:
        Seconds from file to sidecar of each.
    """
    taken = []
    with open_run(work.folder, work.into(out)) as run:
        for crop in work.crops[:count]:
            work.check()
            start = time.perf_counter()
            for _ in run.pipeline.run([crop]):
                pass
            taken.append(time.perf_counter() - start)
    return taken


def inputs_of(work: Work, model: Model, most: int) -> NDArray[np.uint8]:
    """What the network sees of the first crops that can be read.

    Returns:
        (n, size, size) uint8, n at least 1.

    Raises:
        NoCropsError: none can be read.
    """
    spec = model.spec
    um_per_px = scale(work.settings.images, spec)
    found = []
    for crop in work.crops[:most]:
        work.check()
        with contextlib.suppress(BadImage, OSError):
            pixels = decode(read_file(f"{work.folder}/{crop.path}")).pixels
            found.append(network_input(pixels, um_per_px, spec.input))
    if not found:
        raise NoCropsError(
            f"none of the first {min(most, len(work.crops))} crops in {work.folder} can be read;"
            " 'ctcedge inspect' tells why"
        )
    return np.stack(found)
