"""Exports, manifests and training tables for the tests of `evaluate`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from ctcedge.model.folder import load_model
from ctcedge.records import plain
from tests.helpers import drawn_cells
from train.baselines.baselines import TABLE_NAME, training_table
from train.cli import app
from train.data.dataset import read_cells
from train.data.manifest import Row, read_manifests, write_manifest
from train.export.model_folder import pin

MODELS = Path(__file__).parents[3] / "models"

CTC_PX, OTHER_PX = 27, 21
"""Mean diameters; the model's threshold lies between."""


def export(folder: Path, samples: int, each: int = 8, seed: int = 3, **changes: object) -> Path:
    """Write crops of samples of one class each, and their manifest."""
    chance = np.random.default_rng(seed)
    rows = []
    for sample in range(samples):
        positive = sample % 2 == 0
        for cell in range(each):
            diameter = chance.normal(CTC_PX if positive else OTHER_PX, 4)
            grain = chance.normal(0, 3, (64, 64))
            pixels = np.clip(np.rint(drawn_cells.cell(diameter) + grain), 0, 255).astype(np.uint8)
            name = f"{folder.name}{sample}"
            rows.append(
                Row(
                    sample=name,
                    cell=f"{cell:05}",
                    label="CTC" if positive else "other",
                    stratum="CTC" if positive else "leukocyte",
                    source="reviewed",
                    um_per_px=drawn_cells.UM_PER_PX,
                    images={"BF": drawn_cells.save(folder / name / f"{cell:05}_BF.png", pixels)},
                )
            )
    rows = [dataclasses.replace(row, **changes) for row in rows]
    write_manifest(folder / "cells.csv", rows)
    return folder / "cells.csv"


def with_table(folder: Path, manifest: Path, side, most: int = 1000) -> Path:
    """Tell in a model folder that it was made from a manifest's cells.

    Args:
        folder: of the model.
        manifest: whose cells.
        side: from a sample's name to `training`, `validation` or `test`.
        most: training cells to show.
    """
    spec = load_model(folder).spec.input
    rows = read_manifests([manifest])
    sides = np.array([side(row.sample) for row in rows])
    table = training_table(read_cells(rows, spec, lambda: None), sides, spec)
    table.limited(most, seed=1).save(folder / TABLE_NAME)
    text = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    text["training_table"] = plain(pin(folder / TABLE_NAME))
    (folder / "model.json").write_text(json.dumps(text), encoding="utf-8")
    return folder


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert "Error: " in result.output
    return result.output
