"""Inference that outlives its GPU session: smaller batches, a new session, then the CPU, loudly."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ctcedge.errors import ModelError, ProviderError, SetupError
from ctcedge.log import event
from ctcedge.model.folder import Model
from ctcedge.model.session import Engine, ModelOutput, open_engine
from ctcedge.settings import ProviderChoice

log = logging.getLogger("ctcedge.inference")

_EVENT = event("inference")
_OUT_OF_MEMORY = ("out of memory", "failed to allocate", "alloc_failed", "bfcarena")


class RecoveringEngine:
    """An engine that is opened anew when it fails.

    A GPU that fails is tried with smaller batches where its memory is short, then with a new
    session. If that fails too, a provider that was chosen by `auto` gives way to the CPU until the
    next start; one that was asked for stops the run.

    Args:
        model: the model folder.
        choice: as in `engine.open_engine`.
        open_session: opens an engine.

    Raises:
        ProviderError: the chosen provider does not run here.
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
        self._one_at_a_time = threading.Lock()
        self.current = open_session(model, choice)

    def answer(self, inputs: NDArray[np.uint8]) -> tuple[ModelOutput, Engine]:
        """Run the network, as `Engine.answer` does, recovering where that is possible.

        Many threads may; those that share a GPU take turns.

        Returns:
            What the network says, and the engine that ran last for it.

        Raises:
            ProviderError: the provider that was asked for has failed for good.
            ModelError: the CPU cannot run the graph.
        """
        engine = self.current
        if engine.provider == "cpu":
            return _on_cpu(engine, inputs), engine
        with self._one_at_a_time:
            return self._answer(inputs), self.current

    def _answer(self, inputs: NDArray[np.uint8]) -> ModelOutput:
        if self.current.provider == "cpu":
            return _on_cpu(self.current, inputs)
        try:
            return self.current.answer(inputs)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            return self._recover(inputs, error)

    def _recover(self, inputs: NDArray[np.uint8], error: Exception) -> ModelOutput:
        provider = self.current.provider
        if len(inputs) > 1 and _memory_is_short(error):
            log.warning("memory of %s is short: trying half a batch", provider, extra=_EVENT)
            half = len(inputs) // 2
            return ModelOutput.concatenate(self._answer(inputs[:half]), self._answer(inputs[half:]))
        text = f"inference failed on {provider} ({_brief(error)}): opening a new session"
        log.error("%s", text, extra=_EVENT)
        try:
            self.current = self._open(self._model, provider)
            return self.current.answer(inputs)
        except Exception as again:  # as above
            if self._choice != "auto":
                raise ProviderError(
                    f"{provider} has failed and does not come back: {_brief(again)};"
                    " see 'ctcedge doctor', or use --provider auto"
                ) from None
            text = f"{provider} does not come back ({_brief(again)}): going on with the CPU"
            log.error("%s", text, extra=_EVENT)
        self.current = self._open(self._model, "cpu")
        return _on_cpu(self.current, inputs)


def _on_cpu(engine: Engine, inputs: NDArray[np.uint8]) -> ModelOutput:
    try:
        return engine.answer(inputs)
    except Exception as error:  # as above
        raise ModelError(f"ONNX Runtime cannot run the graph: {error}") from None


def _memory_is_short(error: Exception) -> bool:
    text = str(error).lower()
    return any(sign in text for sign in _OUT_OF_MEMORY)


def _brief(error: Exception) -> str:
    if isinstance(error, SetupError):
        return str(error)
    return str(error).strip().partition("\n")[0][:200]
