"""The study's three families of augmentation, as batched transforms of the network's input.

They act on the deviation from the background, so that zero is the background: pixels that a
rotation or a shift brings in are background, and no family changes its level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

FAMILIES = ("geometry", "illumination", "noise")


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The active families and their maximum strength.

    Attributes:
        geometry: rotation by any angle, mirroring, shift, scale.
        illumination: contrast, gamma and a tilt of the light.
        noise: noise, blur and coarse quantization.
        shift: fraction of the image's side.
        scale: relative; small, as size is a feature: only the effect of a wrong um/px.
        contrast: largest factor; its inverse is the smallest.
        gamma: largest exponent of the deviation; its inverse is the smallest.
        tilt: input levels from the centre to an edge.
        noise_levels: standard deviation, input levels.
        blur: largest weight of the smoothed image; 1 is a full pass of the smoothing kernel.
        coarseness: largest step between levels.
    """

    geometry: bool = True
    illumination: bool = True
    noise: bool = True
    shift: float = 0.06
    scale: float = 0.05
    contrast: float = 1.3
    gamma: float = 1.2
    tilt: float = 8.0
    noise_levels: float = 3.0
    blur: float = 0.4
    coarseness: float = 3.0

    def __call__(self, deviation: Tensor, generator: torch.Generator) -> Tensor:
        """Transform a batch, each image with its own random draw.

        Args:
            deviation: (n, channels, side, side) float32, input levels above the background. The
                channels of a cell have the same geometry; light and noise differ.
            generator: on the same device; the only source of randomness.

        Returns:
            The same shape, within the range of uint8 inputs.
        """
        draw = Draw(deviation.shape[:2], generator)
        if self.geometry:
            deviation = _move(deviation, draw, self.shift, self.scale)
        if self.noise:
            deviation = _blur(deviation, draw, self.blur)
        if self.illumination:
            deviation = _relight(deviation, draw, self.contrast, self.gamma, self.tilt)
        if self.noise:
            deviation = _degrade(deviation, draw, self.noise_levels, self.coarseness)
        return deviation.clamp(-128, 127)


class Draw:
    """Random numbers, one for each image, shaped to act on a batch."""

    def __init__(self, images: torch.Size, generator: torch.Generator) -> None:
        """Draw for (n, channels) images from a generator."""
        self._images, self._generator = images, generator

    def uniform(self, low: float, high: float) -> Tensor:
        """(n, channels, 1, 1), uniform between low and high."""
        return low + (high - low) * self._rand(*self._images, 1, 1)

    def factor(self, largest: float) -> Tensor:
        """(n, channels, 1, 1) between 1 / largest and largest, uniform in the logarithm."""
        return torch.exp(self.uniform(-math.log(largest), math.log(largest)))

    def of_cell(self, low: float, high: float) -> Tensor:
        """(n,), uniform between low and high."""
        return low + (high - low) * self._rand(self._images[0])

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal, of another tensor's shape."""
        return torch.randn(like.shape, generator=self._generator, device=self._generator.device)

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator, device=self._generator.device)


def _move(deviation: Tensor, draw: Draw, shift: float, scale: float) -> Tensor:
    angle = draw.of_cell(0, 2 * math.pi)
    zoom = torch.exp(draw.of_cell(-math.log(1 + scale), math.log(1 + scale)))
    mirror = torch.where(draw.of_cell(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    # affine_grid's unit is half a side, hence the 2.
    across, down = (2 * draw.of_cell(-shift, shift) for _ in range(2))
    rows = (torch.stack((mirror * cos, -sin, across), 1), torch.stack((mirror * sin, cos, down), 1))
    grid = F.affine_grid(torch.stack(rows, 1), list(deviation.shape), align_corners=False)
    return F.grid_sample(deviation, grid, padding_mode="zeros", align_corners=False)


def _relight(deviation: Tensor, draw: Draw, contrast: float, gamma: float, tilt: float) -> Tensor:
    bent = deviation.sign() * 128 * (deviation.abs() / 128) ** draw.factor(gamma)
    side = deviation.shape[-1]
    ramp = torch.linspace(-1, 1, side, device=deviation.device)
    light = draw.uniform(-tilt, tilt) * ramp[:, None] + draw.uniform(-tilt, tilt) * ramp[None, :]
    return bent * draw.factor(contrast) + light


def _blur(deviation: Tensor, draw: Draw, blur: float) -> Tensor:
    return torch.lerp(deviation, smooth(smooth(deviation, 2), 3), draw.uniform(0, blur))


def smooth(images: Tensor, axis: int) -> Tensor:
    """Convolve with the taps 1 4 6 4 1; on a CPU sums of slices are 10 times as fast as conv2d."""
    padded = F.pad(images, (2, 2) if axis == 3 else (0, 0, 2, 2))
    at = [padded.narrow(axis, start, images.shape[axis]) for start in range(5)]
    return (at[0] + at[4] + 4 * (at[1] + at[3]) + 6 * at[2]) / 16


def _degrade(deviation: Tensor, draw: Draw, noise_levels: float, coarseness: float) -> Tensor:
    noisy = deviation + draw.normal(deviation) * draw.uniform(0, noise_levels)
    step = draw.uniform(1, coarseness)
    return torch.round(noisy / step) * step
