"""Defects put into crops, simulated or real: what the quality gate is to find.

Light passes through transparent cells one after the other: a second cell is put into a crop by
multiplying it with what that cell transmits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from ctcedge.decode import GreyImage, decode
from ctcedge.objects import look
from train.simulate import Cell, simulate_cells
from train.simulate.scene import draw_scene
from train.simulate.seeds import Stream, generator
from train.simulate.site import draw_hospital, draw_sample


@dataclass(frozen=True, eq=False)
class Crop:
    """A crop with a cell in its middle.

    Attributes:
        pixels: as stored.
        um_per_px: edge length of a pixel; None where nobody knows it.
        bits: that its values use.
        diameter: of the cell, in pixels; as measured where nobody knows it.
    """

    pixels: GreyImage
    um_per_px: float | None
    bits: int
    diameter: float


def simulated(count: int, seed: int) -> list[Crop]:
    """Whole single cells of simulated hospitals, without the dust that one crop in eight holds."""
    found: list[Crop] = []
    for run in range(seed, seed + count):
        for cell in simulate_cells(hospitals=8, samples=1, cells=3, seed=run, channels=("BF",)):
            if cell.kind == "single" and _is_alone(run, cell):
                pixels = cell.images["BF"]
                bits = 8 if pixels.dtype == np.uint8 else 12 if int(pixels.max()) < 4096 else 16
                size = cell.diameter_um / cell.um_per_px
                found.append(Crop(pixels, cell.um_per_px, bits, size))
        if len(found) >= count:
            break
    return found[:count]


def _is_alone(seed: int, cell: Cell) -> bool:
    """Draw the content of a simulated crop once more, to see whether a cell is all there is."""
    place = int(cell.hospital[1:]), int(cell.sample.split("s")[1])
    scene = draw_scene(
        generator(seed, Stream.SCENE, *place, int(cell.cell)),
        cell.kind,
        cell.label == "CTC",
        draw_hospital(seed, place[0]),
        draw_sample(seed, *place),
    )
    assert scene.bodies[0].anatomy.diameter == cell.diameter_um
    return len(scene.bodies) == 1


def real(folder: Path, um_per_px: float | None, count: int) -> list[Crop]:
    """Bright-field crops of a folder of real images, evenly spread over it."""
    paths = sorted(
        path for path in folder.rglob("*") if path.stem.endswith(("_BF", "_Brightfield"))
    )
    return [_read(path, um_per_px) for path in paths[:: max(1, len(paths) // count)][:count]]


@cache
def _read(path: Path, um_per_px: float | None) -> Crop:
    decoded = decode(path.read_bytes())
    pixels = decoded.pixels
    return Crop(pixels, um_per_px, 8 if pixels.dtype == np.uint8 else 12, _measured(pixels))


def _measured(pixels: GreyImage) -> float:
    sight = look(pixels)
    return max(sight.objects[0].diameter - 2, 4) * sight.factor if sight.objects else 0.0


Defect = Callable[[np.random.Generator, Crop, Crop], Crop]
"""From a crop, and another of the same kind, to the crop with the defect."""


def empty(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """The cell is not there: values of the crop's own rim, shuffled."""
    return _like(crop, _background(rng, crop.pixels, crop.pixels.shape))


