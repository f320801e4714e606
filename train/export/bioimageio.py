"""A model as a bioimage.io package: one zip file that other programs of microscopy can run.

bioimageio.yaml   the description; JSON, which is YAML too
model.onnx        from a crop's grey levels to the probability of CTC
test_input.npy    crops, and
test_output.npy   their probabilities, which the catalogue's test computes again
README.md         what the model is, its input, its calls and its limits
model_card.md     the model card
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from ctcedge.classification.golden import read_golden
from ctcedge.errors import CtcEdgeError
from ctcedge.fs.files import atomic_write
from ctcedge.images.preprocess import InputSpec, border_indices, network_inputs
from ctcedge.model.folder import Model, load_model, shipped_models
from ctcedge.model.spec import ModelSpec, Variant
from ctcedge.times import rfc3339
from ctcedge.version import __version__

from ..metrics.onnx_scores import probabilities, run_graph
from .package_readme import readme
from .standalone import CROP_NAME, PROBABILITY_NAME, run_standalone, standalone_graph

FORMAT = "0.5.4"
DESCRIPTION_NAME = "bioimageio.yaml"
SHIPPED_AUTHOR = "The ctcedge developers"
SHIPPED_LICENCE = "Apache-2.0"

STUDY = (
    "Russo et al. 2025, arXiv:2503.03410, the study whose method ctcedge follows",
    "10.48550/arXiv.2503.03410",
)
"""The study whose method ctcedge follows, and its DOI."""

TEST_TOOL = "'bioimageio.core==0.11.0' 'pydantic<2.14' onnxruntime"
"""What pip installs for the catalogue's test; never beside ctcedge."""

_TOLERANCE = 1e-4
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # of files in a zip
_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
_DOI = re.compile(r"10\.[0-9]{4,9}/\S{1,200}")


class PackageError(CtcEdgeError):
    """A model cannot be packed."""


@dataclass(frozen=True, slots=True)
class PackageSettings:
    """What a package states that no model folder holds.

    Attributes:
        authors: of the model; empty for those of a shipped model.
        licence: SPDX name, such as CC-BY-4.0; empty for that of a shipped model.
        dois: of articles on the model, to cite beside the study.
    """

    authors: tuple[str, ...] = ()
    licence: str = ""
    dois: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.licence and not _LICENCE.fullmatch(self.licence):
            raise PackageError(
                f"--licence '{self.licence}' is no SPDX name, such as CC-BY-4.0 or Apache-2.0"
            )
        for doi in self.dois:
            if not _DOI.fullmatch(doi):
                raise PackageError(f"--doi '{doi}' is no DOI, such as {STUDY[1]}")
        for author in self.authors:
            if not (author.strip() and author.isprintable()) or re.search(r"[/\\]", author):
                raise PackageError(f"--author '{author}' is no name of a person or a group")

    def completed(self, model: Model) -> PackageSettings:
        """Return the settings with those of a shipped model where none are given.

        Raises:
            PackageError: the model is another one, whose authors or licence are not given.
        """
        if self.authors and self.licence:
            return self
        shipped = {load_model(name).sha256 for name in shipped_models()}
        if model.sha256 not in shipped:
            raise PackageError(
                "give the model's authors and licence, such as --author 'Jane Doe' --licence"
                " CC-BY-4.0"
            )
        return PackageSettings(
            self.authors or (SHIPPED_AUTHOR,), self.licence or SHIPPED_LICENCE, self.dois
        )


def package(model: Model, path: Path, settings: PackageSettings) -> PackageSettings:
    """Write the package of a model; return what it states.

    Args:
        model: from its folder.
        path: of the zip file; replaced if it is there.
        settings: authors, licence and articles; those of a shipped model may be left out.

    Raises:
        PackageError: authors or licence are missing, or the packed graph gives other
            probabilities than the runtime.
        ModelError: the model is damaged.
    """
    settings = settings.completed(model)
    spec = model.spec
    variant: Variant = "fp32" if "fp32" in spec.graphs else "int8"
    graph = model.read_graph(variant)
    packed = standalone_graph(graph, spec.input, spec.calibration)
    crops = test_crops(model)
    outputs = run_standalone(packed, crops[:, None].astype(np.float32))
    inputs = network_inputs(list(crops), spec.input.um_per_px, _of_this_size(spec.input))
    expected = probabilities(run_graph(graph, inputs), spec.calibration)
    difference = float(np.abs(outputs[:, 0] - expected).max())
    if not difference <= _TOLERANCE:
        raise PackageError(
            f"{model.folder}: the packed graph gives probabilities that differ by {difference:.2g}"
            " from those of ctcedge"
        )
    contents = {
        "model.onnx": packed,
        "test_input.npy": _npy(crops[:, None].astype(np.float32)),
        "test_output.npy": _npy(outputs),
        "README.md": readme(model, variant, settings.licence).encode(),
        "model_card.md": model.read(spec.card),
    }
    description = json.dumps(_description(model, variant, settings, contents), indent=2)
    contents[DESCRIPTION_NAME] = f"{description}\n".encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, _zip(contents), world_readable=True)
    return settings


