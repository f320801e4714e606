"""Write the files of a model folder and publish it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctcedge.classification.ood import OodDetector
from ctcedge.fs.descriptors import close_unwritten
from ctcedge.fs.files import atomic_write
from ctcedge.fs.unfinished import open_folder, sync_folder
from ctcedge.images.preprocess import InputSpec, network_input
from ctcedge.model.folder import Model, load_model
from ctcedge.model.spec import SPEC_NAME, Calibration, ModelSpec, PinnedFile, Variant
from ctcedge.records import plain

from ..metrics.onnx_scores import probabilities, run_graph
from ..simulate import simulate_cells

GOLDEN_NAME = "golden.npz"
GOLDEN_CROPS = 16
GOLDEN_SIDE = 64
GOLDEN_TOLERANCE = 0.001
CARD_NAME = "README.md"


def graph_name(variant: str) -> str:
    """Return the file name of a graph."""
    return f"model.{variant}.onnx"


def pin(path: Path) -> PinnedFile:
    """Describe a file by name, hash and length."""
    data = path.read_bytes()
    return PinnedFile(path.name, hashlib.sha256(data).hexdigest(), len(data))


def golden_crops(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Simulate raw bright-field crops, each from a different hospital.

    Returns:
        (16, 64, 64) crops before preprocessing, and (16,) um/px.
    """
    crops, um_per_px = [], []
    for cell in simulate_cells(
        hospitals=4 * GOLDEN_CROPS, samples=1, cells=1, seed=seed, channels=("BF",)
    ):
        pixels = cell.images["BF"]
        if min(pixels.shape) < GOLDEN_SIDE:
            continue
        top, left = ((length - GOLDEN_SIDE) // 2 for length in pixels.shape)
        pixels = pixels[top : top + GOLDEN_SIDE, left : left + GOLDEN_SIDE]
        levels = pixels * (1 if pixels.dtype == np.uint8 else 255 / pixels.max())
        crops.append(np.rint(levels).astype(np.uint8))
        um_per_px.append(cell.um_per_px)
        if len(crops) == GOLDEN_CROPS:
            break
    return np.stack(crops), np.array(um_per_px)


def write_golden(
    path: Path,
    graphs: Mapping[Variant, bytes],
    spec: InputSpec,
    calibration: Calibration,
    seed: int,
) -> None:
    """Write crops and the probability of each graph for them on this machine.

    A model without um/px ignores the true scale of the crops.
    """
    crops, um_per_px = golden_crops(seed)
    inputs = np.stack(
        [network_input(crop, pitch, spec) for crop, pitch in zip(crops, um_per_px, strict=True)]
    )
    outputs = {
        f"probability_{variant}": probabilities(run_graph(graph, inputs), calibration)
        for variant, graph in graphs.items()
    }
    if spec.um_per_px is not None:
        outputs["um_per_px"] = um_per_px
    np.savez(path, allow_pickle=False, crops=crops, **outputs)


def write_spec(folder: Path, spec: ModelSpec) -> Model:
    """Write model.json and read the folder back as the runtime does.

    Raises:
        ModelError: the runtime would refuse the folder.
    """
    text = json.dumps(plain(spec), indent=2, ensure_ascii=False)
    (folder / SPEC_NAME).write_text(text + "\n", encoding="utf-8")
    model = load_model(folder)
    model.check_files()
    OodDetector.load(model)
    return model


def check_replaceable(destination: Path) -> None:
    """Check that a model folder may be written: the destination is new, or an earlier build.

    Raises:
        FileExistsError: the destination is something other than a model folder.
    """
    if destination.exists() and not (destination / SPEC_NAME).is_file():
        raise FileExistsError(f"{destination} exists and is not a model folder; move it away")


def publish(model: Model, destination: Path) -> Model:
    """Copy a finished model folder to its destination, replacing an earlier build.

    Returns:
        The model at its destination.

    Raises:
        FileExistsError: the destination is something other than a model folder.
    """
    check_replaceable(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    # A name that nobody can guess: another export may write there at the same time.
    unfinished = Path(
        tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".part", dir=destination.parent)
    )
    try:
        for path in sorted(model.folder.iterdir()):
            atomic_write(unfinished / path.name, path.read_bytes())
        unfinished.chmod(model.folder.stat().st_mode)
        if destination.is_symlink():
            destination.unlink()  # not what it leads to
        elif destination.exists():
            shutil.rmtree(destination)
        unfinished.rename(destination)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    parent = open_folder(destination.parent)
    try:
        sync_folder(parent)  # its name is on the disk before it counts as published
    finally:
        close_unwritten(parent)
    return dataclasses.replace(model, folder=destination)
