"""How fast is this PC? `ctcedge bench`.

The pipeline as `classify` runs it, file to sidecar, is measured side by side with the bare session
of ONNX Runtime, turn and turn about, so that whatever else the machine does hurts both alike. The
figures told are those of one round: that whose share, the pipeline's speed over the mean of the
session's just before and just after, is the median.

Nothing is written but to a temporary folder, which goes at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctcedge.bench import machine
from ctcedge.bench.results import Bench, Parity, Round
from ctcedge.bench.sessions import BareSession, Spent
from ctcedge.bench.synthetic_crops import write_crops
from ctcedge.bench.throughput import Work, alone, inputs_of, least_crops, pass_through
from ctcedge.classification.classifier import Classifier, Judged
from ctcedge.classification.golden import largest_difference
from ctcedge.discovery.scan import check_folder, list_folder, require_crops
from ctcedge.errors import ModelError, OutputError, ProviderError
from ctcedge.fs.mounts import file_system
from ctcedge.model.folder import Model, load_model
from ctcedge.model.session import Provider, open_engine
from ctcedge.pipeline.pipeline import handful
from ctcedge.settings import Settings

USUAL_CROPS = 2_000

_LEAST_ROUNDS, _MOST_ROUNDS = 3, 9
_ROUNDS_SECONDS = 20.0  # in which as many rounds are made as fit
_SWEEP_SECONDS = 0.15  # for each batch size, each time
_SESSION_SECONDS = 0.25  # at least, between two rounds
_WARM_UP_CROPS = 1_000
_MOST_INPUTS = 4_096  # on which GPU and CPU are compared

_TRIED_PLACES = 12
_TRIED_FILES = 40

# ioctls and inode flag of Linux, as in its fs.h, on 64-bit machines
_GET_FLAGS, _SET_FLAGS, _TOP_OF_TREE = 0x80086601, 0x40086602, 0x00020000


class Interrupted(Exception):
    """Somebody asked to end it."""


def bench(
    folder: Path | None,
    settings: Callable[[Path], Settings],
    *,
    out: Path | None = None,
    count: int | None = None,
    tell: Callable[[str], None] = lambda text: None,
    stop: Callable[[], bool] = lambda: False,
) -> Bench:
    """Measure this machine.

    Args:
        folder: of crops, which are only read; None to draw some.
        settings: given the folder of the crops, says how to read and classify them.
        out: where the temporary folder of the sidecars is made, to measure that disk; None for the
            system's folder for temporary files.
        count: most crops a round; None for as many as tell a steady speed.
        tell: is told what comes next.
        stop: asked now and then; when it says yes, `Interrupted` is raised.

    Raises:
        SetupError: whatever stands in the way; the text says what to do.
        Interrupted: nothing that was written is left.
    """

    def check() -> None:
        if stop():
            raise Interrupted

    if folder is not None:
        check_folder(folder)
    with _workplace(out) as place:
        searched = place / "crops" if folder is None else folder
        chosen = settings(searched)
        gpu_before = machine.gpu_memory_mb()
        start = time.perf_counter()
        model = load_model(chosen.model)
        classifier = Classifier.open(model, chosen.provider, chosen.decision)
        opened = time.perf_counter() - start
        ran, why = classifier.ran, classifier.engine.why
        own: Provider = classifier.engine.provider
        best = classifier.engine.optimal_batch_size
        del classifier  # its memory is not the pipeline's
        tell(f"Model {model.spec.name} ({ran.variant}) on {ran.provider.upper()}: {why}")

        wanted = count or max(USUAL_CROPS, least_crops(handful(chosen.batch_size, best)))
        if folder is None:
            tell(f"Drawing {wanted:,} crops")
            for _ in write_crops(searched, wanted):
                check()
        listing = list_folder(searched, chosen.images.naming())
        require_crops(searched, listing)
        work = Work(searched, chosen, listing.crops[:wanted], check)
        crops = len(work.crops)
        scale = min(1.0, max(0.1, crops / USUAL_CROPS))  # of all durations

        tell("Warming up; one crop alone")
        warming_up = dataclasses.replace(work, crops=work.crops[:_WARM_UP_CROPS])
        pass_through(warming_up, place / "warming-up", 0)
        latencies = 1e3 * np.array(alone(work, place / "alone", max(10, crops // 10)))
        gpu_after = machine.gpu_memory_mb()
        peak = machine.peak_memory_mb()
        one = _classify_one(place / "one", chosen, model)

        inputs = inputs_of(work, model, _MOST_INPUTS)
        sessions: list[BareSession] = []
        unavailable: dict[str, str] = {}
        for provider in _providers(own, chosen):
            tell(f"Bare sessions on {provider.upper()}, batch by batch")
            try:
                engine = open_engine(model, provider)
            except ProviderError as error:
                unavailable[provider] = str(error)
                continue
            for variant in _variants(model, provider, engine.variant):
                try:
                    session = BareSession(model, variant, engine, inputs)
                    times = 3 if variant == ran.variant else 1
                    session.sweep(scale * _SWEEP_SECONDS, times, check)
                except Interrupted:
                    raise
                except Exception as error:  # ONNX Runtime's exceptions share no base class
                    text = str(error).strip().partition("\n")[0][:200]
                    unavailable[f"{provider} {variant}"] = text
                else:
                    sessions.append(session)
        by_graph = {(each.provider, each.variant): each for each in sessions}
        if (own, ran.variant) not in by_graph:
            raise ProviderError(
                f"the bare session does not run: {unavailable[f'{own} {ran.variant}']}"
            )
        rounds = _rounds(
            work,
            place,
            by_graph[own, ran.variant],
            by_graph.get((own, "fp32")),
            scale,
            tell,
        )
        tell("Comparing with the golden outputs")
        classifier = Classifier.open(model, own, chosen.decision)
        parity = None
        if own != "cpu":
            parity = compare(classifier, Classifier.open(model, "cpu", chosen.decision), inputs)
        return Bench(
            model=model,
            ran=ran,
            why=why,
            rounds=rounds,
            sessions=sessions,
            unavailable=unavailable,
            crops={
                "count": crops,
                "drawn": folder is None,
                "unclassified": rounds[0].passed.unclassified,
                "bytes": round(
                    sum(os.path.getsize(searched / each.path) for each in work.crops) / crops
                ),
                "file_system": file_system(searched),
            },
            sidecars={"folder": str(place.parents[1]), "file_system": file_system(place)},
            batch=chosen.batch_size or best,
            latency_ms={
                "median": round(float(np.median(latencies)), 2),
                "p99": round(float(np.percentile(latencies, 99)), 2),
                "crops": len(latencies),
            },
            start_s={"open": round(opened, 3), "classify_one": round(one, 3)},
            peak_memory_mb=peak,
            gpu_memory_mb=(
                None if gpu_before is None or gpu_after is None else gpu_after - gpu_before
            ),
            golden_difference=_golden_difference(classifier),
            parity=parity,
        )


def compare(one: Classifier, other: Classifier, inputs: NDArray[np.uint8]) -> Parity:
    """Ask two classifiers of one model about the same images.

    Args:
        one: to be compared.
        other: with which.
        inputs: (n, size, size) uint8, n at least 1.
    """
    step = one.engine.optimal_batch_size
    changed = flips = 0
    largest = 0.0
    for start in range(0, len(inputs), step):
        pairs = zip(
            *(each.judge(inputs[start : start + step]) for each in (one, other)), strict=True
        )
        for judged in pairs:
            verdicts = [
                one.policy.verdict(each.score) if isinstance(each, Judged) else None
                for each in judged
            ]
            calls = {each and each.call for each in verdicts}
            changed += len(calls) > 1
            flips += calls == {"CTC", "leukocyte"}
            found = [each.probability for each in verdicts if each]
            if len(found) == 2:
                largest = max(largest, abs(found[0] - found[1]))
    count = len(inputs)
    return Parity(count, round(1 - changed / count, 6), round(flips / count, 6), round(largest, 6))


@contextlib.contextmanager
def _workplace(out: Path | None) -> Iterator[Path]:
    """A temporary folder that is gone afterwards, and with it all that a run keeps elsewhere.

    On ext4, files are made slowly where others were removed within the last minutes: the kernel
    passes over each of their inodes. So that a run does not suffer from what the one before has
    cleared away, some places on the disk are tried.
    """
    try:
        top = Path(tempfile.mkdtemp(prefix="ctcedge-bench-", dir=out))
    except OSError as error:
        raise OutputError(
            f"{out or tempfile.gettempdir()} cannot be written: {error.strerror}; give --out DIR, a"
            " folder on the disk to be measured"
        ) from None
    before = os.environ.get("CTCEDGE_STATE")
    os.environ["CTCEDGE_STATE"] = str(top / "state")
    try:
        yield _quickest_place(top)
    finally:
        if before is None:
            del os.environ["CTCEDGE_STATE"]
        else:
            os.environ["CTCEDGE_STATE"] = before
        shutil.rmtree(top)


def _quickest_place(top: Path) -> Path:
    """Of some new folders, spread over the disk, the one where files are made fastest."""

    def seconds(number: int) -> float:
        folder = top / f"place-{number}"
        folder.mkdir()
        start = time.perf_counter()
        for file in range(_TRIED_FILES):
            (folder / f"{file}").touch(exist_ok=False)
        return time.perf_counter() - start

    taken = {0: seconds(0)}
    _spread(top)
    taken |= {number: seconds(number) for number in range(1, _TRIED_PLACES)}
    return top / f"place-{min(taken, key=taken.__getitem__)}"


def _spread(folder: Path) -> None:
    """Mark a folder as the top of a tree, whose sub-folders the kernel spreads over the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # other file systems know no such flag, nor need it
            (flags,) = struct.unpack("l", fcntl.ioctl(descriptor, _GET_FLAGS, bytes(8)))
            fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", flags | _TOP_OF_TREE))
    finally:
        os.close(descriptor)


