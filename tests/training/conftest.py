"""Small networks are as fast on one thread, and then do not slow down when cores are shared."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
