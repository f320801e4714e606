from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.decision import DecisionRule
from ctcedge.model.spec import OperatingPoint, Rate
from ctcedge.settings import DecisionSettings
from tests.unit.pipeline.bench import Bench


@pytest.fixture
def bench(tmp_path: Path, classifier: Classifier) -> Bench:
    folder = tmp_path / "S"
    folder.mkdir()
    return Bench(folder, classifier)


POINT = OperatingPoint("", 0.2, Rate(0.9, 0.8, 0.95), Rate(10.0, 5.0, 20.0), 18.0, 100, 900, 8)


@pytest.fixture
def other(classifier: Classifier) -> Classifier:
    """Another decision on the same model."""
    points = {"screening": POINT, "balanced": POINT, "confirm": None}
    spec = structs.replace(classifier.model.spec, operating_points=points)
    policy = DecisionRule.of(spec, DecisionSettings("screening", 0.001))
    return dataclasses.replace(classifier, rule=policy)


@pytest.fixture
def idle(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A context in which no image may be decoded and no network may run."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("the network ran, or an image was decoded")

    @contextmanager
    def context() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(type(classifier.engine), "infer", refuse)
            patch.setattr("ctcedge.pipeline.loader.decode", refuse)
            yield

    return context
