"""Hospitals and samples: instrument and preparation, independent of the kind of cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .seeds import Stream, generator, log_uniform

STAINS = ("DAPI", "PE", "APC")

TUMOUR_MIX = (*("breast", "prostate", "cultured") * 2, "colorectal", "bladder")
"""Tumours of eight samples of a hospital, keys of `TUMOURS`: most trials are of the first two."""


@dataclass(frozen=True)
class Electrodes:
    """The cages' electrode pattern: square pads on a grid.

    Attributes:
        pitch_um: from pad to pad.
        gap_um: between pads.
        angle: of the grid, in radians.
        amplitude: of light at the pads, relative to the gaps.
        phase: of light at the pads, relative to the gaps, in radians.
        depth_um: from the cell's middle down to the pads.
    """

    pitch_um: float
    gap_um: float
    angle: float
    amplitude: float
    phase: float
    depth_um: float


@dataclass(frozen=True)
class Hospital:
    """One instrument, with the settings that its user chose.

    Attributes:
        index: number of the hospital.
        um_per_px: pixel pitch in the cell's plane.
        crop_px: height and width of the exported crops.
        bits: 8, 12 (stored in 16) or 16.
        suffix: `.png` or `.tif`.
        reflected: light from above, mirrored by the chip, instead of from below.
        wavelength_um: of the bright-field light, in vacuum.
        aperture: numerical aperture of the objective.
        coherence: numerical aperture of the condenser over the objective's.
        tilt: direction cosines of oblique illumination, over the objective's aperture.
        aberration: waves of spherical aberration, coma and astigmatism at the pupil's edge.
        electrodes: the pattern; None where it is not in view.
        chip_depth_um: from the cell's middle down to the mirror.
        focus_um: mean height of the focus above the cells' middle.
        focus_spread_um: standard deviation of it.
        centring_um: standard deviation of the cells' distance from the crop's middle.
        stray: fraction of the light that carries no image.
        blur_um: Gaussian blur of the camera and its lens.
        level: brightness of the background, as a fraction of the full range.
        black: brightness without light, as a fraction of the full range.
        electrons: electrons in a background pixel, which set the shot noise.
        read_noise: in electrons.
        noise_blur_px: blur of the noise, as when the instrument resamples its images.
        unevenness: of the light, across the crop.
        stain_level: brightness of a typical stained cell, as a fraction of the full range.
        stain_electrons: electrons in a pixel at that brightness.
    """

    index: int
    um_per_px: float
    crop_px: int
    bits: int
    suffix: str
    reflected: bool
    wavelength_um: float
    aperture: float
    coherence: float
    tilt: tuple[float, float]
    aberration: tuple[float, float, float]
    electrodes: Electrodes | None
    chip_depth_um: float
    focus_um: float
    focus_spread_um: float
    centring_um: float
    stray: float
    blur_um: float
    level: float
    black: float
    electrons: float
    read_noise: float
    noise_blur_px: float
    unevenness: float
    stain_level: float
    stain_electrons: float

    @property
    def name(self) -> str:
        """Folder name of the hospital."""
        return f"h{self.index:02d}"

    @property
    def full_scale(self) -> int:
        """Largest pixel value."""
        return int(2**self.bits - 1)


@dataclass(frozen=True)
class Sample:
    """One patient's tube and the day it was run.

    Attributes:
        index: number of the sample within its hospital.
        tumour: a key of `TUMOURS`.
        focus_um: change of the focus.
        gain: change of the bright field's brightness.
        stain_gain: change of the stains' brightness.
        swelling: of all cells' sizes, from the buffer's osmolality.
        index_gain: of all cells' refractive indices, from the medium.
        blebbing: probability that a cell keeps its blebs, from the fixation.
        blasts: fraction of the leukocytes that are blasts, in addition to those of the usual
            mixture: the patient is ill or treated, or the cells are cultured.
    """

    index: int
    tumour: str
    focus_um: float
    gain: float
    stain_gain: float
    swelling: float
    index_gain: float
    blebbing: float
    blasts: float


def draw_hospital(seed: int, index: int) -> Hospital:
    """Draw the instrument of one hospital, covering other makers' microscopes."""
    rng = generator(seed, Stream.HOSPITAL, index)
    um_per_px = log_uniform(rng, 0.25, 0.8)
    crop_px = int(np.clip(round(rng.uniform(20, 46) / um_per_px), 32, 110))
    bits, suffix = ((8, ".png"), (8, ".tif"), (12, ".tif"), (12, ".png"), (16, ".tif"))[
        rng.integers(5)
    ]
    reflected = bool(rng.random() < 0.35)
    coherence = float(rng.uniform(0.15, 0.9))
    slant = float(rng.uniform(0.15, 0.5)) if rng.random() < 0.3 else 0.0
    towards = rng.uniform(0, 2 * np.pi)
    chip_depth_um = float(rng.uniform(5, 20))
    electrodes = _electrodes(rng, reflected, chip_depth_um)
    return Hospital(
        index=index,
        um_per_px=um_per_px,
        crop_px=crop_px,
        bits=bits,
        suffix=suffix,
        reflected=reflected,
        wavelength_um=float(rng.uniform(0.45, 0.68)),
        aperture=log_uniform(rng, 0.35, 0.8),
        coherence=min(coherence, 0.95 - slant),
        tilt=(slant * float(np.cos(towards)), slant * float(np.sin(towards))),
        aberration=_triple(rng.normal(0, 0.08, 3)),
        electrodes=electrodes,
        chip_depth_um=chip_depth_um,
        focus_um=float(rng.normal(0, 1.7)),
        focus_spread_um=log_uniform(rng, 0.5, 2.2),
        centring_um=log_uniform(rng, 0.2, 1.5),
        stray=float(rng.uniform(0, 0.6)),
        blur_um=float(rng.uniform(0.05, 0.35)),
        level=float(rng.uniform(0.12, 0.75)),
        black=float(rng.uniform(0, 0.06)),
        electrons=log_uniform(rng, 1_500, 40_000),
        read_noise=log_uniform(rng, 2, 12),
        noise_blur_px=float(rng.uniform(0.4, 0.8)) if rng.random() < 0.3 else 0.0,
        unevenness=log_uniform(rng, 0.002, 0.06),
        stain_level=log_uniform(rng, 0.1, 0.6),
        stain_electrons=log_uniform(rng, 60, 4_000),
    )


