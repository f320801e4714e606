"""Crops are read as by the runtime, without labels, and a test set stays out."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from train.data.dataset import name_digest, read_cells
from train.data.manifest import ManifestError, read_manifests, write_manifest
from train.fit.presets import input_for
from train.label import label_folder
from train.pretrain.crops import Exclusion, find_crops, read_crops, stain_names
from train.pretrain.settings import pretrain_preset

from .conftest import STAINS

PRESET = pretrain_preset("tiny").fit


def read(rows, **options):
    return read_crops(rows, input_for(rows, PRESET), STAINS, **options)


def table(path, *rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def test_the_inputs_are_those_of_a_fit(simulated, tmp_path):
    label_folder(simulated.exports[0], tmp_path / "cells.csv")
    rows = read_manifests([tmp_path / "cells.csv"])
    spec = input_for(rows, PRESET)
    labelled = read_cells(rows, spec, lambda: None)
    crops = read(find_crops(simulated.exports[:1]))
    assert np.array_equal(crops.bright, labelled.bright)
    assert np.array_equal(crops.stains[:, STAINS.index("DAPI")], labelled.nucleus)
    assert np.array_equal(crops.digest, labelled.digest)
    assert np.array_equal(crops.sample, labelled.sample)
    assert crops.has_stain.all()


def test_samples_of_several_exports_are_different_samples(simulated):
    rows = find_crops(simulated.exports)
    assert {row.run for row in rows} == {folder.name for folder in simulated.exports}
    assert len({row.sample_id for row in rows}) == 4
    assert {row.run for row in find_crops(simulated.exports[:1])} == {""}
    assert {row.run for row in find_crops([simulated.exports[0]] * 2)} == {
        f"{simulated.exports[0].name}-1",
        f"{simulated.exports[0].name}-2",
    }


def test_settings_are_those_of_the_export_unless_given(simulated):
    (own,) = {row.um_per_px for row in find_crops(simulated.exports[:1])}
    (given,) = {row.um_per_px for row in find_crops(simulated.exports[:1], um_per_px=0.25)}
    assert (own != given, given) == (True, 0.25)


def test_stains_are_found_by_name(simulated):
    assert stain_names(find_crops(simulated.exports)) == list(STAINS)


def test_what_cannot_be_read_is_left_out_and_named(simulated, tmp_path):
    export = shutil.copytree(simulated.exports[0], tmp_path / "export")
    images = sorted(path for path in export.rglob("*_BF.*"))
    images[0].write_bytes(images[0].read_bytes()[:200])
    cv2.imwrite(str(images[1]), np.full((40, 40), 90, np.uint8))
    stain = next(export.rglob("*_PE.*"))
    stain.unlink()
    notes = []
    crops = read(find_crops([export]), on_warning=notes.append)
    assert len(crops) == len(images) - 2
    assert str(images[0]) in notes[0] and notes[0].startswith("1 image not read")
    assert (~crops.has_stain).sum() <= 1
    for path in images:
        path.write_bytes(b"")
    with pytest.raises(ManifestError, match="no bright-field crop can be read"):
        read(find_crops([export]))


def test_provenance_has_images_patients_and_samples(simulated, tmp_path):
    samples = sorted({row.sample for row in find_crops(simulated.exports[:1])})
    patients = table(
        tmp_path / "p.csv", ("sample", "patient"), *((name, "Anna") for name in samples)
    )
    crops = read(find_crops(simulated.exports[:1], patients=patients))
    provenance = crops.provenance()
    assert set(provenance.digest) == set(crops.digest)
    assert set(provenance.sample_digest) == {name_digest(name) for name in ("Anna", *samples)}


@pytest.fixture
def rows(simulated):
    return find_crops(simulated.exports[:1])


def test_samples_of_a_manifest_are_kept_out_by_name_and_by_image(simulated, rows, tmp_path):
    first = sorted({row.sample for row in rows})[0]
    label_folder(simulated.exports[0], tmp_path / "cells.csv")
    of_first = [row for row in read_manifests([tmp_path / "cells.csv"]) if row.sample == first]
    write_manifest(tmp_path / "test.csv", of_first)
    exclusion = Exclusion.of([tmp_path / "test.csv"])
    assert exclusion.select(rows).tolist() == [row.sample == first for row in rows]
    # One image of it under another name takes the whole sample with it.
    renamed = [replace(row, sample="other") for row in of_first[:1]]
    write_manifest(tmp_path / "renamed.csv", renamed)
    exclusion = Exclusion.of([tmp_path / "renamed.csv"])
    assert not exclusion.select(rows).any()
    kept = exclusion.apply(read(rows))
    assert set(kept.sample) == {row.sample for row in rows} - {first}


def test_patients_are_kept_out_by_name(rows, simulated, tmp_path):
    first, second = sorted({row.sample for row in rows})
    patients = table(tmp_path / "p.csv", ("sample", "patient"), (first, "Anna"), (second, "Bert"))
    found = find_crops(simulated.exports[:1], patients=patients)
    exclusion = Exclusion.of([table(tmp_path / "test.csv", ("patient",), ("Anna",))])
    assert {row.sample for row in found if exclusion.select([row])[0]} == {first}
    assert not Exclusion.of([])


@pytest.mark.parametrize(
    ("rows_of", "message"),
    [
        ([("name",), ("Anna",)], "has no column sample"),
        ([("sample", "patient"), ("S", ""), (" ", "")], None),
        ([("sample", "patient", "n"), ("", "", "3")], "line 2: neither patient nor sample"),
        ([("sample", "BF"), ("S", "gone.png")], "has no column cell"),
        (
            [("sample", "cell", "label", "BF"), ("S", "1", "CTC", "gone.png")],
            "gone.png does not exist",
        ),
    ],
)
def test_a_table_that_names_nothing_is_refused(tmp_path, rows_of, message):
    path = table(tmp_path / "test.csv", *rows_of)
    if message is None:
        assert Exclusion.of([path]).names == {"S"}
    else:
        with pytest.raises(ManifestError, match=message):
            Exclusion.of([path])


def test_tables_of_spreadsheets_are_read(tmp_path):
    path = tmp_path / "test.csv"
    path.write_text("Patient;n\nAnna;3\n", encoding="utf-16")
    assert Exclusion.of([path]).names == {"Anna"}
