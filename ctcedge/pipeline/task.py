"""The states of a crop on its way through the pipeline, one type for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ctcedge.classification.analysis import CellAnalysis
from ctcedge.discovery.naming import Crop
from ctcedge.errors import BadImage
from ctcedge.images.decode import Decoded
from ctcedge.pipeline.outcome import Outcome
from ctcedge.pipeline.records import ImageFacts
from ctcedge.sidecars.schema import Sidecar


class Request(NamedTuple):
    """A crop whose files are to be read.

    Attributes:
        crop: the crop.
        is_new: whether it is known to have no sidecar, which then is not searched for.
    """

    crop: Crop
    is_new: bool


class CropFile(NamedTuple):
    """A crop, and what is known of its image."""

    crop: Crop
    image: ImageFacts


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do.

    Attributes:
        outcome: what became of the crop.
        is_current: whether its sidecar needs no further run, so that the index may record it.
    """

    outcome: Outcome
    is_current: bool = False


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The sidecar is current, but follows an older schema: it is rewritten, its content kept."""

    file: CropFile
    sidecar: Sidecar


@dataclass(frozen=True, slots=True)
class Rescore:
    """Only the decision changed: the call follows from the stored analysis, without inference."""

    file: CropFile
    analysis: CellAnalysis


@dataclass(frozen=True, slots=True)
class Infer:
    """The image was decoded and waits for inference."""

    file: CropFile
    decoded: Decoded


@dataclass(frozen=True, slots=True)
class Prepared:
    """The image is in a batch for inference; its pixels are not held any longer."""

    file: CropFile


@dataclass(frozen=True, slots=True)
class Failed:
    """The image cannot be classified; where it is unreadable, that may be temporary."""

    file: CropFile
    error: BadImage


@dataclass(frozen=True, slots=True)
class Write:
    """A new sidecar is to be written.

    Attributes:
        file: the crop.
        result: what its sidecar will contain.
        rescored: whether the analysis was stored, so that no inference was needed.
    """

    file: CropFile
    result: CellAnalysis | BadImage
    rescored: bool = False


CropTask: TypeAlias = Done | Upgrade | Rescore | Infer | Failed
"""State of a crop after its files were read."""

ReadyTask: TypeAlias = Done | Upgrade | Rescore | Prepared | Failed
"""State of a crop once its batch is complete."""

WriteTask: TypeAlias = Done | Upgrade | Write | Failed
"""State of a crop after inference; `Failed` remains where the image is unreadable."""
