"""Speed of bare sessions of ONNX Runtime, with no pipeline around them.

A session is measured at its fastest. On the CPU there are two ways to keep all cores busy: one call
at a time on all cores, which is ONNX Runtime's default, or one single-threaded call per core. Which
is faster depends on the machine and its load; the faster one counts. On a GPU, inputs and outputs
stay in its memory.
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

from ctcedge.cpus import cores
from ctcedge.model.folder import Model
from ctcedge.model.session import Engine, Provider
from ctcedge.model.spec import INPUT_NAME

BATCHES = (1, 8, 16, 32, 64, 128, 256)
GPU_BATCHES = (*BATCHES, 512, 1024)
_MAX_CALL_SECONDS = 0.5  # the sweep ends there, as larger batches take longer
_LOG_FATAL = 4  # severity level of ONNX Runtime


@dataclass(frozen=True, slots=True)
class Rate:
    """Speed of a session at one batch size.

    Attributes:
        batch: images per call.
        calls_at_once: number of concurrent calls: 1, or the number of cores.
        images_per_s: images per second of all calls together.
    """

    batch: int
    calls_at_once: int
    images_per_s: float


@dataclass(frozen=True, slots=True)
class SessionTiming:
    """Timing of a bare session that was kept busy.

    Attributes:
        images: number of images.
        seconds: wall time.
        cpu_seconds: CPU time of all threads, including spinning.
    """

    images: int
    seconds: float
    cpu_seconds: float

    @classmethod
    def sum(cls, *timings: SessionTiming) -> SessionTiming:
        """Several timings added up."""
        return cls(
            sum(timing.images for timing in timings),
            sum(timing.seconds for timing in timings),
            sum(timing.cpu_seconds for timing in timings),
        )

    @property
    def images_per_s(self) -> float:
        """Images per second."""
        return self.images / self.seconds


class BareSession:
    """A session of one graph on one provider.

    Args:
        model: the model.
        variant: name of the graph.
        engine: engine on the provider, whose provider options the session gets.
        inputs: (n, size, size) uint8, n at least 1; inputs that are used repeatedly.

    Attributes:
        provider: provider that the session runs on.
        variant: name of the graph.
        rates: results of `sweep`, by rising batch size.
    """

    def __init__(
        self, model: Model, variant: str, engine: Engine, inputs: NDArray[np.uint8]
    ) -> None:
        self.provider: Provider = engine.provider
        self.variant = variant
        self.rates: list[Rate] = []
        self._inputs = inputs
        graph = model.read_graph(variant)
        provider_options = engine.session.get_provider_options()
        providers = [(name, provider_options[name]) for name in engine.session.get_providers()]
        concurrency = {1} if self.provider != "cpu" else {1, cores()}
        self._sessions = {
            calls: _open(graph, providers, 0 if calls == 1 else 1) for calls in sorted(concurrency)
        }
        self._calls: dict[tuple[int, int], list[Callable[[], None]]] = {}

    @property
    def best(self) -> Rate:
        """The batch size and concurrency with the highest speed."""
        return max(self.rates, key=lambda rate: rate.images_per_s)

    def sweep(self, seconds: float, repetitions: int, check: Callable[[], None]) -> None:
        """Measure each batch size.

        Args:
            seconds: time per batch size and repetition.
            repetitions: number of passes over all batch sizes; the median counts.
            check: called now and then; what it raises ends the sweep.

        Raises:
            Exception: the graph does not run here at all (ONNX Runtime's exceptions have no common
                base class). A batch that is too large for a GPU only ends the sweep.
        """
        speeds: dict[tuple[int, int], list[float]] = {}
        for _ in range(repetitions):
            for calls in self._sessions:
                for batch in BATCHES if self.provider == "cpu" else GPU_BATCHES:
                    check()
                    try:
                        timing = self.run(batch, calls, 1, seconds)
                    except Exception:
                        if batch == 1:
                            raise
                        break
                    speeds.setdefault((batch, calls), []).append(timing.images_per_s)
                    if batch * calls / timing.images_per_s > _MAX_CALL_SECONDS:
                        break
        rates = (
            Rate(batch, calls, round(float(np.median(values)), 1))
            for (batch, calls), values in speeds.items()
        )
        self.rates = sorted(rates, key=lambda rate: (rate.batch, rate.calls_at_once))

    def run(self, batch: int, calls_at_once: int, images: int, seconds: float) -> SessionTiming:
        """Keep the session busy for a minimum time and a minimum number of images.

        Args:
            batch: images per call.
            calls_at_once: number of concurrent calls.
            images: minimum number of images.
            seconds: minimum wall time.
        """
        calls = self._prepared(batch, calls_at_once)
        min_calls = -(-images // (batch * len(calls)))

        def keep_busy(call: Callable[[], None]) -> int:
            done = 0
            while done < min_calls or time.perf_counter() < end:
                call()
                done += 1
            return done

        with ThreadPoolExecutor(len(calls)) as threads:
            start, cpu = time.perf_counter(), time.process_time()
            end = start + seconds
            calls_made = sum(threads.map(keep_busy, calls))
            return SessionTiming(
                calls_made * batch, time.perf_counter() - start, time.process_time() - cpu
            )

    def _prepared(self, batch: int, calls_at_once: int) -> list[Callable[[], None]]:
        """Functions that call the session, one per thread; each was called once to warm up."""
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
            self._calls = {key: calls}  # frees the memory of the last batch size
        return self._calls[key]

    def as_json(self) -> dict[str, Any]:
        """The session's part of the output of `--json`."""
        best = self.best
        return {
            "provider": self.provider,
            "variant": self.variant,
            "images_per_s": best.images_per_s,
            "batch": best.batch,
            "calls_at_once": best.calls_at_once,
            "sweep": [asdict(rate) for rate in self.rates],
        }


def _run(session: ort.InferenceSession, binding: ort.IOBinding) -> None:
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()


def _open(graph: bytes, providers: list[Any], threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_FATAL
    options.intra_op_num_threads = threads  # 0: one per core
    with _quiet_logs():
        return ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    ort.set_default_logger_severity(_LOG_FATAL)
    try:
        yield
    finally:
        ort.set_default_logger_severity(3)
