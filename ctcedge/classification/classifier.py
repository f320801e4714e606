"""A model with a session: arrays in, predictions out.

There is one way to a call: `prepare` makes the network's inputs and checks the images' quality,
`infer` runs the network, `postprocess` combines both in a `CellAnalysis`, and the decision rule
turns that into a `Prediction`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctcedge.classification.analysis import CellAnalysis, InferenceProvenance
from ctcedge.classification.decision import DecisionRule, Prediction, rounded_score
from ctcedge.classification.ood import OodDetector, OodScore
from ctcedge.errors import BadImage
from ctcedge.images.decode import CropImage, GreyImage
from ctcedge.images.preprocess import network_inputs
from ctcedge.images.types import MIN_SIDE
from ctcedge.model.failover import EngineIdentity, FailoverEngine, Inference
from ctcedge.model.folder import Model, load_model
from ctcedge.model.session import RUNTIME_VERSION, Engine, ModelOutput, open_engine
from ctcedge.quality.checks import Quality, assess
from ctcedge.records import MAX_NUMBER
from ctcedge.settings import (
    DecisionSettings,
    OperatingPointName,
    ProviderChoice,
    Settings,
    merged,
    path_text,
)


class PreparedCrop(NamedTuple):
    """An image that is ready for inference.

    Attributes:
        input: (size, size) uint8, the network's input.
        quality: result of the quality check.
    """

    input: NDArray[np.uint8]
    quality: Quality


class BatchOutput(NamedTuple):
    """What the network computed for a batch.

    Attributes:
        inputs: (n, size, size) uint8.
        output: logits and features.
        provenance: what computed them.
    """

    inputs: NDArray[np.uint8]
    output: ModelOutput
    provenance: InferenceProvenance


@dataclass(frozen=True, slots=True)
class Classifier:
    """Classifies bright-field crops.

    Attributes:
        model: the model.
        rule: decision rule, from scores to calls.
        inference: session of the model, opened again where it fails; or that of another process.
        ood_detector: scores how far crops are from the training data; None where the model has no
            feature statistics.
    """

    model: Model
    rule: DecisionRule
    inference: Inference
    ood_detector: OodDetector | None

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        provider: ProviderChoice = "auto",
        operating_point: OperatingPointName | None = None,
        prevalence: float | None = None,
    ) -> Classifier:
        """Load a model and open its session.

        Args:
            model: a folder, the name of a shipped model, or None for the default model.
            provider: where to run; `auto` takes CUDA where it really runs, else the CPU.
            operating_point: name of an operating point; None for the model's own thresholds.
            prevalence: fraction of CTCs that probabilities assume; None for the training prior.

        Raises:
            ModelError: the model cannot be used.
            SettingsError: an argument does not fit, or the model has no such operating point.
            ProviderError: the chosen provider does not run here.
        """
        settings = merged(
            Settings(),
            model=None if model is None else path_text("model", model),
            provider=provider,
            decision={"operating_point": operating_point, "prevalence": prevalence},
        )
        return cls.open(load_model(settings.model), settings.provider, settings.decision)

    @classmethod
    def open(
        cls,
        model: Model,
        provider: ProviderChoice = "auto",
        decision: DecisionSettings | None = None,
        gpu_memory_mb: int | None = None,
    ) -> Classifier:
        """Open a session for a loaded model; raises as `load` does.

        Args:
            model: the model.
            provider: where to run.
            decision: operating point and prevalence.
            gpu_memory_mb: GPU memory limit, MiB; None for no limit.
        """
        rule = DecisionRule.of(model.spec, decision or DecisionSettings())
        model.check_files()
        open_session = partial(open_engine, gpu_memory_mb=gpu_memory_mb)
        inference = FailoverEngine(model, provider, open_session)
        return cls(model, rule, inference, OodDetector.load(model))

    def __repr__(self) -> str:
        spec, engine = self.model.spec, self.engine
        return f"<Classifier {spec.name} {spec.version}, {engine.variant} on {engine.provider}>"

    @property
    def engine(self) -> Engine:
        """The session in use; only where this process has one."""
        if not isinstance(self.inference, FailoverEngine):
            raise TypeError("the session is in another process")
        return self.inference.current

    @property
    def onnxruntime_version(self) -> str:
        """Version of the installed ONNX Runtime."""
        return RUNTIME_VERSION

    @property
    def provenance(self) -> InferenceProvenance:
        """What would compute a score now."""
        return self._provenance(self.inference.current)

    def _provenance(self, engine: EngineIdentity) -> InferenceProvenance:
        return InferenceProvenance(engine.variant, engine.provider, self.onnxruntime_version)

    def classify(
        self, images: Iterable[GreyImage], um_per_px: float | None = None
    ) -> list[Prediction]:
        """Classify bright-field crops, by the same rules as the command line.

        Args:
            images: arrays (height, width) of uint8 or uint16, at least 8 pixels a side.
            um_per_px: edge length of their pixels, um; None assumes the model's own. A model that
                has no um/px ignores it: crops must then be as those that it was trained on.

        Raises:
            ValueError: an image is not such an array, or um/px not between 0.01 and 20.
            BadImage: the network gave no number for an image.
        """
        images = _checked_images(images)
        if um_per_px is not None:
            _check_um_per_px(um_per_px)
        known = None if self.model.spec.input.um_per_px is None else um_per_px
        predictions = []
        for result in self.analyze(self.prepare([CropImage(image) for image in images], known)):
            if isinstance(result, BadImage):
                raise result
            predictions.append(self.rule.decide(result))
        return predictions

    def prepare(self, images: Sequence[CropImage], um_per_px: float | None) -> list[PreparedCrop]:
        """Make the network's inputs and check the images' quality; safe to call from many threads.

        Args:
            images: the crops.
            um_per_px: edge length of their pixels, um; None where unknown, see
                `fingerprints.known_pixel_size`.
        """
        if not images:
            return []
        spec = self.model.spec.input
        windows = network_inputs([image.pixels for image in images], um_per_px, spec)
        quality = assess(images, windows, um_per_px, spec)
        return list(map(PreparedCrop, windows, quality))

    def infer(self, inputs: NDArray[np.uint8]) -> BatchOutput:
        """Run the network; most of the time without Python's lock.

        Args:
            inputs: (n, size, size) uint8, the inputs of `prepare`.
        """
        output, engine = self.inference.infer(inputs)
        return BatchOutput(inputs, output, self._provenance(engine))

    def postprocess(
        self, quality: Sequence[Quality], batch: BatchOutput
    ) -> list[CellAnalysis | BadImage]:
        """Combine quality, score and out-of-distribution score of each crop of a batch.

        Args:
            quality: of each crop of the batch, from `prepare`.
            batch: from `infer`.

        Returns:
            The analysis of each crop; `BadImage` where the network gave no finite number.
        """
        inputs, output, provenance = batch
        logits = output.logits.astype(np.float64).tolist()
        ood: Sequence[OodScore | None] = [None] * len(logits)
        if self.ood_detector is not None and output.features is not None:
            ood = self.ood_detector.score(inputs, output.features)
        return [_analysis(*crop, provenance) for crop in zip(logits, quality, ood, strict=True)]

    def analyze(self, crops: Sequence[PreparedCrop]) -> list[CellAnalysis | BadImage]:
        """Infer and postprocess one batch of prepared crops."""
        if not crops:
            return []
        output = self.infer(np.stack([crop.input for crop in crops]))
        return self.postprocess([crop.quality for crop in crops], output)


def _analysis(
    logit: float, quality: Quality, ood: OodScore | None, provenance: InferenceProvenance
) -> CellAnalysis | BadImage:
    finite = abs(logit) <= MAX_NUMBER and (ood is None or ood.distance <= MAX_NUMBER)
    if not finite:
        return BadImage("unsupported", "the network gave no number for this image")
    return CellAnalysis.of(rounded_score(logit), quality, ood, provenance)


def _checked_images(images: Iterable[GreyImage]) -> list[GreyImage]:
    if not isinstance(images, Iterable) or (isinstance(images, np.ndarray) and images.ndim == 2):
        raise ValueError("images must be a list of arrays; for one image give [image]")
    images = list(images)
    for image in images:
        if (
            not isinstance(image, np.ndarray)
            or image.ndim != 2
            or image.dtype not in (np.uint8, np.uint16)
            or min(image.shape) < MIN_SIDE
        ):
            found = type(image).__name__
            if isinstance(image, np.ndarray):
                found = f"{image.shape} of {image.dtype}"
            raise ValueError(
                "an image must be an array (height, width) of uint8 or uint16,"
                f" {MIN_SIDE} px or more a side, not {found}"
            )
    return images


def _check_um_per_px(um_per_px: float) -> None:
    number = isinstance(um_per_px, Real) and not isinstance(um_per_px, bool)
    if not number or not 0.01 <= um_per_px <= 20:
        raise ValueError(f"um/px must be a number between 0.01 and 20, not {um_per_px!r:.60}")
