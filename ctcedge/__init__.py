"""ctcedge: detects circulating tumour cells (CTCs) in bright-field crops.

Research software, not a diagnostic.

    import ctcedge

    classifier = ctcedge.Classifier.load()
    for prediction in classifier.classify(images, um_per_px=0.5):
        print(prediction.call, prediction.probability)

    for outcome in ctcedge.classify_folder("/deparray/out", out="/data/calls"):
        print(outcome.crop.cell, outcome.call)
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctcedge.classification.classifier import Classifier as Classifier
    from ctcedge.classification.decision import Prediction as Prediction
    from ctcedge.discovery.naming import Crop as Crop
    from ctcedge.errors import CtcEdgeError as CtcEdgeError
    from ctcedge.pipeline.outcome import Outcome as Outcome
    from ctcedge.pipeline.run import classify_folder as classify_folder
    from ctcedge.version import __version__ as __version__

# ONNX Runtime reports its use to its maker unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Imported on first use, so that `ctcedge --help` does not load ONNX Runtime.
_HOMES = {
    "Classifier": "ctcedge.classification.classifier",
    "Crop": "ctcedge.discovery.naming",
    "CtcEdgeError": "ctcedge.errors",
    "Outcome": "ctcedge.pipeline.outcome",
    "Prediction": "ctcedge.classification.decision",
    "__version__": "ctcedge.version",
    "classify_folder": "ctcedge.pipeline.run",
}
__all__ = [
    "Classifier",
    "Crop",
    "CtcEdgeError",
    "Outcome",
    "Prediction",
    "__version__",
    "classify_folder",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ctcedge' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
