"""The camera: uneven light, gain, shot and read noise, black level, quantisation."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from .anatomy import Floats
from .hospital import Hospital

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def uneven_light(rng: np.random.Generator, side: int, unevenness: float) -> Floats:
    """Return the relative illumination of a crop: a slope and a bow, float32 (side, side)."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    slope_x, slope_y, bow = rng.normal(0, unevenness, 3).astype(np.float32)
    x, y = axis[None, :], axis[:, None]
    light: Floats = 1 + slope_x * x + slope_y * y + bow * (x * x + y * y - 0.67)
    return np.maximum(light, np.float32(0.05))


def expose(
    rng: np.random.Generator,
    light: Floats,
    hospital: Hospital,
    *,
    level: float,
    electrons: float,
) -> Pixels:
    """Turn light into pixel values.

    Args:
        rng: for the noise.
        light: float32 (H, W).
        hospital: for noise, black level and bit depth.
        level: pixel value at a light of 1, as a fraction of the full range.
        electrons: electrons per pixel at a light of 1.

    Returns:
        uint8 or uint16 (H, W).
    """
    noise = rng.standard_normal(light.shape, np.float32)
    if hospital.noise_blur_px > 0:
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), hospital.noise_blur_px), np.float32)
    variance = np.maximum(light, 0) / electrons + (hospital.read_noise / electrons) ** 2
    fraction = hospital.black + level * (light + np.sqrt(variance) * noise)
    values = np.clip(np.rint(fraction * hospital.full_scale), 0, hospital.full_scale)
    return values.astype(np.uint8) if hospital.bits == 8 else values.astype(np.uint16)
