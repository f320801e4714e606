"""The run of a pretraining: a folder with its settings, weights, and provenance.

Of the crops only names and digests are kept; the images are read again to continue.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctcedge.images.preprocess import InputSpec
from ctcedge.records import plain
from ctcedge.report.texts import plural

from ..fit.folder import PRETRAINING_NAME, WEIGHTS_NAME, save
from .crops import Crops, text_columns
from .settings import PretrainSettings


@dataclass(frozen=True, slots=True)
class PretrainingRun:
    """A pretraining.

    Attributes:
        folder: of the run.
        settings: of the pretraining.
        input: network input.
        stains: names of the channels besides bright field that are used.
        crops: unlabelled.
    """

    folder: Path
    settings: PretrainSettings
    input: InputSpec
    stains: tuple[str, ...]
    crops: Crops

    @property
    def finished(self) -> bool:
        """Whether the weights are final."""
        return (self.folder / WEIGHTS_NAME).is_file()

    def summary(self) -> str:
        """Return network, objectives and number of crops in one line."""
        samples = len(np.unique(self.crops.sample))
        stains = f" with {', '.join(self.stains)}" if self.stains else ""
        return (
            f"finished; {self.settings.network}; {' + '.join(self.settings.objectives)};"
            f" {plural(len(self.crops), 'crop')} of {plural(samples, 'sample')}{stains}"
        )

    def save(self) -> None:
        """Write settings and provenance; a folder with the same run is not changed.

        Raises:
            RunError: the folder contains another run, or something else.
        """
        provenance = self.crops.provenance()
        columns = {"provenance_" + name: column for name, column in provenance.columns().items()}
        save(self.folder, PRETRAINING_NAME, self._record(), columns | text_columns(self.crops))

    def _record(self) -> dict[str, Any]:
        total = hashlib.sha256()
        for images in (self.crops.bright, self.crops.stains, self.crops.has_stain):
            total.update(np.ascontiguousarray(images).data)
        for text in text_columns(self.crops).values():
            total.update("\n".join(text.tolist()).encode())
        return {
            "settings": self.settings.plain(),
            "input": plain(self.input),
            "stains": list(self.stains),
            "cells": total.hexdigest(),
        }
