"""Render anatomy as maps of optical path, absorption and stain on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .anatomy import Anatomy, Complexes, Floats, Lobe
from .hospital import STAINS
from .scene import Body

MIN_GRAIN_PX = 0.45
"""Smallest Gaussian width of a grain that the grid can represent, pixels."""


@dataclass(frozen=True, eq=False)
class Maps:
    """Maps of a crop, all float32 (n, n).

    Attributes:
        path: optical path of cytoplasm and nuclei above the medium's, in um.
        grains: optical path of granules and vacuoles, in um.
        grain_depth: height of the grains above the cells' middle, in um.
        loss: path lost to absorption, in um.
        stains: per stained channel, emitted light; 1 is about a typical cell's.
    """

    path: Floats
    grains: Floats
    grain_depth: float
    loss: Floats
    stains: dict[str, Floats]


def paint(
    bodies: Sequence[Body],
    strengths: Sequence[dict[str, float]],
    size: int,
    pitch_um: float,
    rng: np.random.Generator,
) -> Maps:
    """Render the bodies of one crop.

    Args:
        bodies: cells and debris.
        strengths: brightness of each body in each stained channel.
        size: pixels along the grid's side.
        pitch_um: of the grid.
        rng: for the chromatin's texture.

    Returns:
        The maps, the crop's middle at the grid's middle.
    """
    path, grains, loss, *stains = np.zeros((3 + len(STAINS), size, size), np.float32)
    for body, strength in zip(bodies, strengths, strict=True):
        window = _Window.around(body, size, pitch_um)
        if window is None:
            continue
        cell = body.anatomy
        thickness, rim = _body(cell, window)
        nucleus, chromatin = _nucleus(cell, window, thickness, rng)
        inner = cell.index * thickness + chromatin * cell.nucleus_index
        inner += _nucleoli(cell, window) * (nucleus > 0)
        speckle = _grains(cell, window) * (thickness > 0)
        speckle *= 1.0 - 0.8 * nucleus / (thickness + 0.1)
        path[window.slices] += inner
        grains[window.slices] += speckle
        loss[window.slices] += cell.absorption * inner
        sources = {"DAPI": chromatin, "PE": thickness - nucleus, "APC": rim}
        for stain, channel in zip(stains, STAINS, strict=True):
            stain[window.slices] += strength[channel] * sources[channel]
    depth = bodies[0].anatomy.granule_depth if bodies else 0.0
    return Maps(path, grains, depth, loss, dict(zip(STAINS, stains, strict=True)))


@dataclass(frozen=True, eq=False)
class _Window:
    """The part of the grid around one body: its slices, and coordinates from the body's centre."""

    slices: tuple[slice, slice]
    x: Floats
    y: Floats
    pitch_um: float

    @classmethod
    def around(cls, body: Body, size: int, pitch_um: float) -> _Window | None:
        reach = 1.75 * body.anatomy.body.radius + 1.0
        slices, axes = [], []
        for centre in (body.y, body.x):
            middle = size / 2 + centre / pitch_um
            start = max(0, int(np.floor(middle - reach / pitch_um)))
            stop = min(size, int(np.ceil(middle + reach / pitch_um)) + 1)
            if stop - start < 2:
                return None
            slices.append(slice(start, stop))
            axes.append(((np.arange(start, stop) - middle) * pitch_um).astype(np.float32))
        return cls((slices[0], slices[1]), axes[1][None, :], axes[0][:, None], pitch_um)

    @property
    def shape(self) -> tuple[int, int]:
        return self.y.shape[0], self.x.shape[1]


def _squared_radius(lobe: Lobe, window: _Window) -> Floats:
    """Return the squared distance from the lobe's centre, 1 on its outline."""
    stretch = np.sqrt(lobe.elongation)
    turn = np.exp(-1j * lobe.angle)
    z = ((window.x - np.float32(lobe.x)) + 1j * (window.y - np.float32(lobe.y))).astype(
        np.complex64
    ) * np.complex64(turn)
    z.real /= stretch
    z.imag *= stretch
    r = np.abs(z)
    unit: Complexes = z / np.maximum(r, np.float32(1e-6))
    wave = np.full_like(unit, lobe.outline[-1])
    for term in lobe.outline[-2::-1]:
        wave *= unit
        wave += term
    wave *= unit * unit
    outline = np.float32(lobe.radius) * np.maximum(1.0 + wave.real, np.float32(0.3))
    squared: Floats = np.square(r / outline)
    return squared


def _ball(x: float, y: float, radius: float, window: _Window) -> Floats:
    """Return the thickness of a ball."""
    squared = np.square(window.x - np.float32(x)) + np.square(window.y - np.float32(y))
    thickness: Floats = 2 * np.sqrt(np.maximum(np.float32(radius**2) - squared, 0))
    return thickness


def _body(cell: Anatomy, window: _Window) -> tuple[Floats, Floats]:
    """Return a cell's thickness in um, and its membrane's brightness, bright at the rim."""
    squared = _squared_radius(cell.body, window)
    thickness: Floats = np.float32(cell.height) * np.sqrt(np.maximum(1.0 - squared, 0))
    for x, y, radius in cell.blebs:
        np.maximum(thickness, _ball(x, y, radius, window), out=thickness)
    rim: Floats = np.where(thickness > 0, 1.0 + 3.0 * np.minimum(squared, 1.0) ** 3, 0.0)
    return thickness, rim.astype(np.float32)


def _nucleus(
    cell: Anatomy, window: _Window, thickness: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the nucleus's thickness, and the same weighted with its chromatin's density."""
    nucleus = np.zeros(window.shape, np.float32)
    if not cell.nucleus:
        return nucleus, nucleus
    for lobe in cell.nucleus:
        height = np.float32(2 * lobe.radius * cell.nucleus_height)
        inside = np.maximum(1.0 - _squared_radius(lobe, window), 0)
        np.maximum(nucleus, height * np.sqrt(inside), out=nucleus)
    np.minimum(nucleus, np.float32(0.95) * thickness, out=nucleus)
    sigma = max(cell.chromatin / 2 / window.pitch_um, MIN_GRAIN_PX)
    noise = cv2.GaussianBlur(rng.standard_normal(window.shape, np.float32), (0, 0), sigma)
    density = 1.0 + np.float32(cell.chromatin_contrast * 2 * np.sqrt(np.pi) * sigma) * noise
    return nucleus, nucleus * np.maximum(density, 0)


def _nucleoli(cell: Anatomy, window: _Window) -> Floats:
    """Return the optical path of the nucleoli above the nucleus's."""
    path = np.zeros(window.shape, np.float32)
    for x, y, radius in cell.nucleoli:
        path += np.float32(0.025) * _ball(x, y, radius, window)
    return path


def _grains(cell: Anatomy, window: _Window) -> Floats:
    """Return the optical path of granules and vacuoles, each a small Gaussian blob."""
    points = np.zeros(window.shape, np.float32)
    column = np.rint((cell.granules[:, 0] - window.x[0, 0]) / window.pitch_um).astype(int)
    row = np.rint((cell.granules[:, 1] - window.y[0, 0]) / window.pitch_um).astype(int)
    inside = (row >= 0) & (row < points.shape[0]) & (column >= 0) & (column < points.shape[1])
    sigma = max(cell.granule / 2.4 / window.pitch_um, MIN_GRAIN_PX)
    peak = 2 * np.pi * (cell.granule / 2.4 / window.pitch_um) ** 2
    np.add.at(points, (row[inside], column[inside]), cell.granules[inside, 2] * np.float32(peak))
    return np.asarray(cv2.GaussianBlur(points, (0, 0), sigma), np.float32)