def _of_this_size(spec: InputSpec) -> InputSpec:
    """Return the input for crops that have its pixel size already."""
    return spec if spec.crop_px is None else structs.replace(spec, crop_px=1.0)


def test_crops(model: Model) -> NDArray[np.uint8]:
    """Return the model's golden crops at its um/px, cropped or padded to its input: (n, s, s)."""
    golden, spec = read_golden(model), model.spec.input
    scales = [None] * len(golden.crops) if golden.um_per_px is None else golden.um_per_px.tolist()
    windows = (
        _window(crop, spec.zoom(um_per_px), spec)
        for crop, um_per_px in zip(golden.crops, scales, strict=True)
    )
    return np.stack(list(windows))


def _window(crop: NDArray[np.uint8], zoom: float, spec: InputSpec) -> NDArray[np.uint8]:
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(crop, None, fx=zoom, fy=zoom, interpolation=method)
    background = int(np.median(crop.take(border_indices(*crop.shape, spec.border))))
    window = np.full((spec.size, spec.size), background, np.uint8)
    height, width = (min(spec.size, length) for length in scaled.shape)
    top, left = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    y, x = (spec.size - height) // 2, (spec.size - width) // 2
    window[y : y + height, x : x + width] = scaled[top : top + height, left : left + width]
    return window


def _description(
    model: Model, variant: str, settings: PackageSettings, contents: dict[str, bytes]
) -> dict[str, Any]:
    spec = model.spec
    return {
        "type": "model",
        "format_version": FORMAT,
        "name": f"ctcedge {_plain_name(spec.name)}",
        "version": _semantic(spec.version),
        "description": (
            "Tells circulating tumour cells from leukocytes in bright-field crops of single cells."
            " Research software, not a diagnostic."
            + (" Trained on simulated cells only." if spec.demonstration else "")
        ),
        "authors": [{"name": name} for name in settings.authors],
        "license": settings.licence,
        "cite": [
            {"text": STUDY[0], "doi": STUDY[1]},
            *({"text": f"The model: {doi}", "doi": doi} for doi in settings.dois),
        ],
        "tags": [
            "ctcedge",
            "classification",
            "bright-field",
            "cells",
            "2d",
            "circulating-tumour-cells",
        ],
        "timestamp": rfc3339(datetime.now(UTC)),
        "documentation": "README.md",
        "attachments": [_file("model_card.md", contents)],
        "inputs": [_input(spec, contents)],
        "outputs": [_output(spec, contents)],
        "weights": {
            "onnx": {**_file("model.onnx", contents), "opset_version": spec.opset},
        },
        "config": {
            "ctcedge": {
                "version": __version__,
                "model_sha256": model.sha256,
                "graph": variant,
                "threshold": spec.decision.threshold,
                "review": list(spec.decision.review),
                "prior": spec.prior,
                "demonstration": spec.demonstration,
                "training": spec.training,
            }
        },
    }


def _input(spec: ModelSpec, contents: dict[str, bytes]) -> dict[str, Any]:
    size, um_per_px = spec.input.size, spec.input.um_per_px
    scale = {} if um_per_px is None else {"scale": um_per_px, "unit": "micrometer"}
    return {
        "id": CROP_NAME,
        "description": "Bright-field crop with one cell in the middle, in grey levels of any gain.",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": ["bright_field"]},
            {"type": "space", "id": "y", "size": size, **scale},
            {"type": "space", "id": "x", "size": size, **scale},
        ],
        "data": {"type": "float32"},
        "preprocessing": [{"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}],
        "test_tensor": _file("test_input.npy", contents),
    }


def _output(spec: ModelSpec, contents: dict[str, bytes]) -> dict[str, Any]:
    return {
        "id": PROBABILITY_NAME,
        "description": f"Probability of CTC where a fraction of {spec.prior:g} are CTCs.",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": ["ctc"]},
        ],
        "data": {"type": "float32", "range": [0, 1]},
        "test_tensor": _file("test_output.npy", contents),
    }


def _file(name: str, contents: dict[str, bytes]) -> dict[str, str]:
    return {"source": name, "sha256": hashlib.sha256(contents[name]).hexdigest()}


def _plain_name(name: str) -> str:
    """Return a name with the characters that the catalogue allows."""
    return re.sub(r"[^A-Za-z0-9_+\- ()]", "-", name)


def _semantic(version: str) -> str:
    """Return a version that the catalogue can compare; 0.1.0 for one that it cannot."""
    return version if re.fullmatch(r"\d+(\.\d+){0,3}", version) else "0.1.0"


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _zip(contents: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _EARLIEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, contents[name])
    return file.getvalue()
