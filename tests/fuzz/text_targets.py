"""What reads text files that a person may hand over."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from pathlib import Path

from ctcedge.discovery.naming import Crop, Naming
from ctcedge.errors import SetupError
from ctcedge.fs.text import same_form
from ctcedge.records import plain
from ctcedge.results import controls as controls_file
from ctcedge.results.agreement import assess
from ctcedge.results.corrections import CorrectionsError, read_corrections
from ctcedge.results.false_positives import describe, expected_false_positives
from ctcedge.results.reviews import import_reviews
from ctcedge.sidecars.scan import scan_sidecars
from ctcedge.sidecars.store import SidecarStore
from ctcedge.sources.tables import TableError, TableRow, read_table
from tests.fuzz import seeds, text_seeds
from train.data.manifest import ManifestError, read_manifests, write_manifest
from train.label.cells import Export, LabelError, Warnings
from train.label.reference import LABELS, read_labels, read_patients

_CROP = Crop("S/1_BF.png", "S", "1", "BF")


class TextTargets:
    """What reads corrections, controls and tables.

    Args:
        folder: where to make a folder to work in.
    """

    def __init__(self, folder: Path) -> None:
        (folder / "in" / "S").mkdir(parents=True)
        (folder / "in" / "a.png").touch()
        (folder / "in" / _CROP.path).write_bytes(text_seeds.IMAGE)
        self._folder = folder / "in"
        self._file = folder / "file"
        self._state = folder / "state"
        self._state.mkdir()
        self._store = SidecarStore(self._folder, None)
        record = json.loads(seeds.sidecar()[2])
        record["image"]["sha256"] = hashlib.sha256(text_seeds.IMAGE).hexdigest()
        self._sidecar = json.dumps(record).encode()

    def corrections(self, data: bytes) -> None:
        """Read a file of reviews, and import it into a sidecar."""
        self._file.write_bytes(data)
        try:
            corrections = read_corrections(self._file)
        except CorrectionsError as error:
            _check_message(error)
            return
        self._store.path(_CROP).write_bytes(self._sidecar)
        for _ in range(2):
            scan = scan_sidecars(self._folder, None, Naming())
            imported = import_reviews(corrections, self._folder, scan, self._store)
        assert not imported.applied
        assert self._store.read(_CROP) is not None
        assessment = assess(scan_sidecars(self._folder, None, Naming()))
        json.dumps(assessment.as_json(), allow_nan=False)

    def controls(self, data: bytes) -> None:
        """Read counts of controls, predict from them, and change them."""
        os.environ["CTCEDGE_STATE"] = str(self._state)
        path = self._state / controls_file.FILE_NAME
        path.write_bytes(data)
        try:
            controls = controls_file.read(self._state)
        except SetupError as error:
            _check_message(error)
            assert controls_file.usable_controls() == []
            return
        for control in controls:
            prediction = expected_false_positives(1000, control.context)
            assert prediction is not None and math.isfinite(prediction.expected)
            assert 0 <= prediction.low <= prediction.high <= 1000
            json.dumps(plain(prediction), allow_nan=False)
            describe(prediction)
        if controls:
            assert controls_file.remove(controls[0].sample) >= 1
            assert len(controls_file.read(self._state)) < len(controls)

    def table(self, data: bytes) -> None:
        """Read a table as labels, patients and a manifest; what is read can be written again."""
        path = self._folder / LABELS
        path.write_bytes(data)
        for needed in (("sample", "cell", "label"), ("sample", "patient")):
            try:
                rows = read_table(path, needed)
            except TableError as error:
                _check_message(error)
                continue
            self._check_again(needed, [row for row in rows if row.problem is None])
        cells = {("S", "1"): {"BF": _CROP}, ("M\u00fcller", "001"): {"BF": _CROP}}
        warnings = Warnings()
        try:
            labels = read_labels(Export(self._folder, 0.5, cells, warnings))
            assert labels.keys() <= cells.keys()
            read_patients(path, {"S"})
        except LabelError as error:
            _check_message(error)
        list(warnings.lines())
        try:
            manifest = read_manifests([path])
        except ManifestError as error:
            _check_message(error)
            return
        write_manifest(self._folder / "again.csv", manifest)
        assert read_manifests([self._folder / "again.csv"]) == manifest

    def _check_again(self, needed: tuple[str, ...], rows: list[TableRow]) -> None:
        with self._file.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, quoting=csv.QUOTE_ALL)
            table.writerow(needed)
            table.writerows([row.values[name] for name in needed] for row in rows)
        again = read_table(self._file, needed)
        assert [tuple(row.values[name] for name in needed) for row in again] == [
            tuple(row.values[name] for name in needed)
            for row in rows
            if any(same_form(row.values[name]) for name in needed)
        ]


def _check_message(error: Exception) -> None:
    text = str(error)
    assert text and len(text) < 20_000
    text.encode("utf-8", "backslashreplace")
