"""Training kit: from labelled exports, simulated or of a lab, to a model folder for `ctcedge`.

Needs the optional dependencies `train`, such as PyTorch and MONAI, which the runtime never imports.
"""

from .util.extra import require_for_programs

require_for_programs()
