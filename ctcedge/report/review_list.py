"""The review list: candidates, mixed with a random draw of cells called leukocyte.

A review of high scores alone cannot estimate the missed CTCs. So cells called leukocyte are drawn
at random and mixed with the candidates. A reader cannot distinguish them: both are shuffled, and
both have pictures in full size. The draw and the order depend on the images alone: another report
of the same cells, or a second reader's, contains the same list.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ctcedge.report.cells import Cell

MAX_CANDIDATES = 1500
_SEED = "ctcedge review list"
_MIN_DRAWN, _FRACTION_DRAWN, _MAX_DRAWN = 50, 0.005, 500
_BLOCK = 50  # candidates, of similar rank: the best are reviewed first


@dataclass(frozen=True, slots=True)
class ReviewList:
    """Cells to review, as indices of the gallery.

    Attributes:
        order: all cells of the list, in the order of the review.
        drawn: cells of the random draw.
        leukocytes: number of cells called leukocyte, from which they were drawn.
        left_out: number of candidates beyond the limit.
    """

    order: tuple[int, ...]
    drawn: tuple[int, ...]
    leukocytes: int
    left_out: int


def review_list(cells: Sequence[Cell]) -> ReviewList:
    """Return the review list of a report.

    Args:
        cells: in the order of the gallery.
    """

    def random_key(index: int) -> bytes:
        return hashlib.sha256(f"{_SEED} {cells[index].sha256}".encode()).digest()

    called = [index for index, cell in enumerate(cells) if cell.call != "leukocyte"]
    leukocytes = [index for index, cell in enumerate(cells) if cell.call == "leukocyte"]
    leukocytes.sort(key=random_key)
    candidates = called[:MAX_CANDIDATES]
    size = min(_MAX_DRAWN, _MIN_DRAWN + math.ceil(_FRACTION_DRAWN * len(leukocytes)))
    drawn = leukocytes[:size]
    blocks = math.ceil(len(candidates) / _BLOCK) or 1
    order: list[int] = []
    for block in range(blocks):
        mixed = candidates[block * _BLOCK : (block + 1) * _BLOCK] + drawn[block::blocks]
        order += sorted(mixed, key=random_key)
    return ReviewList(tuple(order), tuple(drawn), len(leukocytes), len(called) - len(candidates))
