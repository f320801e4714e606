"""Build the shipped model: simulate, fit, export; optionally from an earlier model's weights."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.images.preprocess import InputSpec
from ctcedge.model.folder import Model, load_model
from ctcedge.model.spec import SPEC_NAME

from .data.dataset import CHANNELS, Cells, cells_from_simulation
from .export.export import ExportSettings, export
from .export.model_folder import check_replaceable
from .export.parity import ParityLimits
from .fit.augment import Augmentation
from .fit.fit import fit
from .fit.presets import PRESETS
from .fit.pretrained import InitialWeights
from .fit.run import FitSettings
from .simulate import simulate_cells
from .util.progress import progress

INPUT = structs.replace(PRESETS["cpu"].input, floor=0.01, gain=48.0)
"""Contrast differs between instruments, so that it is normalised more than for one laboratory."""

_FIT = replace(PRESETS["cpu"].settings, epochs=90, augmentation=Augmentation())


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """All settings of a simulated model, besides its name and version.

    Attributes:
        training_hospitals: simulated hospitals to train on.
        validation_hospitals: for calibration, review band and operating points.
        test_hospitals: for the figures on the card.
        samples: per hospital.
        cells: per sample.
        fit: settings of the fit; its seed is also used for the simulation and the export.
        input: network input.
        limits: accepted differences of the graphs from the network.
    """

    training_hospitals: int = 800
    validation_hospitals: int = 12
    test_hospitals: int = 20
    samples: int = 4
    cells: int = 25
    fit: FitSettings = _FIT
    input: InputSpec = INPUT
    limits: ParityLimits = field(default_factory=ParityLimits)

    @property
    def hospitals(self) -> int:
        """Total number of hospitals."""
        return self.training_hospitals + self.validation_hospitals + self.test_hospitals


TINY = BuildSettings(
    training_hospitals=6,
    validation_hospitals=3,
    test_hospitals=3,
    samples=2,
    cells=24,
    fit=PRESETS["tiny"].settings,
    # After so few steps, all probabilities are near the threshold.
    limits=ParityLimits(
        int8_auc=0.03, int8_calls=0.2, int8_calls_target=0.2, int8_flips_target=0.2
    ),
)
"""A minute on two cores: tests the process, not the model."""


def build(
    name: str,
    version: str,
    settings: BuildSettings,
    *,
    command: str,
    out: Path,
    runs: Path,
    init: Path | None = None,
) -> Model:
    """Make a model folder from settings.

    Args:
        name: of the model and its folder.
        version: of the model.
        settings: of the model.
        command: that builds this model, for its card.
        out: parent of the model folder.
        runs: parent of the run folder `<name>-<version>`, which is not shipped.
        init: folder of a run or model with initial weights; may be `out/name`.

    Returns:
        The model, at `out/name`.

    Raises:
        ExportError: name or version cannot be used.
        ParityError: an exported graph differs too much from the network.
        FileExistsError: `out/name` is not a model folder.
        InitialWeightsError: there are no initial weights, or of another network.
        ModelError: the model folder to start from is damaged.
    """
    check_replaceable(out / name)
    exported = ExportSettings(
        name=name,
        version=version,
        about=f"simulated images only, seed {settings.fit.seed}{_origin(init)}",
        command=command,
        demonstration=True,
        limits=settings.limits,
        seed=settings.fit.seed,
    )
    run = runs / f"{name}-{version}"
    initial = InitialWeights.of(init) if init else None
    cells = simulate(settings)
    fit(cells, hospital_splits(cells, settings), settings.fit, settings.input, run, initial=initial)
    (model,) = export(run, exported, out, on_warning=print)
    return model


def _origin(init: Path | None) -> str:
    """Return the origin of the initial weights, as text."""
    if init is None:
        return ""
    if not (init / SPEC_NAME).is_file():
        return f", from the weights of the run {init.name}"
    spec = load_model(init).spec
    return f", from the weights of {spec.name} {spec.version} ({spec.training})"


def simulate(settings: BuildSettings) -> Cells:
    """Simulate all hospitals and convert their cells to network inputs."""
    total = settings.hospitals * settings.samples * settings.cells
    cells = simulate_cells(
        hospitals=settings.hospitals,
        samples=settings.samples,
        cells=settings.cells,
        seed=settings.fit.seed,
        channels=(BRIGHT_FIELD,) if settings.fit.dapi == "none" else CHANNELS,
        workers=os.cpu_count() or 1,
    )
    with progress("Simulate", total) as advance:
        return cells_from_simulation(cells, settings.input, on_cell=advance)


def hospital_splits(cells: Cells, settings: BuildSettings) -> NDArray[np.str_]:
    """Return (n,) the split of each cell's hospital, in the order of their names."""
    last = np.cumsum(
        [settings.training_hospitals, settings.validation_hospitals, settings.test_hospitals]
    )
    _, hospital = np.unique(cells.group, return_inverse=True)
    names = np.array(["training", "validation", "test"])
    splits: NDArray[np.str_] = names[np.searchsorted(last, hospital, side="right")]
    return splits
