"""A model with a session: arrays in, verdicts out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ctcedge.classification.analysis import CellAnalysis, InferenceProvenance
from ctcedge.classification.decision import Policy, Verdict, rounded_score
from ctcedge.classification.ood import OodDetector, OodScore
from ctcedge.errors import BadImage
from ctcedge.images.decode import GreyImage
from ctcedge.images.preprocess import network_inputs
from ctcedge.model.failover import RecoveringEngine
from ctcedge.model.folder import Model, load_model
from ctcedge.model.session import Engine, ModelOutput, open_engine
from ctcedge.quality.checks import Quality, assess
from ctcedge.settings import DecisionSettings, OperatingPointName, ProviderChoice


class Seen(NamedTuple):
    """An image made ready.

    Attributes:
        input: (size, size) uint8, what the network sees.
        quality: what the gate says of the image.
    """

    input: NDArray[np.uint8]
    quality: Quality


class Answered(NamedTuple):
    """What the network said of some crops.

    Attributes:
        inputs: (n, size, size) uint8, what it saw.
        answers: what it said.
        ran: by what.
    """

    inputs: NDArray[np.uint8]
    answers: ModelOutput
    ran: InferenceProvenance


class Judged(NamedTuple):
    """What network and guard say of one crop.

    Attributes:
        score: its logit, from `decide.rounded_score`.
        unlike: how unlike the training data it is; None where the model does not tell.
        ran: by what the score was computed.
    """

    score: float
    unlike: OodScore | None
    ran: InferenceProvenance


@dataclass(frozen=True, slots=True)
class Classifier:
    """Calls cells from bright-field crops.

    Attributes:
        model: the model folder.
        policy: how scores become calls.
        inference: its session, opened anew where it fails.
        ood_detector: scores how far crops are from the training data; None where the model has no
            feature statistics.
    """

    model: Model
    policy: Policy
    inference: RecoveringEngine
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
            operating_point: of the model; None for the model's own decision.
            prevalence: share of CTCs that probabilities assume; None for the model's own prior.

        Raises:
            ModelError: the model cannot be used.
            SettingsError: the model has no such operating point.
            ProviderError: the chosen provider does not run here.
            ValueError: the prevalence does not lie between 0 and 1.
        """
        decision = DecisionSettings(operating_point, prevalence)
        return cls.open(load_model(model), provider, decision)

    @classmethod
    def open(
        cls,
        model: Model,
        provider: ProviderChoice = "auto",
        decision: DecisionSettings | None = None,
        gpu_memory_mb: int | None = None,
    ) -> Classifier:
        """Open a session for a model that is loaded; as `load` otherwise.

        Args:
            model: the model.
            provider: where to run.
            decision: how probabilities become calls.
            gpu_memory_mb: most memory of a GPU to take, MiB; None for no limit.
        """
        policy = Policy.of(model.spec, decision or DecisionSettings())
        model.check_files()
        open_session = partial(open_engine, gpu_memory_mb=gpu_memory_mb)
        inference = RecoveringEngine(model, provider, open_session)
        return cls(model, policy, inference, OodDetector.load(model))

    @property
    def engine(self) -> Engine:
        """The session in use."""
        return self.inference.current

    @property
    def onnxruntime_version(self) -> str:
        """Version of the installed ONNX Runtime."""
        return str(ort.__version__)

    @property
    def ran(self) -> InferenceProvenance:
        """What a score that is computed now is computed by."""
        return self._ran(self.engine)

    def _ran(self, engine: Engine) -> InferenceProvenance:
        return InferenceProvenance(engine.variant, engine.provider, self.onnxruntime_version)

    def classify(
        self, images: Sequence[GreyImage], um_per_px: float | None = None
    ) -> list[Verdict]:
        """Classify bright-field crops, by the same rules as the command line.

        Args:
            images: each (height, width), uint8 or uint16, at least 8 pixels a side.
            um_per_px: edge length of their pixels, um; None assumes the model's own. A model that
                knows no um/px ignores it: crops must then be as those that it was trained on.

        Raises:
            ValueError: an image is not such an array, or um/px not between 0.01 and 20.
            BadImage: the network gave no number for an image.
        """
        for image in images:
            if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16) or min(image.shape) < 8:
                raise ValueError(
                    "an image must be (height, width) of uint8 or uint16, 8 px or more"
                )
        if um_per_px is not None and not 0.01 <= um_per_px <= 20:
            raise ValueError("um/px must lie between 0.01 and 20")
        if not images:
            return []
        known = None if self.model.spec.input.um_per_px is None else um_per_px
        seen = self.look([(each, None) for each in images], known)
        judged = self.judge(np.stack([each.input for each in seen]))
        verdicts = []
        for each, result in zip(seen, judged, strict=True):
            if isinstance(result, BadImage):
                raise result
            verdicts.append(self.verdict(result, each.quality))
        return verdicts

    def verdict(self, judged: Judged, quality: Quality) -> Verdict:
        """Decide on one cell by what network, guard and quality gate say of it."""
        found = CellAnalysis.of(judged.score, quality, judged.unlike, judged.ran)
        return replace(self.policy.verdict(found.score, found.review_flags), cluster=found.cluster)

    def look(
        self, images: Sequence[tuple[GreyImage, int | None]], um_per_px: float | None
    ) -> list[Seen]:
        """Make images ready and judge their quality; many threads may.

        Args:
            images: of each its pixels, (height, width) of uint8 or uint16, and the bits of a
                sample as stored, None where that is not known.
            um_per_px: edge length of their pixels, um; None where unknown, see `identity.scale`.
        """
        if not images:
            return []
        spec = self.model.spec.input
        windows = network_inputs([pixels for pixels, _ in images], um_per_px, spec)
        quality = assess(images, windows, um_per_px, spec)
        return [Seen(*each) for each in zip(windows, quality, strict=True)]

    def answer(self, inputs: NDArray[np.uint8]) -> Answered:
        """Run the network, for most of the time without Python's lock.

        Args:
            inputs: (n, size, size) uint8, made by `preprocess.network_input`.
        """
        answers, engine = self.inference.answer(inputs)
        return Answered(inputs, answers, self._ran(engine))

    def judged(self, answered: Answered) -> list[Judged | BadImage]:
        """What follows from the network's answers; where they are no number, the image is bad."""
        inputs, answers, ran = answered
        logits = answers.logits.astype(np.float64).tolist()
        unlike: list[OodScore] | list[None] = [None] * len(logits)
        if self.ood_detector is not None and answers.features is not None:
            unlike = self.ood_detector.score(inputs, answers.features)
        return [_judged(logit, far, ran) for logit, far in zip(logits, unlike, strict=True)]

    def judge(self, inputs: NDArray[np.uint8]) -> list[Judged | BadImage]:
        """Run the network and say what follows; arguments as of `answer`."""
        return self.judged(self.answer(inputs))


def _judged(logit: float, unlike: OodScore | None, ran: InferenceProvenance) -> Judged | BadImage:
    if not math.isfinite(logit) or (unlike and not math.isfinite(unlike.distance)):
        return BadImage("unsupported", "the network gave no number for this image")
    return Judged(rounded_score(logit), unlike, ran)
