"""Partially coherent image formation: angular spectra through a defocused pupil."""

from __future__ import annotations

import cv2
import numpy as np
from numpy import fft

from .anatomy import Complexes, Doubles, Floats
from .hospital import Electrodes, Hospital
from .maps import Maps

MEDIUM_INDEX = 1.335
SOURCES = 5
"""Directions of illumination that approximate the condenser's disc."""
MARGIN_UM = 3.5
"""Rendered around the crop, so that light from beyond its edge is included."""
MAX_PITCH_UM = 0.4


class Microscope:
    """The optics of one hospital, with everything that its crops have in common computed once.

    Attributes:
        oversampling: grid points per camera pixel, along each axis.
        pitch_um: of the grid.
        size: grid points along each side.
    """

    def __init__(self, hospital: Hospital) -> None:
        """Prepare pupil, illumination and propagation for a hospital's instrument."""
        self._hospital = hospital
        self.oversampling = int(np.ceil(hospital.um_per_px / MAX_PITCH_UM))
        self.pitch_um = hospital.um_per_px / self.oversampling
        minimum = hospital.crop_px * self.oversampling + 2 * int(MARGIN_UM / self.pitch_um)
        self.size = _fast_length(minimum)
        self._prepare_illumination()
        self._prepare_propagation()

    def _prepare_illumination(self) -> None:
        """Compute the pupil's support, its phases, and the shift of the spectrum by direction."""
        scope, size = self._hospital, self.size
        steps = np.fft.fftfreq(size, 1 / size).astype(int)
        unit = 1 / (size * self.pitch_um)
        edge = scope.aperture / scope.wavelength_um
        rows, columns = np.nonzero(np.hypot(steps[:, None], steps[None, :]) * unit < edge)
        fy, fx = steps[rows] * unit, steps[columns] * unit
        self._support = rows * size + columns
        squared = (fx**2 + fy**2) / edge**2
        spherical, coma, astigmatism = scope.aberration
        waves = (
            spherical * (squared**2 - squared)
            + coma * squared * fx / edge
            + astigmatism * (fx**2 - fy**2) / edge**2
        )
        self._aberration = (2 * np.pi * waves).astype(np.float32)
        self._axial = _axial(fx**2 + fy**2, scope.wavelength_um).astype(np.float32)
        ring = np.sqrt((np.arange(SOURCES) + 0.5) / SOURCES) * scope.coherence
        turns = np.arange(SOURCES) * np.pi * (3 - np.sqrt(5))
        shift_x = np.rint((ring * np.cos(turns) + scope.tilt[0]) * edge / unit).astype(int)
        shift_y = np.rint((ring * np.sin(turns) + scope.tilt[1]) * edge / unit).astype(int)
        self._shifted = (rows - shift_y[:, None]) % size * size + (
            columns - shift_x[:, None]
        ) % size
        # Each direction represents a patch of the condenser's disc, whose extent blurs the image.
        self._patch = 0.5 * scope.aperture * scope.coherence / np.sqrt(SOURCES) / MEDIUM_INDEX

    def _prepare_propagation(self) -> None:
        """Compute the propagation between the planes of cell and chip."""
        scope = self._hospital
        f = np.fft.fftfreq(self.size, self.pitch_um)
        squared = f[:, None] ** 2 + f[None, :] ** 2
        phase = _axial(squared, scope.wavelength_um) * scope.chip_depth_um
        # Light from many directions blurs structures far from the cell.
        reach = scope.chip_depth_um * scope.aperture * scope.coherence / 2 / MEDIUM_INDEX
        self._to_chip = (
            np.exp(1j * phase) * np.exp(-0.5 * squared * (2 * np.pi * reach) ** 2)
        ).astype(np.complex64)

    def bright_field(
        self, maps: Maps, focus_um: float, electrodes_at: tuple[float, float]
    ) -> Floats:
        """Image a crop in bright field.

        Args:
            maps: the crop's maps, (size, size).
            focus_um: height of the focus above the cells' middle.
            electrodes_at: position of a pad's corner, in um from the crop's middle.

        Returns:
            Intensity on the grid, float32 (size, size); 1 is the empty background.
        """
        scope = self._hospital
        wave_number = np.float32(2 * np.pi / scope.wavelength_um)
        body = _cis(wave_number * maps.path) * np.exp(-wave_number * maps.loss)
        grains = _cis(wave_number * maps.grains)
        arriving = self._incident_field(body * grains, electrodes_at)
        if arriving is not None:
            body *= arriving
        bodies = fft.fft2(body).ravel()
        scattered = fft.fft2(body * (grains - 1)).ravel()
        pupil = self._pupil(-focus_um)
        higher = self._pupil(maps.grain_depth - focus_um)
        field = np.zeros((self.size, self.size), np.complex64)
        intensity = np.zeros((self.size, self.size), np.float32)
        for shifted in self._shifted:
            field.ravel()[self._support] = pupil * bodies[shifted] + higher * scattered[shifted]
            image = fft.ifft2(field)
            intensity += np.square(image.real) + np.square(image.imag)
        intensity /= SOURCES
        blur_um = np.hypot(scope.blur_um, abs(focus_um) * self._patch)
        return _blur(scope.stray + (1 - scope.stray) * intensity, blur_um / self.pitch_um)

    def fluorescence(self, emitted: Floats, focus_um: float) -> Floats:
        """Image a stain, float32 (size, size), as an incoherent, defocused blur of its light."""
        scope = self._hospital
        spot_um = 0.11 / scope.aperture
        cone_um = 0.35 * abs(focus_um) * scope.aperture / MEDIUM_INDEX
        blur_um = np.sqrt(spot_um**2 + cone_um**2 + scope.blur_um**2 + 0.3**2)
        return _blur(emitted, blur_um / self.pitch_um)

    def to_camera(self, image: Floats) -> Floats:
        """Bin the grid to camera pixels: float32 (crop_px, crop_px)."""
        side, step = self._hospital.crop_px, self.oversampling
        start = (self.size - side * step) // 2
        middle = image[start : start + side * step, start : start + side * step]
        binned: Floats = middle.reshape(side, step, side, step).mean((1, 3))
        return binned

    def _pupil(self, distance_um: float) -> Complexes:
        return _cis(self._aberration + self._axial * np.float32(distance_um))

    def _incident_field(
        self, body: Complexes, electrodes_at: tuple[float, float]
    ) -> Complexes | None:
        """Return the field that reaches the cell from the chip; None where it is uniform."""
        scope = self._hospital
        if scope.electrodes is None and not scope.reflected:
            return None
        chip = self._propagate(body) if scope.reflected else np.ones_like(body)
        if scope.electrodes is not None:
            chip *= _pattern(scope.electrodes, electrodes_at, self.size, self.pitch_um)
        return self._propagate(chip)

    def _propagate(self, field: Complexes) -> Complexes:
        """Propagate a field from the cell's plane to the chip's, or back."""
        return np.asarray(fft.ifft2(fft.fft2(field) * self._to_chip), np.complex64)


