from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ctcedge.errors import ModelError, ProviderError
from ctcedge.model.failover import FailoverEngine
from ctcedge.model.folder import Model, load_model
from ctcedge.model.session import ModelOutput

CROPS = np.arange(8, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)


@dataclass
class Session:
    """Answers with each crop's first pixel, or fails as its graphics card would."""

    provider: str
    fails: Callable[[int], Exception | None] = lambda crops: None
    variant: str = "fp16"
    why: str = ""
    batches: list[int] = field(default_factory=list)

    def infer(self, inputs: NDArray[np.uint8]) -> ModelOutput:
        self.batches.append(len(inputs))
        if error := self.fails(len(inputs)):
            raise error
        return ModelOutput(inputs[:, 0, 0].astype(np.float32), inputs[:, 0].astype(np.float32))


@pytest.fixture
def model(model_folder: Path) -> Model:
    return load_model(model_folder)


def engine(model: Model, choice: str, sessions: list[Session | Exception]) -> FailoverEngine:
    """An engine whose sessions come from a list; each opening takes the next."""
    left = iter(sessions)

    def open_session(model: Model, provider: str) -> Session:
        session = next(left)
        if isinstance(session, Exception):
            raise session
        return session

    return FailoverEngine(model, choice, open_session)  # type: ignore[arg-type]


def lost(crops: int) -> Exception:
    return RuntimeError("CUDA failure 700: an illegal memory access was encountered\nat line 1")


def short(most: int) -> Callable[[int], Exception | None]:
    def fails(crops: int) -> Exception | None:
        return RuntimeError("BFCArena: Failed to allocate memory") if crops > most else None

    return fails


def test_short_memory_halves_the_batch_and_keeps_the_order(model: Model) -> None:
    session = Session("cuda", short(2))
    answers, _ = engine(model, "auto", [session]).infer(CROPS)
    assert answers.logits.tolist() == list(range(8))
    assert answers.features is not None
    assert answers.features.tolist() == CROPS[:, 0].tolist()
    assert session.batches == [8, 4, 2, 2, 4, 2, 2]


def test_a_dead_session_is_opened_anew(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    again = Session("cuda")
    recovering = engine(model, "cuda", [Session("cuda", lost), again])
    assert recovering.infer(CROPS)[0].logits.tolist() == list(range(8))
    assert recovering.current is again  # type: ignore[comparison-overlap]
    assert "opening a new session" in caplog.text and "at line 1" not in caplog.text


@pytest.mark.parametrize("second", [Session("cuda", lost), ProviderError("no GPU"), OSError("x")])
def test_auto_goes_on_with_the_cpu_and_says_so(
    model: Model, second: Session | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    recovering = engine(model, "auto", [Session("cuda", lost), second, Session("cpu")])
    assert recovering.infer(CROPS)[0].logits.tolist() == list(range(8))
    assert recovering.current.provider == "cpu"
    assert any("continuing on the CPU" in r.message for r in caplog.records)
    assert all(r.levelno >= logging.ERROR for r in caplog.records)


def test_memory_short_for_one_crop_goes_to_the_cpu(model: Model) -> None:
    recovering = engine(
        model, "auto", [Session("cuda", short(0)), Session("cuda", short(0)), Session("cpu")]
    )
    assert recovering.infer(CROPS)[0].logits.tolist() == list(range(8))
    assert recovering.current.provider == "cpu"


def test_an_asked_for_provider_stops_the_run(model: Model) -> None:
    recovering = engine(model, "cuda", [Session("cuda", lost), Session("cuda", lost)])
    with pytest.raises(ProviderError, match="a new session fails too"):
        recovering.infer(CROPS)


def test_a_cpu_that_fails_is_not_retried(model: Model) -> None:
    session = Session("cpu", lost)
    with pytest.raises(ModelError, match="cannot run the graph"):
        engine(model, "auto", [session]).infer(CROPS)
    assert session.batches == [8]
