"""What each kind of file is given to, and the exceptions that are its documented answer."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from msgspec import structs

from ctcedge.classification.analysis import CellAnalysis
from ctcedge.classification.decision import DecisionRule
from ctcedge.classification.fingerprints import settings_sha256
from ctcedge.classification.golden import read_golden
from ctcedge.discovery.naming import Crop, Naming
from ctcedge.errors import BadImage, ModelError, SettingsError
from ctcedge.images.decode import decode
from ctcedge.images.preprocess import network_input
from ctcedge.model.folder import Model, load_model
from ctcedge.model.session import open_engine
from ctcedge.model.spec import PinnedFile
from ctcedge.quality.checks import assess
from ctcedge.records import plain
from ctcedge.results.consistency import CallCheck
from ctcedge.settings import DecisionSettings, load_settings
from ctcedge.sidecars.chain import alterations, chained
from ctcedge.sidecars.schema import Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore
from tests.fuzz import seeds
from tests.fuzz.text_targets import TextTargets
from tests.helpers import drawn_cells

_CROP = Crop("S/1_BF.png", "S", "1", "BF")
_CELL = drawn_cells.cell()
_NAMES = ("1_BF.png", "a/run1/00034_BF.png", "x" * 200 + ".png", "1" * 200, "\udcff\n.tif")


class Targets:
    """Everything that reads what comes from outside.

    Args:
        folder: an empty folder to work in.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._model_folder = folder / "model"
        self._model_folder.mkdir()
        for name, data in seeds.model_files().items():
            (self._model_folder / name).write_bytes(data)
        self._model = load_model(self._model_folder)
        self._policy = DecisionRule.of(self._model.spec, DecisionSettings(prevalence=0.001))
        self._sidecars = SidecarStore(folder / "in", folder / "out")
        self._sidecars.path(_CROP).parent.mkdir(parents=True)
        self._text = TextTargets(folder / "text")
        self._call_check = CallCheck({"0" * 64: self._model})
        logging.getLogger("ctcedge").addHandler(logging.NullHandler())
        self._by_name: dict[str, Callable[[bytes], None]] = {
            "png": self._image,
            "tiff": self._image,
            "sidecar": self._sidecar,
            "settings": self._settings,
            "pattern": _pattern,
            "table": self._text.table,
            "corrections": self._text.corrections,
            "controls": self._text.controls,
            "model": self._spec,
            "golden": self._golden,
            "graph": self._graph,
        }

    def feed(self, name: str, data: bytes) -> None:
        """Give the bytes to their target; any exception is a finding."""
        self._by_name[name](data)

    def _image(self, data: bytes) -> None:
        try:
            decoded = decode(data)
        except BadImage:
            return
        header = decoded.header
        assert decoded.pixels.shape == (header.height, header.width)
        assert decoded.pixels.dtype == (np.uint8 if header.bits == 8 else np.uint16)
        spec = self._model.spec.input
        made = network_input(decoded.pixels, 0.5, spec)
        assert made.shape == (spec.size, spec.size)
        for um_per_px in (0.5, None):
            (quality,) = assess([decoded.image], made[None], um_per_px, spec)
            assert all(map(math.isfinite, quality.measures.values()))

    def _sidecar(self, data: bytes) -> None:
        self._sidecars.path(_CROP).write_bytes(data)
        try:
            record = self._sidecars.read(_CROP)
        except NotWritten:
            return
        if record is not None:
            if analysis := CellAnalysis.from_sidecar(record):
                self._policy.decide_score(analysis.score, analysis.review_flags)
            assert msgspec.convert(msgspec.to_builtins(record), Sidecar) == record
            self._call_check.problem(record)
            alterations(record)
            assert not alterations(chained(record, None))
            self._sidecars.write(_CROP, record)
            assert self._sidecars.read(_CROP) is not None

    def _settings(self, data: bytes) -> None:
        path = self._folder / "ctcedge.toml"
        path.write_bytes(data)
        for config in (None, path):
            try:
                images = load_settings(self._folder, config).images
                naming = images.naming()
            except SettingsError:
                continue
            settings_sha256(images, self._model.spec, self._policy)
            for name in _NAMES:
                naming.read(name, "S")
                naming.ignore.reason(name, folder=False)

    def _spec(self, data: bytes) -> None:
        path = self._model_folder / "model.json"
        before = path.read_bytes()
        path.write_bytes(data)
        try:
            model = load_model(self._model_folder)
            for pinned in (*model.spec.graphs.values(), model.spec.card):
                model.read(pinned)
        except ModelError:
            return
        finally:
            path.write_bytes(before)
        made = network_input(_CELL, 0.5, model.spec.input)
        assert made.shape == (model.spec.input.size,) * 2
        json.dumps(plain(model.spec), allow_nan=False).encode("utf-8")

    def _golden(self, data: bytes) -> None:
        pinned = self._pinned("golden.npz", data)
        golden = structs.replace(self._model.spec.golden, file=pinned)
        spec = structs.replace(self._model.spec, golden=golden)
        try:
            found = read_golden(Model(self._model_folder, spec, ""))
        except ModelError:
            return
        for crop, um_per_px in zip(found.crops, found.um_per_px, strict=True):
            network_input(crop, float(um_per_px), spec.input)

    def _graph(self, data: bytes) -> None:
        graphs = {"int8": self._pinned("model.int8.onnx", data)}
        spec = structs.replace(self._model.spec, graphs=graphs)
        try:
            engine = open_engine(Model(self._model_folder, spec, ""), "cpu")
        except ModelError:
            return
        engine.infer(np.zeros((3, spec.input.size, spec.input.size), np.uint8))

    def _pinned(self, name: str, data: bytes) -> PinnedFile:
        (self._model_folder / name).write_bytes(data)
        return PinnedFile(name, hashlib.sha256(data).hexdigest(), len(data))


def _pattern(data: bytes) -> None:
    content = json.loads(data)
    try:
        naming = Naming(content["pattern"])
        for name in content["names"]:
            if isinstance(crop := naming.read(name, "S"), Crop):
                naming.channel_spans(crop.path)
    except SettingsError:
        return