def _fast_length(minimum: int) -> int:
    """Return the next even length without prime factors over 5, for a fast transform."""
    even = range(minimum + minimum % 2, 2 * minimum + 2, 2)
    return next(size for size in even if 60**8 % size == 0)


def _axial(squared: Doubles, wavelength_um: float) -> Doubles:
    """Return the axial wave number less that of a plane wave, in radians per um."""
    straight = MEDIUM_INDEX / wavelength_um
    return np.asarray(2 * np.pi * (np.sqrt(np.maximum(straight**2 - squared, 0)) - straight))


def _cis(phase: Floats) -> Complexes:
    wave = np.empty(phase.shape, np.complex64)
    np.cos(phase, out=wave.real)
    np.sin(phase, out=wave.imag)
    return wave


def _blur(image: Floats, sigma_px: float) -> Floats:
    if sigma_px < 0.2:
        return image
    blurred = cv2.GaussianBlur(image, (0, 0), float(sigma_px), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float32)


def _pattern(
    electrodes: Electrodes, at: tuple[float, float], size: int, pitch_um: float
) -> Complexes:
    """Return the field's amplitude at the chip, of mean power 1: (size, size)."""
    axis = ((np.arange(size) - size / 2) * pitch_um).astype(np.float32)
    cos, sin = np.float32(np.cos(electrodes.angle)), np.float32(np.sin(electrodes.angle))
    u = axis[None, :] * cos + axis[:, None] * sin - np.float32(at[0])
    v = axis[:, None] * cos - axis[None, :] * sin - np.float32(at[1])
    half = np.float32((electrodes.pitch_um - electrodes.gap_um) / 2)
    cover = np.ones((size, size), np.float32)
    for w in (u, v):
        off = np.abs(w - electrodes.pitch_um * np.floor(w / electrodes.pitch_um + 0.5))
        cover *= np.clip((half - off) / np.float32(0.4) + 0.5, 0, 1)
    pad = electrodes.amplitude * np.exp(1j * electrodes.phase)
    field = 1 + np.complex64(pad - 1) * cover
    field /= np.sqrt(np.mean(np.abs(field) ** 2))
    return np.asarray(field, np.complex64)
