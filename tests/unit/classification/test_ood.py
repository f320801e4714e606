from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.ood import (
    ALERT_SIGMAS,
    DRIFT_WINDOW,
    MIN_CROPS,
    OOD_LEVEL,
    OodDetector,
    RunFeatures,
    is_out_of_distribution,
)
from ctcedge.classification.wavelet_features import FEATURE_COUNT, wavelet_energies
from ctcedge.errors import ModelError
from ctcedge.model.folder import Model, load_model
from ctcedge.model.spec import PinnedFile
from ctcedge.records import plain
from tests.helpers.disk_model import SIZE, EditableModel

WIDTH = 6
CTC = np.array([4, 0, 0, 0, 0, 0], np.float32)
Arrays = dict[str, NDArray[Any]]


def arrays(cells: int = 2000) -> Arrays:
    """Statistics of features that are standard normal about zero, of CTCs about `CTC`."""
    chance = np.random.default_rng(1)
    made: Arrays = {
        "means": np.stack([np.zeros(WIDTH), CTC]).astype(np.float32),
        "whitening": np.eye(WIDTH, dtype=np.float32),
        "distance": np.sqrt(chance.chisquare(WIDTH, cells)).astype(np.float32),
        "positive": np.arange(cells) % 5 == 0,
        "sample": np.zeros(cells, np.int32),
    }
    for name, measures, features in (("detail", FEATURE_COUNT, 3), ("network", WIDTH, WIDTH)):
        means = np.zeros((2, features), np.float32)
        if name == "network":
            means[1] = CTC
        made |= {
            f"{name}_axes": np.eye(measures, features, dtype=np.float32),
            f"{name}_offset": np.zeros(features, np.float32),
            f"{name}_means": means,
            f"{name}_between": np.full(features, 0.1, np.float32),
            f"{name}_distance": np.array([1, 0.25], np.float32),
        }
    return made


def packed(contents: Arrays, **options: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **options, **contents)
    return file.getvalue()


def with_features(model_copy: EditableModel, data: bytes) -> Model:
    """A model whose features.npz holds these bytes."""
    (model_copy.folder / "features.npz").write_bytes(data)
    pin = PinnedFile("features.npz", hashlib.sha256(data).hexdigest(), len(data))
    model_copy.edit(lambda spec: spec.update(features=plain(pin)))
    return load_model(model_copy.folder)


@pytest.fixture
def detector(model_copy: EditableModel) -> OodDetector:
    found = OodDetector.load(with_features(model_copy, packed(arrays())))
    assert found is not None
    return found


def run(features: NDArray[np.float64], window: int | None = None) -> RunFeatures:
    made = RunFeatures(window)
    for row in features.tolist():
        made.add(row)
    return made


def drawn(crops: int, share: float = 0.0, shift: float = 0.0, seed: int = 2) -> RunFeatures:
    """A run of features as training has them, with so many CTCs, moved along the last feature."""
    features = np.random.default_rng(seed).normal(size=(crops, 3 + WIDTH))
    features[: round(crops * share), 3:] += CTC
    features[:, -1] += shift
    return run(features)


def test_a_model_without_statistics_has_no_detector(classifier: Classifier) -> None:
    assert OodDetector.load(classifier.model) is None


def test_the_distance_is_that_from_the_nearer_class(detector: OodDetector) -> None:
    features = np.stack([np.zeros(WIDTH), CTC, 1.75 * CTC, -CTC]).astype(np.float32)
    grey = np.full((4, SIZE, SIZE), 128, np.uint8)
    found = detector.score(grey, features)
    assert [each.distance for each in found] == pytest.approx([0, 0, 3, 4])
    assert [each.p_value for each in found] == [detector.p_value(each.distance) for each in found]
    assert found[0].p_value == 1
    assert found[2].p_value > found[3].p_value


