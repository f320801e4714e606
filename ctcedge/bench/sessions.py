"""Bare sessions: what ONNX Runtime gives, with nothing around it.

A session is measured as fast as it gets. On the CPU there are two ways to keep all cores busy: one
call at a time that all cores share, ONNX Runtime's default, or a call a core, each on one thread.
Which is faster depends on the machine and on what else runs there; the faster one counts. On a GPU,
inputs and outputs stay in its memory.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ctcedge.bench.machine import cores
from ctcedge.model.folder import Model
from ctcedge.model.session import Engine, Provider
from ctcedge.model.spec import INPUT_NAME

BATCHES = (1, 8, 16, 32, 64, 128, 256)
GPU_BATCHES = (*BATCHES, 512, 1024)
_LONGEST_CALL = 0.5  # seconds; larger batches would take longer still
_SILENT = 4


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a session is at one batch size.

    Attributes:
        batch: images a call.
        calls_at_once: 1 where a call has all cores, else their number.
        images_per_s: over all calls.
    """

    batch: int
    calls_at_once: int
    images_per_s: float


@dataclass(frozen=True, slots=True)
class Spent:
    """A stretch of time in which a bare session was kept busy.

    Attributes:
        images: that it was given.
        seconds: by the clock.
        cpu_seconds: of all threads, spinning included.
    """

    images: int
    seconds: float
    cpu_seconds: float

    @classmethod
    def together(cls, *stretches: Spent) -> Spent:
        """Several as one."""
        return cls(
            sum(each.images for each in stretches),
            sum(each.seconds for each in stretches),
            sum(each.cpu_seconds for each in stretches),
        )

    @property
    def images_per_s(self) -> float:
        """Its speed."""
        return self.images / self.seconds


class BareSession:
    """One graph on one provider.

    Args:
        model: of which it is.
        variant: the graph.
        engine: opened on the provider, by whose options a GPU's session is opened.
        inputs: (n, size, size) uint8, n at least 1, that the network is given again and again.

    Attributes:
        provider: where it runs.
        variant: the graph.
        swept: what `sweep` has found, by rising batch size.
    """

    def __init__(
        self, model: Model, variant: str, engine: Engine, inputs: NDArray[np.uint8]
    ) -> None:
        self.provider: Provider = engine.provider
        self.variant = variant
        self.swept: list[Rate] = []
        self._inputs = inputs
        graph = model.read_graph(variant)
        own = engine.session.get_provider_options()
        providers = [(name, own[name]) for name in engine.session.get_providers()]
        ways = {1} if self.provider != "cpu" else {1, cores()}
        self._sessions = {
            calls: _open(graph, providers, 0 if calls == 1 else 1) for calls in sorted(ways)
        }
        self._calls: dict[tuple[int, int], list[Callable[[], None]]] = {}

    @property
    def best(self) -> Rate:
        """The fastest way to run it."""
        return max(self.swept, key=lambda rate: rate.images_per_s)

    def sweep(self, seconds: float, times: int, check: Callable[[], None]) -> None:
        """Find the best batch size.

        Args:
            seconds: for each size, each time.
            times: that all sizes are gone through; the median counts.
            check: called now and then; what it raises ends the sweep.

        Raises:
            Exception: of ONNX Runtime, whose exceptions share no base class, where the graph does
                not run here at all; a batch that is too large for a GPU only ends the sweep.
        """
        found: dict[tuple[int, int], list[float]] = {}
        for _ in range(times):
            for calls in self._sessions:
                for batch in BATCHES if self.provider == "cpu" else GPU_BATCHES:
                    check()
                    try:
                        spent = self.run(batch, calls, 1, seconds)
                    except Exception:
                        if batch == 1:
                            raise
                        break
                    found.setdefault((batch, calls), []).append(spent.images_per_s)
                    if batch * calls / spent.images_per_s > _LONGEST_CALL:
                        break
        rates = (Rate(*way, round(float(np.median(each)), 1)) for way, each in found.items())
        self.swept = sorted(rates, key=lambda rate: (rate.batch, rate.calls_at_once))

    def run(self, batch: int, calls_at_once: int, images: int, seconds: float) -> Spent:
        """Keep it busy.

        Args:
            batch: images a call.
            calls_at_once: as of `Rate`.
            images: at least so many in all.
            seconds: at least so long.
        """
        calls = self._prepared(batch, calls_at_once)
        least = -(-images // (batch * len(calls)))

        def keep_busy(call: Callable[[], None]) -> int:
            done = 0
            while done < least or time.perf_counter() < end:
                call()
                done += 1
            return done

        with ThreadPoolExecutor(len(calls)) as threads:
            start, cpu = time.perf_counter(), time.process_time()
            end = start + seconds
            made = sum(threads.map(keep_busy, calls))
            return Spent(made * batch, time.perf_counter() - start, time.process_time() - cpu)

    def _prepared(self, batch: int, calls_at_once: int) -> list[Callable[[], None]]:
        """Calls of the session, one a thread, each made once."""
        key = batch, calls_at_once
        if key not in self._calls:
            session = self._sessions[calls_at_once]
            image = np.resize(self._inputs, (batch, *self._inputs.shape[1:]))[:, None]
            device = "cpu" if self.provider == "cpu" else "cuda"
            calls: list[Callable[[], None]] = []
            for _ in range(calls_at_once):
                binding = session.io_binding()
                binding.bind_ortvalue_input(
                    INPUT_NAME, ort.OrtValue.ortvalue_from_numpy(image, device, 0)
                )
                for output in session.get_outputs():
                    binding.bind_output(output.name, device)
                calls.append(partial(_run, session, binding))
                calls[-1]()
            self._calls = {key: calls}  # the memory of one size at a time
        return self._calls[key]

    def as_json(self) -> dict[str, Any]:
        """What `--json` tells of it."""
        best = self.best
        return {
            "provider": self.provider,
            "variant": self.variant,
            "images_per_s": best.images_per_s,
            "batch": best.batch,
            "calls_at_once": best.calls_at_once,
            "sweep": [asdict(rate) for rate in self.swept],
        }


def _run(session: ort.InferenceSession, binding: ort.IOBinding) -> None:
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()


def _open(graph: bytes, providers: list[Any], threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads  # 0: as many as cores
    with _quiet():
        return ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    ort.set_default_logger_severity(_SILENT)
    try:
        yield
    finally:
        ort.set_default_logger_severity(3)
