"""Simulator of DEPArray-like single-cell image exports.

There is no public DEPArray data: the shipped model is trained on these images. Each cell is a map
of optical path, imaged by angular-spectrum propagation through a hospital's microscope.
"""

from .simulator import CHANNELS, Cell, simulate_cells
from .writer import write_export

__all__ = ["CHANNELS", "Cell", "simulate_cells", "write_export"]