def test_the_p_value_is_the_larger_of_the_two_classes(model_copy: EditableModel) -> None:
    """Three of ten leukocytes are at least 2 away, and half of the CTCs, which are fewer."""
    statistics = arrays() | {
        "distance": np.array([1, 1, 1, 1, 1, 1, 1, 2, 3, 4, 1, 2.5], np.float32),
        "positive": np.arange(12) >= 10,
    }
    found = OodDetector.load(with_features(model_copy, packed(statistics)))
    assert found is not None
    assert found.p_value(2) == 0.5
    assert found.p_value(0.5) == 1


def test_the_p_value_falls_beyond_all_validation_cells(detector: OodDetector) -> None:
    p = [detector.p_value(distance) for distance in np.linspace(0, 20, 200)]
    assert p == sorted(p, reverse=True)
    assert 0 < p[-1] < 1e-6
    assert detector.p_value(5.5) > OOD_LEVEL / 100


def test_the_rate_of_flagged_cells_like_those_of_training_is_the_level(
    detector: OodDetector,
) -> None:
    distance = np.sqrt(np.random.default_rng(3).chisquare(WIDTH, 20_000))
    share = np.mean([is_out_of_distribution(detector.p_value(each)) for each in distance])
    assert OOD_LEVEL / 5 < share < 2 * OOD_LEVEL


def test_features_are_wavelet_energies_and_network_features_clipped(detector: OodDetector) -> None:
    inputs = np.random.default_rng(4).integers(0, 256, (2, SIZE, SIZE), dtype=np.uint8)
    features = np.array([[1, 2, 3, 4, 5, 6], [1e6, -1e6, 0, 0, 0, 0]], np.float32)
    first, second = (each.features for each in detector.score(inputs, features))
    assert first[:3] == pytest.approx(wavelet_energies(inputs)[0, :3], abs=1e-3)
    assert first[3:] == (1, 2, 3, 4, 5, 6)
    assert second[3:] == (8, -8, 0, 0, 0, 0)


def test_features_of_another_width_are_refused(detector: OodDetector) -> None:
    with pytest.raises(ModelError, match="gives 5 features"):
        detector.score(np.zeros((1, SIZE, SIZE), np.uint8), np.zeros((1, 5), np.float32))


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
def test_a_run_like_training_is_not_shifted_at_any_fraction_of_ctcs(
    detector: OodDetector, share: float
) -> None:
    found = detector.domain_shift(drawn(400, share))
    assert (found.state, found.crops) == ("in-distribution", 400)
    assert found.distance == 0


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
def test_a_shifted_run_is_found_at_any_fraction_of_ctcs(
    detector: OodDetector, share: float
) -> None:
    found = detector.domain_shift(drawn(400, share, shift=3))
    assert found.state == "shifted"
    away = 3 / math.sqrt(WIDTH * (0.1 + 1 / 400))
    assert found.distance == pytest.approx(math.log(away) / 0.25 / ALERT_SIGMAS, rel=0.05)


def test_beyond_the_mean_of_ctcs_is_shifted(detector: OodDetector) -> None:
    features = np.zeros((200, 3 + WIDTH))
    features[:, 3:] = 2 * CTC
    assert detector.domain_shift(run(features)).state == "shifted"


def test_either_kind_of_features_shows_a_shift_and_both_show_more(detector: OodDetector) -> None:
    features = np.zeros((3, 200, 3 + WIDTH))
    features[0, :, 0] = features[2, :, 0] = 1.2
    features[1, :, -1] = features[2, :, -1] = 1.6
    detail_only, network_only, both = (
        detector.domain_shift(run(each)).distance for each in features
    )
    assert detail_only is not None
    assert network_only is not None
    assert min(detail_only, network_only) > 0.5
    assert max(detail_only, network_only) < 1
    assert both == pytest.approx(math.hypot(detail_only, network_only), abs=2e-3)


