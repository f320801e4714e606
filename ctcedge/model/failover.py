"""Failover of inference: smaller batches, then a new session, then the CPU; each is logged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ctcedge.errors import ModelError, ProviderError, SetupError
from ctcedge.log import event
from ctcedge.model.folder import Model
from ctcedge.model.session import Engine, ModelOutput, Provider, open_engine
from ctcedge.model.spec import Variant
from ctcedge.settings import ProviderChoice

log = logging.getLogger("ctcedge.inference")

_EVENT = event("inference")
_OUT_OF_MEMORY = ("out of memory", "failed to allocate", "alloc_failed", "bfcarena")


class EngineIdentity(Protocol):
    """What a sidecar records of an engine."""

    @property
    def provider(self) -> Provider:
        """Execution provider."""

    @property
    def variant(self) -> Variant:
        """Graph of the model."""


class Inference(Protocol):
    """Runs a network: with a session of this process, or of another."""

    @property
    def current(self) -> EngineIdentity:
        """The engine that would run it now."""

    def infer(self, inputs: NDArray[np.uint8]) -> tuple[ModelOutput, EngineIdentity]:
        """Run the network on (n, size, size) inputs; return the output and what computed it."""


class FailoverEngine:
    """An engine with failover.

    After a failure on a GPU, smaller batches are tried where its memory is short, then a new
    session. If that fails too, `auto` continues on the CPU until the next start, and a requested
    provider is an error.

    Args:
        model: the model folder.
        choice: provider, as for `session.open_engine`.
        open_session: opens an engine.

    Raises:
        ProviderError: the requested provider does not run on this machine.
        ModelError: the graph cannot be used.
    """

    def __init__(
        self,
        model: Model,
        choice: ProviderChoice,
        open_session: Callable[[Model, ProviderChoice], Engine] = open_engine,
    ) -> None:
        self._model = model
        self._choice = choice
        self._open = open_session
        self._gpu_lock = threading.Lock()
        self.current = open_session(model, choice)

    def infer(self, inputs: NDArray[np.uint8]) -> tuple[ModelOutput, Engine]:
        """Run the network, as `Engine.infer` does, with failover.

        Thread-safe; threads that share a GPU take turns.

        Returns:
            The output, and the engine that computed the last part of it.

        Raises:
            ProviderError: the requested provider has failed, and a new session fails too.
            ModelError: the CPU cannot run the graph.
        """
        engine = self.current
        if engine.provider == "cpu":
            return _on_cpu(engine, inputs), engine
        with self._gpu_lock:
            return self._infer(inputs), self.current

    def _infer(self, inputs: NDArray[np.uint8]) -> ModelOutput:
        if self.current.provider == "cpu":
            return _on_cpu(self.current, inputs)
        try:
            return self.current.infer(inputs)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            return self._recover(inputs, error)

    def _recover(self, inputs: NDArray[np.uint8], error: Exception) -> ModelOutput:
        provider = self.current.provider
        if len(inputs) > 1 and _is_out_of_memory(error):
            log.warning("out of memory on %s: trying half a batch", provider, extra=_EVENT)
            half = len(inputs) // 2
            return ModelOutput.concatenate(self._infer(inputs[:half]), self._infer(inputs[half:]))
        text = f"inference failed on {provider} ({_brief(error)}): opening a new session"
        log.error("%s", text, extra=_EVENT)
        try:
            self.current = self._open(self._model, provider)
            return self.current.infer(inputs)
        except Exception as again:  # as above
            if self._choice != "auto":
                raise ProviderError(
                    f"{provider} has failed, and a new session fails too: {_brief(again)};"
                    " see 'ctcedge doctor', or use --provider auto"
                ) from None
            text = f"{provider} fails again ({_brief(again)}): continuing on the CPU"
            log.error("%s", text, extra=_EVENT)
        self.current = self._open(self._model, "cpu")
        return _on_cpu(self.current, inputs)


def _on_cpu(engine: Engine, inputs: NDArray[np.uint8]) -> ModelOutput:
    try:
        return engine.infer(inputs)
    except ModelError:
        raise
    except Exception as error:  # as above
        raise ModelError(f"ONNX Runtime cannot run the graph: {error}") from None


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return any(phrase in text for phrase in _OUT_OF_MEMORY)


def _brief(error: Exception) -> str:
    if isinstance(error, SetupError):
        return str(error)
    return str(error).strip().partition("\n")[0][:200]
