"""Folders to report on: drawn crops, and sidecars written by hand, without a model."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from ctcedge.discovery.naming import Naming
from ctcedge.report import write_report
from ctcedge.report.cells import Cell, read_contents
from ctcedge.sidecars.scan import scan_sidecars
from tests.helpers.drawn_cells import cell, encoded

MODEL = {"name": "by-hand", "version": "1", "sha256": "a" * 64, "variant": "int8"}

CLUSTER = ("S1", "00004")
"""The only cluster: first in the gallery, although its probability is low."""


def record(sample: str, name: str, image: bytes, probability: float, **other: Any) -> Any:
    """A sidecar's content; the call follows from the probability unless it is given."""
    call = "CTC" if probability >= 0.6 else "review" if probability >= 0.4 else "leukocyte"
    return {
        "schema": "ctcedge/sidecar/3",
        "status": "classified",
        "call": call,
        "probability": probability,
        "prior": 0.5,
        "threshold": 0.5,
        "review_band": [0.4, 0.6],
        "operating_point": None,
        "score": None,
        "reasons": ["near-threshold"] if call == "review" else [],
        "cluster": False,
        "quality": {"reasons": []},
        "ood": None,
        "error": None,
        "sample": sample,
        "cell": name,
        "image": {
            "name": f"{name}_BF.png",
            "sha256": hashlib.sha256(image).hexdigest(),
            "bytes": len(image),
            "width": 64,
            "height": 64,
            "bit_depth": 8,
            "um_per_px": 0.5,
            "um_per_px_assumed": False,
        },
        "model": MODEL,
        "inference_sha256": "b" * 64,
        "settings_sha256": "c" * 64,
        "software": {"ctcedge": "0.1.0", "onnxruntime": "1.31.1", "provider": "cpu"},
        "created": "2026-11-24T00:00:00.000Z",
        "review": None,
        "history": [],
        **other,
    }


def add(folder: Path, sample: str, name: str, probability: float, **other: Any) -> Path:
    """Add a crop with its sidecar; the same arguments give the same bytes."""
    seed = int(
        hashlib.sha256(f"{sample}/{name}".encode("utf-8", "backslashreplace")).hexdigest(), 16
    )
    noise = np.random.default_rng(seed).normal(0, 2, (64, 64))
    image = encoded(np.clip(cell(16 + 20 * probability) + noise, 0, 255).astype(np.uint8))
    path = folder / sample / f"{name}_BF.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image)
    content = record(sample, name, image, probability, **other)
    path.with_name(path.name + ".ctc.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def run_of(folder: Path, leukocytes: int = 12) -> Path:
    """A small run of two samples: a cluster, CTCs, cells to review, and leukocytes."""
    add(folder, "S1", "00001", 0.97)
    add(folder, "S1", "00002", 0.5)
    add(folder, "S2", "00003", 0.99)
    add(folder, *CLUSTER, 0.01, cluster=True)
    add(folder, "S2", "00005", 0.2, call="review", reasons=["out-of-focus", "debris"])
    for number in range(6, 6 + leukocytes):
        add(folder, f"S{1 + number % 2}", f"{number:05}", round(0.3 / number, 6))
    for channel in ("DAPI", "PE"):
        (folder / "S2" / f"00003_{channel}.png").write_bytes(encoded(cell(20, background=20)))
    return folder


def write(folder: Path, **options: Any) -> Path:
    return write_report(folder, None, options.pop("out", None), Naming(), **options).path


def cells_of(folder: Path) -> list[Cell]:
    """The cells of a report, without writing it."""
    return read_contents(scan_sidecars(folder, None, Naming()))[0].cells


def data_of(page: Path) -> Any:
    """The data of a page."""
    text = page.read_text(encoding="utf-8")
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert match is not None
    return json.loads(match[1])