def _classify_one(place: Path, settings: Settings, model: Model) -> float:
    """Seconds of a whole `ctcedge classify` of one crop, the start of Python included."""
    for _ in write_crops(place / "crops", 1):
        pass
    command = [sys.executable, "-m", "ctcedge", "classify", str(place / "crops")]
    command += ["--out", str(place / "out"), "--model", str(model.folder)]
    command += ["--provider", settings.provider]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    taken = time.perf_counter() - start
    if done.returncode != 0:
        text = done.stderr.decode("utf-8", "replace").strip()
        raise ProviderError(f"'ctcedge classify' of one crop has failed: {text[-500:]}")
    return taken


def _providers(first: Provider, settings: Settings) -> list[Provider]:
    """On which sessions are tried: TensorRT, which builds for minutes, only where asked for."""
    known: tuple[Provider, ...] = ("cpu", "cuda", "tensorrt")
    wanted = {"cpu", "cuda", first, settings.provider}
    return sorted((each for each in known if each in wanted), key=lambda each: each != first)


def _variants(model: Model, provider: Provider, first: str) -> list[str]:
    """Graphs that are worth a try: INT8 with 8-bit activations has no kernels on a GPU."""
    others = [
        each for each in model.spec.graphs if each != first and (provider, each) != ("cuda", "int8")
    ]
    return [first, *others]


