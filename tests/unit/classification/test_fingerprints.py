from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from ctcedge.classification import fingerprints as identity
from ctcedge.classification.decision import DecisionRule
from ctcedge.classification.fingerprints import (
    Fingerprint,
    inference_sha256,
    known_pixel_size,
    settings_sha256,
)
from ctcedge.model.folder import load_model
from ctcedge.model.spec import Calibration, DecisionThresholds, ModelSpec
from ctcedge.settings import DecisionSettings, ImageSettings


@pytest.fixture
def spec(model_folder: Path) -> ModelSpec:
    return load_model(model_folder).spec


def digest(
    spec: ModelSpec,
    images: ImageSettings | None = None,
    decision: DecisionSettings | None = None,
) -> str:
    policy = DecisionRule.of(spec, decision or DecisionSettings())
    return settings_sha256(images or ImageSettings(), spec, policy)


@pytest.mark.parametrize(
    "images",
    [
        ImageSettings(um_per_px=0.4),
        ImageSettings(pattern=r"(?P<cell>.+)\.png"),
        ImageSettings(channels={"BF": ("X",)}),
    ],
)
def test_what_can_change_a_call_changes_the_hash(spec: ModelSpec, images: ImageSettings) -> None:
    assert digest(spec, images) != digest(spec)


def test_the_threshold_and_the_prior_change_the_hash(spec: ModelSpec) -> None:
    threshold = structs.replace(spec.decision, threshold=0.55)
    others = [
        structs.replace(spec, decision=threshold),
        structs.replace(spec, decision=structs.replace(spec.decision, review=(0.3, 0.6))),
        structs.replace(spec, prior=0.1),
    ]
    assert len({digest(each) for each in (spec, *others)}) == 4


def test_the_prevalence_changes_the_hash_and_the_models_own_does_not(spec: ModelSpec) -> None:
    assert digest(spec, decision=DecisionSettings(prevalence=0.001)) != digest(spec)
    assert digest(spec, decision=DecisionSettings(prevalence=spec.prior)) == digest(spec)


def test_other_channels_do_not_change_the_hash(spec: ModelSpec) -> None:
    assert digest(spec, ImageSettings(channels={"DAPI": ("blue",)})) == digest(spec)


@pytest.mark.parametrize("name", ["DECODING_VERSION", "QUALITY_VERSION", "OOD_VERSION"])
def test_other_rules_change_both_hashes(
    spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = digest(spec), inference_sha256(0.5)
    monkeypatch.setattr(identity, name, "other/9")
    after = digest(spec), inference_sha256(0.5)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_what_is_inferred_depends_on_the_scale_and_on_whether_it_was_told(spec: ModelSpec) -> None:
    own = spec.input.um_per_px
    assert known_pixel_size(ImageSettings(), spec) is None
    assert known_pixel_size(ImageSettings(um_per_px=own), spec) == own
    assert len({inference_sha256(each) for each in (0.5, 0.4, None)}) == 3


def test_a_model_of_unknown_scale_ignores_it(spec: ModelSpec) -> None:
    unknown = structs.replace(spec.input, um_per_px=None, crop_px=64.0)
    spec = structs.replace(spec, input=unknown)
    assert known_pixel_size(ImageSettings(um_per_px=0.4), spec) is None
    assert digest(spec, ImageSettings(um_per_px=0.4)) == digest(spec)


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        (0.5, "ea1d5c5b1588e746e69addfc325c8cfc11968ca5e4272d7aaabc4b4ea5a36873"),
        (0.001, "b1e97420ac16f0bdc69d80f41de365c4794075bc72b143e8dfc6889053536583"),
    ],
)
def test_pinned_hashes_change_only_with_a_version_of_the_rules(
    spec: ModelSpec, prior: float, expected: str
) -> None:
    """With other hashes, the next `classify` makes every stored call again.

    This test fails, as it should, after `DECODING_VERSION`, `QUALITY_VERSION` or `OOD_VERSION` was
    increased: replace the three hashes by the new ones. If no version was increased, the change
    that made it fail is a mistake.
    """
    thresholds = DecisionThresholds(0.5, (0.4, 0.6))
    rule = DecisionRule(Calibration(1, 0), 0.5, prior, thresholds, None)
    found = Fingerprint.of(ImageSettings(um_per_px=0.5), spec, rule)
    inference = "835eec8b98231800cba14118eb86d2e7976059e5ffe61b0a542e154a71b9373d"
    assert (found.inference_sha256, found.settings_sha256) == (inference, expected)
