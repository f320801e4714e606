from __future__ import annotations

import numpy as np

from ctcedge.quality.outline import is_compact, separation


def test_a_line_is_not_two_cells() -> None:
    outline = np.array([[[x, 5]] for x in (*range(30), *range(28, 0, -1))], np.int32)
    assert separation(outline) is None
    assert not is_compact(outline)