def _rounds(
    work: Work,
    place: Path,
    session: BareSession,
    fp32: BareSession | None,
    scale: float,
    tell: Callable[[str], None],
) -> list[Round]:
    crops = len(work.crops)

    def run(bare: BareSession, images: int) -> Spent:
        work.check()
        way = bare.best
        return bare.run(way.batch, way.calls_at_once, images, scale * _SESSION_SECONDS)

    def sessions() -> tuple[Spent, Spent | None]:
        return run(session, crops // 2), None if fp32 is None else run(fp32, crops // 8)

    rounds: list[Round] = []
    begun = time.perf_counter()
    before = sessions()
    while len(rounds) < _LEAST_ROUNDS or (
        len(rounds) < _MOST_ROUNDS and time.perf_counter() - begun < scale * _ROUNDS_SECONDS
    ):
        passed = pass_through(work, place / f"round-{len(rounds) + 1}", max(10, crops // 10))
        after = sessions()
        whole = Spent.together(before[0], after[0])
        slow = [each[1] for each in (before, after) if each[1] is not None]
        rounds.append(
            Round(
                session_per_s=whole.images_per_s,
                session_cpu_us=1e6 * whole.cpu_seconds / whole.images,
                fp32_session_per_s=Spent.together(*slow).images_per_s if slow else None,
                passed=passed,
            )
        )
        before = after
        tell(
            f"Round {len(rounds)}: bare session {whole.images_per_s:,.0f} images a second, file to"
            f" sidecar {passed.crops_per_s:,.0f} ({rounds[-1].share:.0%})"
        )
    return rounds


def _golden_difference(classifier: Classifier) -> float | None:
    try:
        return round(largest_difference(classifier), 6)
    except ModelError:  # none for this graph
        return None
