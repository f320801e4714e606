"""A model with a session: arrays in, verdicts out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ctcedge.decide import Verdict, decide, probability
from ctcedge.decode import GreyImage
from ctcedge.engine import Engine
from ctcedge.errors import BadImage
from ctcedge.model import Model, load_model
from ctcedge.preprocess import network_input
from ctcedge.recovery import RecoveringEngine
from ctcedge.settings import ProviderChoice


@dataclass(frozen=True, slots=True)
class Classifier:
    """Calls cells from bright-field crops.

    Attributes:
        model: the model folder.
        inference: its session, opened anew where it fails.
    """

    model: Model
    inference: RecoveringEngine

    @classmethod
    def load(cls, model: str | Path | None = None, provider: ProviderChoice = "auto") -> Classifier:
        """Load a model and open its session.

        Args:
            model: a folder, the name of a shipped model, or None for the default model.
            provider: where to run; `auto` takes CUDA where it really runs, else the CPU.

        Raises:
            ModelError: the model cannot be used.
            ProviderError: the chosen provider does not run here.
        """
        return cls.open(load_model(model), provider)

    @classmethod
    def open(cls, model: Model, provider: ProviderChoice = "auto") -> Classifier:
        """Open a session for a model that is loaded; as `load` otherwise."""
        model.check_files()
        return cls(model, RecoveringEngine(model, provider))

    @property
    def engine(self) -> Engine:
        """The session in use."""
        return self.inference.current

    @property
    def onnxruntime_version(self) -> str:
        """Version of the installed ONNX Runtime."""
        return str(ort.__version__)

    def classify(
        self, images: Sequence[GreyImage], um_per_px: float | None = None
    ) -> list[Verdict]:
        """Classify bright-field crops.

        Args:
            images: each (height, width), uint8 or uint16, at least 8 pixels a side.
            um_per_px: edge length of their pixels, um; None assumes the model's own. A model that
                knows no um/px ignores it: crops must then be as those that it was trained on.

        Raises:
            ValueError: an image is not such an array, or um/px not between 0.01 and 20.
            BadImage: the network gave no number for an image.
        """
        spec = self.model.spec.input
        for image in images:
            if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16) or min(image.shape) < 8:
                raise ValueError(
                    "an image must be (height, width) of uint8 or uint16, 8 px or more"
                )
        if um_per_px is not None and not 0.01 <= um_per_px <= 20:
            raise ValueError("um/px must lie between 0.01 and 20")
        if not images:
            return []
        verdicts = []
        for result in self.judge(np.stack([network_input(i, um_per_px, spec) for i in images])):
            if isinstance(result, BadImage):
                raise result
            verdicts.append(result)
        return verdicts

    def judge(self, inputs: NDArray[np.uint8]) -> list[Verdict | BadImage]:
        """Run the network and decide; a crop for which it gives no number is a bad image.

        Args:
            inputs: (n, size, size) uint8, made by `preprocess.network_input`.
        """
        return [self._decide(float(logit)) for logit in self.inference.logits(inputs)]

    def _decide(self, logit: float) -> Verdict | BadImage:
        if not math.isfinite(logit):
            return BadImage("unsupported", "the network gave no number for this image")
        spec = self.model.spec
        return decide(probability(logit, spec.calibration), spec.decision)
