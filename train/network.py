"""The networks, all from MONAI, and how they see an image.

Stem with stride 2 and a max-pool: on a CPU it is four times as fast as MONAI's default.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from monai.networks.nets.resnet import ResNet
from numpy.typing import NDArray
from torch import Tensor, nn

from ctcedge.preprocess import BACKGROUND_LEVEL

_RESNETS = {
    "resnet10": ("basic", [1, 1, 1, 1]),
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet34": ("basic", [3, 4, 6, 3]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
}

NETWORKS = tuple(_RESNETS)


class Classifier(nn.Module):
    """A network whose only output is the logit of CTC."""

    def __init__(self, name: str, width: float = 1.0) -> None:
        """Draw a network's first weights from PyTorch's random state.

        Args:
            name: one of `NETWORKS`.
            width: factor on the number of channels.

        Raises:
            ValueError: unknown name.
        """
        super().__init__()
        if name not in _RESNETS:
            raise ValueError(f"unknown network '{name}' (known: {', '.join(NETWORKS)})")
        block, layers = _RESNETS[name]
        self.body = ResNet(
            block,
            layers,
            block_inplanes=[64, 128, 256, 512],
            spatial_dims=2,
            n_input_channels=1,
            conv1_t_stride=2,
            widen_factor=width,
            num_classes=1,
            bias_downsample=False,
        )

    def forward(self, scaled: Tensor) -> Tensor:
        """Map (n, 1, side, side) contrast units to (n,) logits."""
        logit: Tensor = self.body(scaled).squeeze(1)
        return logit


def deviation(inputs: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Turn (n, side, side) inputs to (n, 1, side, side) float32 levels above the background."""
    return torch.from_numpy(inputs).to(device).unsqueeze(1).float() - BACKGROUND_LEVEL


@torch.inference_mode()
def predict(
    network: nn.Module, inputs: NDArray[np.uint8], gain: float, batch_size: int = 256
) -> NDArray[np.float32]:
    """Return the logits, (n,), of (n, side, side) inputs in full precision.

    Args:
        network: put into evaluation mode and left there.
        inputs: as `network_input` makes them.
        gain: input levels of one contrast unit, as in the input's spec.
        batch_size: images at a time.
    """
    network.eval()
    device = next(network.parameters()).device
    parts = [network(deviation(part, device) / gain) for part in batches(inputs, batch_size)]
    logits: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
    return logits


def batches(inputs: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.uint8]]:
    """Yield `size` rows at a time."""
    for start in range(0, len(inputs), size):
        yield inputs[start : start + size]
