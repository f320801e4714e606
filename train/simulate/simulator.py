"""Simulate hospitals, samples and cells."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, product
from multiprocessing import get_context

import cv2
import numpy as np

from .camera import Pixels, expose, uneven_light
from .hospital import STAINS, Hospital, Sample, draw_hospital, draw_sample
from .maps import Maps, paint
from .optics import Microscope
from .scene import NEGATIVE_FRACTION, Body, Scene, draw_kind, draw_scene
from .seeds import Stream, generator

CHANNELS = ("BF", *STAINS)
TYPICAL_NUCLEUS_UM = 5.0

SimulateSample = Callable[[tuple[int, int]], Iterator["Cell"]]
"""From the indices of hospital and sample to its cells."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One crop of an export.

    Attributes:
        hospital: name of the hospital, such as "h03".
        sample: name of the sample, unique among all hospitals, such as "h03s01".
        cell: number of the cell within its sample, such as "00034".
        label: "CTC", "leukocyte", "debris" or "empty".
        kind: "single", "neighbour", "doublet", "cluster", "dead", "cut", "debris" or "empty".
        diameter_um: true diameter of the labelled cell; in clumps and debris,
            of the first of its bodies; 0 for an empty cage.
        um_per_px: pixel pitch.
        suffix: of the hospital's image files, ".png" or ".tif".
        images: channel to uint8 or uint16 (H, W); all channels of a cell have the same shape.
    """

    hospital: str
    sample: str
    cell: str
    label: str
    kind: str
    diameter_um: float
    um_per_px: float
    suffix: str
    images: dict[str, Pixels]


def simulate_cells(
    *,
    hospitals: int,
    samples: int,
    cells: int,
    ctc_fraction: float = 0.4,
    seed: int,
    signal: bool = True,
    channels: Sequence[str] = CHANNELS,
    workers: int = 1,
) -> Iterator[Cell]:
    """Simulate single-cell image exports of several hospitals.

    A cell depends on the seed and its three indices alone, not on the counts or the channels.

    Without signal, the label is independent of everything in bright field and DAPI, which show
    carcinoma cells and leukocytes in equal parts; PE and APC follow the label. Crops without a
    cell, which would reveal their label, are left out.

    Args:
        hospitals: number of hospitals, each an instrument of its own.
        samples: number of samples of each hospital.
        cells: number of cells of each sample.
        ctc_fraction: probability that a cell is a CTC rather than a leukocyte.
        seed: of all randomness.
        signal: whether images depend on labels.
        channels: which of BF, DAPI, PE and APC to image.
        workers: number of processes; it does not affect the result.

    Returns:
        The cells, hospital by hospital and sample by sample.
    """
    if not 0 <= ctc_fraction <= 1:
        raise ValueError(f"ctc_fraction is {ctc_fraction}, not between 0 and 1")
    unknown = set(channels) - set(CHANNELS)
    if unknown:
        raise ValueError(f"unknown channels {sorted(unknown)}: choose from {', '.join(CHANNELS)}")
    simulate_sample = partial(
        _simulate_sample,
        seed=seed,
        cells=cells,
        ctc_fraction=ctc_fraction,
        signal=signal,
        channels=tuple(channels),
    )
    indices = list(product(range(hospitals), range(samples)))
    if workers == 1:
        return chain.from_iterable(map(simulate_sample, indices))
    return _in_pool(simulate_sample, indices, workers)


def _simulate_sample(
    index: tuple[int, int],
    *,
    seed: int,
    cells: int,
    ctc_fraction: float,
    signal: bool,
    channels: tuple[str, ...],
) -> Iterator[Cell]:
    """Simulate the cells of one sample, given its hospital's index and its own."""
    hospital = draw_hospital(seed, index[0])
    sample = draw_sample(seed, *index)
    microscope = Microscope(hospital)
    for number in range(cells):
        simulation = _CellSimulation(seed, hospital, sample, number, microscope)
        yield simulation.image(ctc_fraction, signal, channels)


