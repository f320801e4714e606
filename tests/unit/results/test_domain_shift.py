from __future__ import annotations

import pytest

from ctcedge.classification.ood import DomainShift, OodDetector, RunFeatures
from ctcedge.errors import ModelError
from ctcedge.model.folder import Model, load_model
from ctcedge.results.domain_shift import FolderFeatures
from ctcedge.sidecars.scan import ModelRef
from ctcedge.sidecars.schema import Sidecar
from tests.helpers.sidecar_data import record
from tests.helpers.sidecar_files import typed

ONE, TWO = (ModelRef(name, "1", name * 64) for name in "ab")


class _Guard:
    """Says how far away a run is by its first feature; refuses what is not of two features."""

    def domain_shift(self, run: RunFeatures) -> DomainShift:
        distance, _ = run.mean()
        return DomainShift(
            "shifted" if distance > 1 else "in-distribution", run.crops, float(distance)
        )


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, Model]:
    monkeypatch.setattr(OodDetector, "load", lambda _: _Guard())
    return {seen.sha256: load_model() for seen in (ONE, TWO)}


def scored(*features: float) -> Sidecar:
    return typed(record(ood={"distance": 1.0, "p_value": 0.5, "features": list(features)}))


def test_each_sample_and_all_samples_pooled(models: dict[str, Model]) -> None:
    features = FolderFeatures()
    for sample, distance in (("A", 0.0), ("A", 1.0), ("B", 5.0)):
        features.add(ONE, sample, scored(distance, 0))
    features.add(ONE, "C", typed(record(ood=None)))
    features.add(ONE, "D", scored())
    found = features.domain_shift(models)
    assert {name: (each.state, each.crops) for name, each in found.samples.items()} == {
        "A": ("in-distribution", 2),
        "B": ("shifted", 1),
    }
    assert found.overall == DomainShift("shifted", 3, 2.0)
    assert found.shifted_samples() == ["B"]
    assert not found.only_overall_shifted  # a sample says it already


def test_of_several_models_the_largest_shift_counts_and_nothing_is_pooled(
    models: dict[str, Model],
) -> None:
    features = FolderFeatures()
    features.add(ONE, "A", scored(0.5, 0))
    features.add(TWO, "A", scored(3, 0))
    found = features.domain_shift(models)
    assert found.samples == {"A": DomainShift("shifted", 1, 3.0)}
    assert found.overall is None


def test_unknown_shifts_are_left_out(
    models: dict[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = FolderFeatures()
    features.add(ONE, "A", scored(5, 0))
    assert features.domain_shift({}).samples == {}
    strange = FolderFeatures()
    strange.add(ONE, "A", scored(1, 2, 3))
    with pytest.raises(ValueError, match="broadcast"):
        strange.add(ONE, "B", scored(1, 2))
    assert (strange.domain_shift(models).samples, strange.domain_shift(models).overall) == (
        {},
        None,
    )

    def refuse(_: Model) -> OodDetector:
        raise ModelError("damaged")

    monkeypatch.setattr(OodDetector, "load", refuse)
    assert features.domain_shift(models).samples == {}
