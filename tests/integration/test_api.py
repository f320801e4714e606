from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ctcedge
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, REVIEW, UM_PER_PX, cell, save
from tests.helpers.sidecar_files import sidecars, state


def loaded_by(code: str) -> set[str]:
    """Names of the packages that some code loads."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    return set(done.stdout.split())


def test_importing_is_light() -> None:
    heavy = {"numpy", "cv2", "onnxruntime", "watchdog", "typer", "rich", "torch", "onnx"}
    assert not loaded_by("import ctcedge") & heavy


def test_the_runtime_needs_nothing_of_training() -> None:
    every_module = (
        "import importlib, pkgutil, ctcedge\n"
        "for module in pkgutil.walk_packages(ctcedge.__path__, 'ctcedge.'):\n"
        "    if module.name != 'ctcedge.__main__': importlib.import_module(module.name)\n"
    )
    loaded = loaded_by(every_module)
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "monai", "onnx", "train", "jsonschema", "sklearn"}


def test_onnx_runtime_keeps_no_record_for_its_maker(tmp_path: Path, model_folder: Path) -> None:
    code = f"import ctcedge; ctcedge.Classifier.load({str(model_folder)!r}, 'cpu')"
    plain = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    env = {**plain, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, timeout=120)
    assert not list(tmp_path.rglob("*onnxruntime*"))


@pytest.mark.parametrize("name", ctcedge.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(ctcedge, name) is not None


def test_the_public_names_are_listed() -> None:
    assert set(ctcedge.__all__) <= set(dir(ctcedge))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = ctcedge.nothing


def test_the_package_is_typed_and_carries_its_schema() -> None:
    folder = Path(ctcedge.__file__).parent
    assert (folder / "py.typed").exists()
    assert (folder / "sidecars" / "schemas" / "sidecar-3.json").exists()


def test_classify_arrays(model_folder: Path) -> None:
    classifier = ctcedge.Classifier.load(model_folder, provider="cpu")
    images = [cell(LEUKOCYTE), cell(REVIEW, side=(80, 50)), cell(CTC).astype(np.uint16) * 16]
    verdicts = classifier.classify(images, um_per_px=UM_PER_PX)
    assert [verdict.call for verdict in verdicts] == ["leukocyte", "review", "CTC"]
    assert not any(verdict.cluster for verdict in verdicts)
    assert classifier.classify([]) == []
    assert classifier.classify(images) == verdicts


def test_the_public_api_is_pinned() -> None:
    assert ctcedge.__all__ == [
        "Classifier",
        "Crop",
        "CtcEdgeError",
        "Outcome",
        "Prediction",
        "__version__",
        "classify_folder",
    ]
    parameters = {
        ctcedge.Classifier.load: ["model", "provider", "operating_point", "prevalence"],
        ctcedge.Classifier.classify: ["self", "images", "um_per_px"],
        ctcedge.classify_folder: [
            *("folder", "out", "model", "provider", "um_per_px", "pattern"),
            *("operating_point", "prevalence", "force"),
        ],
    }
    for function, names in parameters.items():
        assert list(inspect.signature(function).parameters) == names
    for kind, attributes in {
        ctcedge.Prediction: {"call", "probability", "reasons", "cluster"},
        ctcedge.Outcome: {"crop", "done", "record", "error", "call"},
        ctcedge.Crop: {"path", "sample", "cell", "channel"},
    }.items():
        assert attributes <= set(dir(kind))


def test_a_classifier_is_shown_in_a_line(classifier: ctcedge.Classifier) -> None:
    assert repr(classifier) == "<Classifier disks 1.0.0, int8 on cpu>"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 5}, "'model' must be a path, not 5"),
        ({"model": ""}, "'model' must be a path, not ''"),
        ({"model": "x\0"}, "NUL"),
        ({"model": "nothing"}, "no model folder or shipped model"),
        ({"provider": "gpu"}, "'provider' must be one of 'auto', 'cuda', 'cpu', not"),
        ({"provider": ["cpu"]}, "'provider' must be one of"),
        ({"operating_point": "best"}, "'decision.operating_point' must be one of"),
        ({"prevalence": 1}, "'decision.prevalence' must be a number above 0 and below 1"),
        ({"prevalence": "0.1"}, "'decision.prevalence' must be a number above 0 and below 1"),
        ({"prevalence": float("nan")}, "'decision.prevalence' must be a number above 0"),
        ({"prevalence": True}, "'decision.prevalence' must be a number above 0"),
    ],
)
def test_load_says_what_is_wanted(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ctcedge.CtcEdgeError) as error:
        ctcedge.Classifier.load(**arguments)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folder": None}, "'folder' must be a path, not None"),
        ({"folder": 3}, "'folder' must be a path, not 3"),
        ({"folder": ""}, "'folder' must be a path, not ''"),
        ({"out": 3}, "'out' must be a path, not 3"),
        ({"model": object}, "'model' must be a path, not <class 'object'>"),
        ({"provider": "gpu"}, "'provider' must be one of"),
        ({"um_per_px": "0.5"}, "'images.um_per_px' must be a number between 0.01 and 20, not text"),
        ({"um_per_px": float("inf")}, "'images.um_per_px' must be a number between"),
        ({"pattern": 5}, "'images.pattern' must be text"),
        ({"operating_point": 1}, "'decision.operating_point' must be one of"),
        ({"prevalence": [0.1]}, "'decision.prevalence' must be a number above 0"),
    ],
)
def test_classify_folder_says_what_is_wanted(
    crops: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ctcedge.CtcEdgeError) as error:
        list(ctcedge.classify_folder(**({"folder": crops} | arguments)))
    assert message in str(error.value)


def test_numbers_of_numpy_are_numbers(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    classifier = ctcedge.Classifier.load(model_folder, "cpu", prevalence=np.float32(0.25))
    assert len(classifier.classify([cell()], um_per_px=np.float32(0.5))) == 1
    options = {"out": tmp_path / "o", "model": model_folder, "provider": "cpu"}
    outcomes = ctcedge.classify_folder(crops, um_per_px=np.float64(UM_PER_PX), **options)
    assert len(list(outcomes)) == 4


@pytest.mark.parametrize("images", [None, 5, cell(), cell().tolist(), "1_BF.png", [None], ["x"]])
def test_what_are_no_images_is_a_value_error(classifier: ctcedge.Classifier, images: Any) -> None:
    with pytest.raises(ValueError, match=r"list of arrays|an array \(height, width\)"):
        classifier.classify(images)


def test_images_may_come_from_a_generator(classifier: ctcedge.Classifier) -> None:
    assert len(classifier.classify(cell() for _ in range(3))) == 3


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((64, 64), np.float32),
        np.zeros((64, 64), np.int16),
        np.zeros((7, 64), np.uint8),
        np.zeros(64, np.uint8),
    ],
)
def test_what_is_no_crop_is_a_value_error(
    classifier: ctcedge.Classifier, image: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="height, width"):
        classifier.classify([image])


@pytest.mark.parametrize(
    "um_per_px", [0, -0.5, 21, float("nan"), float("inf"), "0.5", True, [0.5], 1j]
)
def test_an_impossible_um_per_px_is_a_value_error(
    classifier: ctcedge.Classifier, um_per_px: Any
) -> None:
    with pytest.raises(ValueError, match=r"um/px must be a number between 0.01 and 20, not "):
        classifier.classify([cell()], um_per_px)


def test_classify_folder(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    options = {"out": tmp_path / "o", "model": model_folder, "provider": "cpu"}
    outcomes = list(ctcedge.classify_folder(crops, um_per_px=UM_PER_PX, **options))
    assert [outcome.call for outcome in outcomes] == ["leukocyte", "review", "CTC", "CTC"]
    assert [outcome.crop.cell for outcome in outcomes] == ["00001", "00002", "00003", "00034"]
    assert len(sidecars(tmp_path / "o")) == 4
    again = list(ctcedge.classify_folder(str(crops), um_per_px=UM_PER_PX, **options))
    assert {outcome.done for outcome in again} == {"current"}
    assert [outcome.call for outcome in again] == [outcome.call for outcome in outcomes]


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_classify_folder_raises_what_the_package_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ctcedge.CtcEdgeError):
        list(ctcedge.classify_folder(tmp_path / name))


def test_classify_folder_leaves_another_samples_sidecars_alone(
    model_folder: Path, tmp_path: Path
) -> None:
    for sample in ("A", "B"):
        save(tmp_path / sample / "2_BF.png", cell())
    save(tmp_path / "B" / "1_BF.png", cell())
    options = {"out": tmp_path / "o", "model": model_folder, "provider": "cpu"}
    list(ctcedge.classify_folder(tmp_path / "A", **options))
    before = state(tmp_path / "o")
    with pytest.raises(ctcedge.CtcEdgeError, match="belongs to sample 'A'"):
        list(ctcedge.classify_folder(tmp_path / "B", **options))
    assert state(tmp_path / "o") == before