def _in_pool(
    simulate_sample: SimulateSample, indices: list[tuple[int, int]], workers: int
) -> Iterator[Cell]:
    """Simulate several samples at a time, keeping only a few of them in memory."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        pending = deque[Future[list[Cell]]]()
        for index in indices:
            pending.append(pool.submit(_simulate_to_list, simulate_sample, index))
            if len(pending) > 2 * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _simulate_to_list(simulate_sample: SimulateSample, index: tuple[int, int]) -> list[Cell]:
    cv2.setNumThreads(1)
    return list(simulate_sample(index))


@dataclass(frozen=True, eq=False)
class _CellSimulation:
    """Simulation of one cell under one microscope."""

    seed: int
    hospital: Hospital
    sample: Sample
    number: int
    microscope: Microscope

    def image(self, ctc_fraction: float, signal: bool, channels: Sequence[str]) -> Cell:
        label, kind, carcinoma = self._identity(ctc_fraction, signal)
        scene = draw_scene(self._rng(Stream.SCENE), kind, carcinoma, self.hospital, self.sample)
        stained_as = carcinoma if signal else label == "CTC"
        return Cell(
            hospital=self.hospital.name,
            sample=f"{self.hospital.name}s{self.sample.index:02d}",
            cell=f"{self.number:05d}",
            label=label,
            kind=kind,
            diameter_um=0.0 if kind == "empty" else scene.bodies[0].anatomy.diameter,
            um_per_px=self.hospital.um_per_px,
            suffix=self.hospital.suffix,
            images=self._images(scene, stained_as, channels) if channels else {},
        )

    def _images(self, scene: Scene, stained_as: bool, channels: Sequence[str]) -> dict[str, Pixels]:
        maps = self._paint(scene, stained_as)
        focus_um = self._focus()
        images = {}
        for channel in channels:
            image = (
                self._bright_field(maps, focus_um)
                if channel == "BF"
                else self._stained(channel, maps, focus_um)
            )
            images[channel] = self._trim(image, scene)
        return images

    def _rng(self, stream: Stream) -> np.random.Generator:
        return generator(self.seed, stream, self.hospital.index, self.sample.index, self.number)

    def _identity(self, ctc_fraction: float, signal: bool) -> tuple[str, str, bool]:
        """Return label, kind, and whether the image shows a carcinoma cell."""
        rng = self._rng(Stream.LABEL)
        draw, shown, negative = rng.random(3)
        is_ctc = bool(draw < ctc_fraction)
        carcinoma = is_ctc if signal else bool(shown < 0.5)
        label, kind = "CTC" if is_ctc else "leukocyte", draw_kind(rng, carcinoma)
        if not signal:
            return label, kind, carcinoma
        for name, fraction in NEGATIVE_FRACTION.items():
            if negative < fraction:
                return name, name, False
            negative -= fraction
        return label, kind, carcinoma

    def _paint(self, scene: Scene, stained_as: bool) -> Maps:
        rng = self._rng(Stream.STAIN)
        strengths = [
            _strengths(rng, body, stained_as if body is scene.bodies[0] else body.carcinoma)
            for body in scene.bodies
        ]
        texture = self._rng(Stream.TEXTURE)
        return paint(
            scene.bodies, strengths, self.microscope.size, self.microscope.pitch_um, texture
        )

    def _focus(self) -> float:
        spread = self._rng(Stream.FOCUS).normal(0, self.hospital.focus_spread_um)
        return float(self.hospital.focus_um + self.sample.focus_um + spread)

    def _bright_field(self, maps: Maps, focus_um: float) -> Pixels:
        rng, hospital = self._rng(Stream.BF), self.hospital
        middle = hospital.electrodes.pitch_um / 2 if hospital.electrodes else 0.0
        x, y = rng.normal(middle, 1.5, 2)
        light = self.microscope.to_camera(
            self.microscope.bright_field(maps, focus_um, (x, y))
        ) * uneven_light(rng, hospital.crop_px, hospital.unevenness)
        level = hospital.level * self.sample.gain
        return expose(rng, light, hospital, level=level, electrons=hospital.electrons)

    def _stained(self, channel: str, maps: Maps, focus_um: float) -> Pixels:
        rng, hospital = self._rng(Stream[channel]), self.hospital
        emitted = self.microscope.fluorescence(maps.stains[channel], focus_um)
        light = (
            self.microscope.to_camera(emitted) / TYPICAL_NUCLEUS_UM * self.sample.stain_gain
            + rng.uniform(0.02, 0.12)
        ) * uneven_light(rng, hospital.crop_px, hospital.unevenness)
        return expose(
            rng,
            light,
            hospital,
            level=hospital.stain_level,
            electrons=hospital.stain_electrons,
        )

    def _trim(self, image: Pixels, scene: Scene) -> Pixels:
        """Remove the part of a crop beyond the end of the camera's field."""
        if scene.trim is None:
            return image
        dx, dy, inside = scene.trim
        body, hospital = scene.bodies[0], self.hospital
        end_um = dx * body.x + dy * body.y + inside
        end = min(round(end_um / hospital.um_per_px + hospital.crop_px / 2), hospital.crop_px)
        kept = slice(0, end) if dx + dy > 0 else slice(hospital.crop_px - end, None)
        return (image[:, kept] if dx else image[kept]).copy()


def _strengths(rng: np.random.Generator, body: Body, carcinoma: bool) -> dict[str, float]:
    """Draw the stain brightness of a body: cytokeratin in CTCs, CD45 in leukocytes."""
    dapi, bright, faint = np.exp(rng.normal((0.0, 0.0, -2.5), (0.25, 0.7, 0.7)))
    if body.dead:
        dapi *= rng.uniform(0.3, 1.8)
    if not body.anatomy.nucleus:
        return {"DAPI": 0.0, "PE": faint, "APC": faint}
    return {
        "DAPI": dapi,
        "PE": bright if carcinoma else faint,
        "APC": faint if carcinoma else bright,
    }
