"""What a person is asked to review: the candidates and, among them, a random draw of the rest.

Whoever looks at high scores alone never learns what was missed. So cells called leukocyte are drawn
at random and mixed in, and nothing tells them from the candidates: not the order, for both are
shuffled, and not the pictures, for both are shown in full. The draw and the order follow from the
images alone: a report made again of the same cells, or by a second reader, asks for the same ones.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ctcedge.report.cells import Cell

MOST_CANDIDATES = 1500
_LOTS = "ctcedge review list"
_LEAST_DRAWN, _SHARE_DRAWN, _MOST_DRAWN = 50, 0.005, 500
_BLOCK = 50  # candidates of a block have similar ranks: the best are looked at first


@dataclass(frozen=True, slots=True)
class ReviewList:
    """Cells to review, as places in the gallery.

    Attributes:
        order: all of them, in the order in which they are shown.
        drawn: those of the random draw.
        leukocytes: cells called leukocyte, from which they were drawn.
        left_out: candidates beyond the limit.
    """

    order: tuple[int, ...]
    drawn: tuple[int, ...]
    leukocytes: int
    left_out: int


def review_list(cells: Sequence[Cell]) -> ReviewList:
    """Choose and shuffle.

    Args:
        cells: in the order of the gallery.
    """

    def lot(index: int) -> bytes:
        return hashlib.sha256(f"{_LOTS} {cells[index].sha256}".encode()).digest()

    called = [index for index, cell in enumerate(cells) if cell.call != "leukocyte"]
    others = sorted(
        (index for index, cell in enumerate(cells) if cell.call == "leukocyte"), key=lot
    )
    candidates = called[:MOST_CANDIDATES]
    wanted = min(_MOST_DRAWN, _LEAST_DRAWN + math.ceil(_SHARE_DRAWN * len(others)))
    drawn = others[:wanted]
    blocks = math.ceil(len(candidates) / _BLOCK) or 1
    order: list[int] = []
    for block in range(blocks):
        mixed = candidates[block * _BLOCK : (block + 1) * _BLOCK] + drawn[block::blocks]
        order += sorted(mixed, key=lot)
    return ReviewList(tuple(order), tuple(drawn), len(others), len(called) - len(candidates))
