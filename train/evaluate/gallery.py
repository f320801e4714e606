"""Example cells: correct and wrong calls of high certainty, and uncertain ones."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.images.decode import GreyImage, decode

from ..data.manifest import Row
from .scoring import ScoredCells

_PER_GALLERY = 6
_MAX_SIDE = 256
_STRETCH = (0.5, 99.5)


@dataclass(frozen=True, slots=True)
class Picture:
    """One cell.

    Attributes:
        sample: of the cell.
        cell: of the cell.
        label: `CTC` or `other`.
        probability: of CTC.
        call: of the runtime.
        reasons: for review.
        width: of the crop, with unit.
        png: bright field, its contrast stretched, base64.
    """

    sample: str
    cell: str
    label: str
    probability: float
    call: str
    reasons: tuple[str, ...]
    width: str
    png: str


def galleries(scored: ScoredCells) -> dict[str, list[Picture]]:
    """Return examples of labelled cells by heading; their images are read again."""
    scores, positive = scored.scores, scored.cells.positive
    surest = np.argsort(-scores.certainty, kind="stable")
    surest = surest[scored.known[surest]]
    right, ctc = (scores.called == positive)[surest], positive[surest]
    chosen = {
        "Correct: CTCs called CTC with the greatest certainty": surest[right & ctc],
        "Correct: negatives called negative with the greatest certainty": surest[right & ~ctc],
        "Wrong: CTCs missed with the greatest certainty": surest[~right & ctc],
        "Wrong: negatives called CTC with the greatest certainty": surest[~right & ~ctc],
        "Uncertain: CTCs nearest to the threshold": surest[ctc][::-1],
        "Uncertain: negatives nearest to the threshold": surest[~ctc][::-1],
    }
    return {
        heading: [_picture(scored, int(index)) for index in rows[:_PER_GALLERY]]
        for heading, rows in chosen.items()
        if rows.size
    }


def _picture(scored: ScoredCells, index: int) -> Picture:
    row, verdict = scored.rows[index], scored.verdicts[index]
    pixels = decode(row.images[BRIGHT_FIELD].read_bytes()).pixels
    return Picture(
        sample=row.sample_id,
        cell=row.cell,
        label=row.label,
        probability=verdict.probability,
        call=verdict.call,
        reasons=verdict.reasons,
        width=_width(row, pixels.shape[1]),
        png=base64.b64encode(_png(pixels)).decode(),
    )


def _width(row: Row, pixels: int) -> str:
    return f"{pixels} px" if row.um_per_px is None else f"{pixels * row.um_per_px:.0f} um"


def _png(pixels: GreyImage) -> bytes:
    low, high = np.percentile(pixels, _STRETCH)
    grey = np.clip((pixels - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
    shrink = _MAX_SIDE / max(grey.shape)
    if shrink < 1:
        grey = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", grey)[1].tobytes()