def test_few_crops_are_insufficient(detector: OodDetector) -> None:
    found = detector.domain_shift(drawn(MIN_CROPS - 1, shift=8))
    assert (found.state, found.crops, found.distance) == ("insufficient", MIN_CROPS - 1, None)
    assert detector.domain_shift(drawn(MIN_CROPS, shift=8)).state == "shifted"
    assert detector.domain_shift(RunFeatures()).state == "insufficient"


def test_the_order_of_crops_does_not_matter(detector: OodDetector) -> None:
    features = np.random.default_rng(5).normal(size=(300, 3 + WIDTH))
    assert detector.domain_shift(run(features)) == detector.domain_shift(run(features[::-1]))


def test_a_window_holds_the_latest_crops(detector: OodDetector) -> None:
    features = np.zeros((2 * DRIFT_WINDOW, 3 + WIDTH))
    features[:DRIFT_WINDOW, -1] = 8
    before = detector.domain_shift(run(features[:DRIFT_WINDOW], DRIFT_WINDOW))
    after = detector.domain_shift(run(features, DRIFT_WINDOW))
    assert (before.state, before.crops) == ("shifted", DRIFT_WINDOW)
    assert (after.state, after.crops, after.distance) == ("in-distribution", DRIFT_WINDOW, 0)


def test_a_model_without_statistics_of_runs(model_copy: EditableModel) -> None:
    cells = {k: v for k, v in arrays().items() if not k.startswith(("detail_", "network_"))}
    found = OodDetector.load(with_features(model_copy, packed(cells)))
    assert found is not None
    (score,) = found.score(np.zeros((1, SIZE, SIZE), np.uint8), np.zeros((1, 6), np.float32))
    assert score.features == ()
    runs = run(np.zeros((500, 0)))
    assert found.domain_shift(runs).state == "insufficient"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("means"), "'means' is missing"),
        (lambda a: a.update(means=a["means"].astype(np.float64)), "'means' must be 2 x n"),
        (lambda a: a.update(means=a["means"][:1]), "'means' must be 2 x n"),
        (lambda a: a.update(whitening=np.eye(5, dtype=np.float32)), "'whitening' must be 6 x 6"),
        (lambda a: a["distance"].__setitem__(0, np.nan), "'distance' must be n finite"),
        (lambda a: a.update(positive=a["positive"][1:]), "'positive' must be true or false"),
        (lambda a: a.update(positive=np.ones(2000, bool)), "must be of both classes"),
        (lambda a: a.pop("network_axes"), "'network_axes' is missing"),
        (lambda a: a["detail_distance"].__setitem__(1, 0), "must be above 0"),
        (lambda a: a["network_between"].__setitem__(2, -1), "must be above 0"),
        (lambda a: a.update(means=np.array([{}])), "allow_pickle"),
    ],
)
def test_invalid_statistics_are_refused(
    model_copy: EditableModel, change: Callable[[Arrays], object], message: str
) -> None:
    statistics = arrays()
    change(statistics)
    model = with_features(model_copy, packed(statistics))
    with pytest.raises(ModelError, match=message) as caught:
        OodDetector.load(model)
    assert "features.npz" in str(caught.value)


def test_a_file_that_unpacks_to_too_much_is_refused(
    model_copy: EditableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_features(model_copy, packed(arrays()))
    monkeypatch.setattr("ctcedge.classification.ood._MAX_UNPACKED_BYTES", 10_000)
    with pytest.raises(ModelError, match="when unpacked"):
        OodDetector.load(model)


@pytest.mark.parametrize("data", [b"", b"no archive"])
def test_a_file_that_is_no_archive_is_refused(model_copy: EditableModel, data: bytes) -> None:
    with pytest.raises(ModelError, match=r"features\.npz"):
        OodDetector.load(with_features(model_copy, data))


def test_a_changed_file_is_refused(model_copy: EditableModel) -> None:
    model = with_features(model_copy, packed(arrays()))
    (model.folder / "features.npz").write_bytes(packed(arrays(1000)))
    with pytest.raises(ModelError, match="SHA-256 differs"):
        OodDetector.load(model)