def blurred(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """The cell is far out of focus: blurred by a quarter of its size, the noise as it was."""
    values = crop.pixels.astype(np.float32)
    noise = _background(rng, crop.pixels, crop.pixels.shape)
    blur = cv2.GaussianBlur(values, (0, 0), crop.diameter / 4, borderType=cv2.BORDER_REPLICATE)
    return _like(crop, blur + noise - noise.mean())


def cut(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """The crop ends in the middle of the cell."""
    half = crop.pixels.shape[1] // 2
    return _like(crop, crop.pixels[:, :half] if rng.random() < 0.5 else crop.pixels[:, -half:])


def debris(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """A piece of 3 um, or a quarter of the cell's size."""
    share = 3 / (crop.diameter * crop.um_per_px) if crop.um_per_px else 0.25
    height, width = crop.pixels.shape
    small = (max(4, round(width * share)), max(4, round(height * share)))
    piece = cv2.resize(_transmitted(crop), small, interpolation=cv2.INTER_AREA)
    return _like(crop, _put(_background(rng, crop.pixels, (height, width)), piece, 0, 0))


def under_exposed(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """The background lies at 2 % of the full range."""
    return _like(crop, crop.pixels * (0.02 * 2**crop.bits / np.median(crop.pixels)))


def over_exposed(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """The background lies above the full range."""
    return _like(crop, crop.pixels * (1.1 * 2**crop.bits / np.median(crop.pixels)))


def coarse(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """A cell of some 5 pixels."""
    share = 5 / max(crop.diameter, 20)
    height, width = crop.pixels.shape
    size = (max(8, round(width * share)), max(8, round(height * share)))
    small = cv2.resize(crop.pixels, size, interpolation=cv2.INTER_AREA)
    scale = crop.um_per_px and crop.um_per_px / share
    return Crop(small, scale, crop.bits, crop.diameter * share)


def neighbour(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """Another cell, a third of the two cells' mean diameter apart."""
    return _beside(rng, crop, other, 1.0 + 1 / 3)


def touching(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """Another cell that touches the first."""
    return _beside(rng, crop, other, 0.95)


def overlapping(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """Another cell that lies a quarter of the two cells' mean diameter on the first."""
    return _beside(rng, crop, other, 0.75)


DEFECTS: dict[str, Defect] = {
    "empty": empty,
    "out-of-focus": blurred,
    "cut-by-edge": cut,
    "debris": debris,
    "under-exposed": under_exposed,
    "over-exposed": over_exposed,
    "too-few-pixels": coarse,
    "neighbour": neighbour,
    "overlap": overlapping,
    "cluster": touching,
}
"""By the code that they are to be found by; `cluster` is the flag."""


def spoilt(crops: list[Crop], code: str, seed: int = 0) -> Iterator[Crop]:
    """Yield each crop with a defect; a second cell comes from the next crop of a similar scale."""
    for number, crop in enumerate(crops):
        rng = np.random.default_rng((seed, number))
        others = crops[number + 1 :] + crops[:number] or [crop]
        yield DEFECTS[code](rng, crop, min(others[:12], key=lambda each: _unlike(crop, each)))


def _unlike(crop: Crop, other: Crop) -> float:
    """How different two crops' pixels are in size, for a second cell that could be of the run."""
    return abs(np.log((crop.um_per_px or 1) / (other.um_per_px or 1)))


def _like(crop: Crop, values: np.ndarray) -> Crop:
    clipped = np.clip(np.rint(values), 0, 2**crop.bits - 1).astype(crop.pixels.dtype)
    return Crop(clipped, crop.um_per_px, crop.bits, crop.diameter)


def _background(rng: np.random.Generator, pixels: GreyImage, shape: tuple[int, ...]) -> np.ndarray:
    """Values drawn from the middle half of those along the crop's edge."""
    rim = np.concatenate([pixels[:2].ravel(), pixels[-2:].ravel(), pixels[:, :2].ravel()])
    rim = rim[np.abs(rim - np.median(rim)) <= 4 * np.median(np.abs(rim - np.median(rim))) + 1]
    return rng.choice(rim, shape).astype(np.float32)


def _transmitted(crop: Crop) -> np.ndarray:
    """What the crop's main object lets through, 1 around it."""
    sight = look(crop.pixels)
    if not sight.objects:
        return np.ones(crop.pixels.shape, np.float32)
    inside = np.zeros(sight.soft.shape, np.float32)
    cv2.drawContours(inside, [sight.objects[0].outline], 0, 1.0, cv2.FILLED)
    height, width = crop.pixels.shape
    mask = cv2.resize(inside, (width, height), interpolation=cv2.INTER_LINEAR)
    mask = np.clip(2 * cv2.GaussianBlur(mask, (0, 0), max(sight.factor, 1)), 0, 1)
    return 1 + mask * (crop.pixels / sight.level - 1)


def _put(field: np.ndarray, piece: np.ndarray, x: float, y: float) -> np.ndarray:
    """Multiply a piece into a field, its middle (x, y) from the field's."""
    height, width = field.shape
    shift = np.float32(
        [[1, 0, (width - piece.shape[1]) / 2 + x], [0, 1, (height - piece.shape[0]) / 2 + y]]
    )
    return field * cv2.warpAffine(piece, shift, (width, height), borderValue=1.0)


def _beside(rng: np.random.Generator, crop: Crop, other: Crop, reach: float) -> Crop:
    """Put two cells on a field that holds both, `reach` times their mean diameter apart."""
    apart = reach * (crop.diameter + other.diameter) / 2
    side = round(max(*crop.pixels.shape, 1.4 * apart + 1.2 * (crop.diameter + other.diameter) / 2))
    turn = rng.uniform(0, 2 * np.pi)
    x, y = apart / 2 * np.cos(turn), apart / 2 * np.sin(turn)
    field = _background(rng, crop.pixels, (side, side))
    field = _put(field, _transmitted(crop), -x, -y)
    return _like(crop, _put(field, _transmitted(other), x, y))
