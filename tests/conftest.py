from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ctcedge.classification.classifier import Classifier
from ctcedge.model.folder import load_model
from tests.helpers import cli_runner, disk_model, drawn_cells

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_TIERS = {"browser", "fault", "fuzz", "training"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test of a tier's folder, so that `-m` can select it too."""
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        if folder in _TIERS:
            item.add_marker(folder)


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what this machine's user measured or set, such as controls, out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CTCEDGE_STATE", str(tmp_path_factory.mktemp("state")))
        patch.setenv("CTCEDGE_CONFIG", "")  # no lab file, whatever is in /etc
        yield


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small valid model folder that sees the size of disks; do not change it."""
    folder = tmp_path_factory.mktemp("models") / "disks"
    disk_model.build(folder)
    return folder


@pytest.fixture(scope="session")
def classifier(model_folder: Path) -> Classifier:
    model = load_model(model_folder)
    return Classifier.open(model, "cpu")


@pytest.fixture
def model_copy(model_folder: Path, tmp_path: Path) -> disk_model.EditableModel:
    folder = tmp_path / "model-copy"
    shutil.copytree(model_folder, folder)
    return disk_model.EditableModel(folder)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """A folder of two samples: one cell of each call, other channels, and a file to pass over."""
    folder = tmp_path / "export"
    for number, diameter in enumerate(
        (drawn_cells.LEUKOCYTE, drawn_cells.REVIEW, drawn_cells.CTC), start=1
    ):
        drawn_cells.save(folder / "S1" / f"{number:05}_BF.png", drawn_cells.cell(diameter))
    drawn_cells.save(folder / "S1" / "00001_DAPI.png", drawn_cells.cell(drawn_cells.LEUKOCYTE))
    tiff = drawn_cells.cell(drawn_cells.CTC, background=2048, contrast=960, dtype=np.uint16)
    drawn_cells.save(folder / "S2" / "Cell_00034_Brightfield.tif", tiff)
    (folder / "labels.csv").write_text("sample,cell,label\n", encoding="utf-8")
    return folder


@pytest.fixture
def called(crops: Path, model_folder: Path) -> Path:
    """The same folder, classified by the small model."""
    cli_runner.classify(crops, model_folder)
    return crops


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium; one for all tests, as playwright runs once in a thread."""
    from tests.browser.launch import PROGRAM, chromium

    if PROGRAM is None:
        pytest.skip("Chromium is not installed")
    with chromium() as running:
        yield running
