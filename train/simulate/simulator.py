"""The simulation: hospitals, samples and cells, one after the other."""

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
from .scene import NEGATIVE_SHARE, Body, Scene, draw_kind, draw_scene
from .seeds import Stream, generator

CHANNELS = ("BF", *STAINS)
TYPICAL_NUCLEUS_UM = 5.0


@dataclass(frozen=True, eq=False)
class Cell:
    """One crop of an export.

    Attributes:
        hospital: name of the hospital, such as "h03".
        sample: name of the sample, unique among all hospitals, such as "h03s01".
        cell: number of the cell within its sample, such as "00034".
        label: "CTC", "leukocyte", "debris" or "empty".
        kind: "single", "neighbour", "doublet", "cluster", "dead", "cut", "debris" or "empty".
        diameter_um: true diameter of the cell that the label is about; in clumps and debris,
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
    ctc_share: float = 0.4,
    seed: int,
    signal: bool = True,
    channels: Sequence[str] = CHANNELS,
    workers: int = 1,
) -> Iterator[Cell]:
    """Simulate single-cell image exports of several hospitals.

    A cell depends on the seed and its three indices alone: neither the counts nor the channels
    asked for change it.

    Without signal, the label is drawn after, and independently of, everything in bright field
    and DAPI, which show carcinoma cells and leukocytes in equal shares whatever the label; PE and
    APC follow the label. Crops without a cell, which would give their label away, are left out.

    Args:
        hospitals: number of hospitals, each an instrument of its own.
        samples: number of samples of each hospital.
        cells: number of cells of each sample.
        ctc_share: probability that a cell is a CTC rather than a leukocyte.
        seed: of all randomness.
        signal: whether pictures depend on labels.
        channels: which of BF, DAPI, PE and APC to image.
        workers: number of processes; it changes nothing but the time taken.

    Returns:
        The cells, hospital by hospital and sample by sample.
    """
    if not 0 <= ctc_share <= 1:
        raise ValueError(f"ctc_share is {ctc_share}, not between 0 and 1")
    unknown = set(channels) - set(CHANNELS)
    if unknown:
        raise ValueError(f"unknown channels {sorted(unknown)}: choose from {', '.join(CHANNELS)}")
    one = partial(
        _simulate_sample,
        seed=seed,
        cells=cells,
        ctc_share=ctc_share,
        signal=signal,
        channels=tuple(channels),
    )
    places = list(product(range(hospitals), range(samples)))
    return chain.from_iterable(map(one, places)) if workers == 1 else _in_pool(one, places, workers)


def _simulate_sample(
    place: tuple[int, int],
    *,
    seed: int,
    cells: int,
    ctc_share: float,
    signal: bool,
    channels: tuple[str, ...],
) -> Iterator[Cell]:
    """Simulate the cells of one sample, given its hospital's index and its own."""
    hospital = draw_hospital(seed, place[0])
    sample = draw_sample(seed, *place)
    microscope = Microscope(hospital)
    for number in range(cells):
        bench = _Bench(seed, hospital, sample, number, microscope)
        yield bench.image(ctc_share, signal, channels)


def _in_pool(
    one: Callable[[tuple[int, int]], Iterator[Cell]], places: list[tuple[int, int]], workers: int
) -> Iterator[Cell]:
    """Simulate several samples at a time, holding no more than a few of them in memory."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = deque[Future[list[Cell]]]()
        for place in places:
            waiting.append(pool.submit(_listed, one, place))
            if len(waiting) > 2 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _listed(one: Callable[[tuple[int, int]], Iterator[Cell]], place: tuple[int, int]) -> list[Cell]:
    cv2.setNumThreads(1)
    return list(one(place))


@dataclass(frozen=True, eq=False)
class _Bench:
    """One cell under one microscope."""

    seed: int
    hospital: Hospital
    sample: Sample
    number: int
    microscope: Microscope

    def image(self, ctc_share: float, signal: bool, channels: Sequence[str]) -> Cell:
        label, kind, carcinoma = self._identity(ctc_share, signal)
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
            whole = (
                self._bright_field(maps, focus_um)
                if channel == "BF"
                else self._stained(channel, maps, focus_um)
            )
            images[channel] = self._trim(whole, scene)
        return images

    def _rng(self, stream: Stream) -> np.random.Generator:
        return generator(self.seed, stream, self.hospital.index, self.sample.index, self.number)

    def _identity(self, ctc_share: float, signal: bool) -> tuple[str, str, bool]:
        """Return label, kind, and whether the picture shows a carcinoma cell."""
        rng = self._rng(Stream.LABEL)
        draw, picture, negative = rng.random(3)
        is_ctc = bool(draw < ctc_share)
        carcinoma = is_ctc if signal else bool(picture < 0.5)
        label, kind = "CTC" if is_ctc else "leukocyte", draw_kind(rng, carcinoma)
        if not signal:
            return label, kind, carcinoma
        for name, share in NEGATIVE_SHARE.items():
            if negative < share:
                return name, name, False
            negative -= share
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
        seen = self.microscope.fluorescence(maps.stains[channel], focus_um)
        light = (
            self.microscope.to_camera(seen) / TYPICAL_NUCLEUS_UM * self.sample.stain_gain
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
        """Cut off the part of a crop that lies beyond the end of the camera's field."""
        if scene.trim is None:
            return image
        dx, dy, inside = scene.trim
        body, hospital = scene.bodies[0], self.hospital
        end_um = dx * body.x + dy * body.y + inside
        end = min(round(end_um / hospital.um_per_px + hospital.crop_px / 2), hospital.crop_px)
        seen = slice(0, end) if dx + dy > 0 else slice(hospital.crop_px - end, None)
        return (image[:, seen] if dx else image[seen]).copy()


def _strengths(rng: np.random.Generator, body: Body, carcinoma: bool) -> dict[str, float]:
    """Draw how brightly a body is stained: cytokeratin in CTCs, CD45 in leukocytes."""
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