def draw_sample(seed: int, hospital: int, index: int) -> Sample:
    """Draw one sample; any eight consecutive samples of a hospital contain `TUMOUR_MIX`."""
    tumours = generator(seed, Stream.SAMPLE, hospital).permutation(TUMOUR_MIX)
    rng = generator(seed, Stream.SAMPLE, hospital, index)
    return Sample(
        index=index,
        tumour=str(tumours[index % len(tumours)]),
        focus_um=float(rng.normal(0, 0.7)),
        gain=float(np.exp(rng.normal(0, 0.06))),
        stain_gain=float(np.exp(rng.normal(0, 0.25))),
        swelling=float(np.exp(rng.normal(0, 0.03))),
        index_gain=float(np.exp(rng.normal(0, 0.12))),
        blebbing=float(rng.uniform(0.3, 1.0)),
        blasts=float(rng.uniform(0.4, 1.0)) if rng.random() < 0.3 else 0.0,
    )


def _electrodes(
    rng: np.random.Generator, reflected: bool, chip_depth_um: float
) -> Electrodes | None:
    drawn = Electrodes(
        pitch_um=float(rng.uniform(14, 26)),
        gap_um=float(rng.uniform(1.5, 5)),
        angle=float(rng.normal(0, 0.04)),
        amplitude=float(np.exp(rng.normal(0, 0.30 if reflected else 0.08))),
        phase=float(rng.normal(0, 0.6 if reflected else 0.25)),
        depth_um=chip_depth_um,
    )
    return drawn if rng.random() < (0.7 if reflected else 0.15) else None


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
