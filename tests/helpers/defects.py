"""Defects put into crops, simulated or real, for the quality checks to find.

A second cell beside a simulated one is simulated with it, under the same microscope. Beside a real
one it is another crop's: light passes through transparent cells one after the other, so that what
the two transmit is multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from ctcedge.images.decode import GreyImage, decode
from ctcedge.quality.background import downsampling_factor
from ctcedge.quality.segmentation import segment
from train.simulate import Cell, simulate_cells
from train.simulate.anatomy import Anatomy
from train.simulate.camera import expose
from train.simulate.hospital import STAINS, Hospital, draw_hospital, draw_sample
from train.simulate.maps import paint
from train.simulate.optics import Microscope
from train.simulate.scene import Body, Scene, draw_scene
from train.simulate.seeds import Stream, generator

_MIN_VISIBLE = 0.03
"""Root mean square of a clearly visible cell's deviation, as a fraction of the background."""
_OVER_NOISE = 2.0
"""The same, over the noise of a pixel."""
_FARTHEST_FOCUS_UM = 2.5
"""Above or below a clearly visible cell's middle."""


@dataclass(frozen=True)
class Origin:
    """Where a simulated cell comes from: the simulation's seed, and the cell's three indices."""

    seed: int
    hospital: int
    sample: int
    cell: int

    @classmethod
    def of(cls, seed: int, cell: Cell) -> Origin:
        return cls(seed, int(cell.hospital[1:]), int(cell.sample.split("s")[1]), int(cell.cell))

    def instrument(self) -> Hospital:
        return draw_hospital(self.seed, self.hospital)

    def scene(self, kind: str, carcinoma: bool, cell: int | None = None) -> Scene:
        """Draw its content once more, or that of another cell of its sample."""
        number = self.cell if cell is None else cell
        return draw_scene(
            generator(self.seed, Stream.SCENE, self.hospital, self.sample, number),
            kind,
            carcinoma,
            self.instrument(),
            draw_sample(self.seed, self.hospital, self.sample),
        )


@dataclass(frozen=True, eq=False)
class Crop:
    """A crop with a cell in its middle.

    Attributes:
        pixels: as stored.
        um_per_px: edge length of a pixel; None where nobody knows it.
        bits: that its values use.
        diameter: of the cell, in pixels; as measured where nobody knows it.
        origin: of a simulated one.
        carcinoma: whether it is simulated as a CTC.
        is_colour: whether its colours differed before they were made grey.
    """

    pixels: GreyImage
    um_per_px: float | None
    bits: int
    diameter: float
    origin: Origin | None = None
    carcinoma: bool = False
    is_colour: bool = False


def simulated(count: int, seed: int) -> list[Crop]:
    """Whole single cells of simulated hospitals, without the dust that one crop in eight holds."""
    found: list[Crop] = []
    for run in range(seed, seed + count):
        for cell in simulate_cells(hospitals=8, samples=1, cells=3, seed=run, channels=("BF",)):
            origin, carcinoma = Origin.of(run, cell), cell.label == "CTC"
            # Dust is a body of its own.
            if cell.kind == "single" and len(origin.scene(cell.kind, carcinoma).bodies) == 1:
                pixels = cell.images["BF"]
                bits = 8 if pixels.dtype == np.uint8 else 12 if int(pixels.max()) < 4096 else 16
                size = cell.diameter_um / cell.um_per_px
                found.append(Crop(pixels, cell.um_per_px, bits, size, origin, carcinoma))
        if len(found) >= count:
            break
    return found[:count]


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
    (found,) = segment([pixels])
    factor = downsampling_factor(*pixels.shape)
    return max(found.objects[0].diameter - 2, 4) * factor if found.objects else 0.0


Defect = Callable[[np.random.Generator, Crop, Crop], Crop | None]
"""From a crop, and another of the same kind, to the crop with the defect; None where a person would
not see it."""


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
    fraction = 3 / (crop.diameter * crop.um_per_px) if crop.um_per_px else 0.25
    height, width = crop.pixels.shape
    small = (max(4, round(width * fraction)), max(4, round(height * fraction)))
    piece = cv2.resize(_transmitted(crop), small, interpolation=cv2.INTER_AREA)
    return _like(crop, _put(_background(rng, crop.pixels, (height, width)), piece, 0, 0))


def under_exposed(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """The background is at 2 % of the full range."""
    return _like(crop, crop.pixels * (0.02 * 2**crop.bits / np.median(crop.pixels)))


def over_exposed(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """The background is above the full range."""
    return _like(crop, crop.pixels * (1.1 * 2**crop.bits / np.median(crop.pixels)))


def coarse(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """A cell of some 5 pixels."""
    fraction = 5 / max(crop.diameter, 20)
    height, width = crop.pixels.shape
    size = (max(8, round(width * fraction)), max(8, round(height * fraction)))
    resized = cv2.resize(crop.pixels, size, interpolation=cv2.INTER_AREA)
    small = _like(crop, resized).pixels
    scale = crop.um_per_px and crop.um_per_px / fraction
    return Crop(small, scale, crop.bits, crop.diameter * fraction)


def coloured(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """A stain is laid over it in a colour of its own, as an overlay has it."""
    values = crop.pixels.astype(np.float32) / 2**crop.bits * 255
    stain = np.clip(255 * (_transmitted(crop) < 0.97), 0, 255)
    overlay = np.stack([np.maximum(values, stain), values, values], -1)
    encoded = cv2.imencode(".png", np.clip(overlay, 0, 255).astype(np.uint8))[1].tobytes()
    decoded = decode(encoded)
    return replace(crop, pixels=decoded.pixels, bits=8, is_colour=decoded.is_colour)


def montage(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop:
    """Thirty cells side by side in one image."""
    return _like(crop, np.tile(crop.pixels, (5, 6)))


def neighbour(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop | None:
    """Another cell, separated by a third of the two cells' mean diameter."""
    return _beside(rng, crop, other, 1.0 + 1 / 3)


def touching(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop | None:
    """Another cell that touches the first."""
    return _beside(rng, crop, other, 0.95)


def overlapping(rng: np.random.Generator, crop: Crop, other: Crop) -> Crop | None:
    """Another cell that overlaps the first by a quarter of the two cells' mean diameter."""
    return _beside(rng, crop, other, 0.75)


DEFECTS: dict[str, Defect] = {
    "empty": empty,
    "out-of-focus": blurred,
    "truncated": cut,
    "debris": debris,
    "under-exposed": under_exposed,
    "over-exposed": over_exposed,
    "low-resolution": coarse,
    "colour": coloured,
    "oversized": montage,
    "multiple-objects": neighbour,
    "overlap": overlapping,
    "cluster": touching,
}
"""By the code that they are to be found by; `cluster` is the flag."""


def add_defect(crops: list[Crop], code: str, seed: int = 0) -> Iterator[Crop]:
    """Yield crops with a visible defect; a second cell comes from a later crop of like scale."""
    for number, crop in enumerate(crops):
        rng = np.random.default_rng((seed, number))
        others = crops[number + 1 :] + crops[:number] or [crop]
        made = DEFECTS[code](
            rng, crop, min(others[:12], key=lambda each: _scale_difference(crop, each))
        )
        if made is not None:
            yield made


def _scale_difference(crop: Crop, other: Crop) -> float:
    """Return the difference of two crops' um/px, as the absolute logarithm of their ratio."""
    return float(abs(np.log((crop.um_per_px or 1) / (other.um_per_px or 1))))


def _like(crop: Crop, values: np.ndarray) -> Crop:
    clipped = np.clip(np.rint(values), 0, 2**crop.bits - 1).astype(crop.pixels.dtype)
    return replace(crop, pixels=clipped)


def _background(rng: np.random.Generator, pixels: GreyImage, shape: tuple[int, ...]) -> np.ndarray:
    """Values drawn from the middle half of those along the crop's edge."""
    rim = _rim(pixels)
    rim = rim[np.abs(rim - np.median(rim)) <= 4 * np.median(np.abs(rim - np.median(rim))) + 1]
    return rng.choice(rim, shape).astype(np.float32)


def _rim(pixels: GreyImage) -> np.ndarray:
    return np.concatenate([pixels[:2].ravel(), pixels[-2:].ravel(), pixels[:, :2].ravel()])


def _transmitted(crop: Crop) -> np.ndarray:
    """What the crop lets through about its middle, over its background; 1 farther out."""
    height, width = crop.pixels.shape
    y, x = np.mgrid[:height, :width]
    reach = min(height / 2, width / 2, 0.75 * crop.diameter + 2)
    far = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) / reach
    inside = np.clip((1 - far) / 0.15, 0, 1)
    return np.asarray(1 + inside * (crop.pixels / np.median(_rim(crop.pixels)) - 1), np.float32)


def _put(field: np.ndarray, piece: np.ndarray, x: float, y: float) -> np.ndarray:
    """Multiply a piece into a field, its middle (x, y) from the field's."""
    height, width = field.shape
    left, top = (width - piece.shape[1]) / 2 + x, (height - piece.shape[0]) / 2 + y
    shift = np.array([[1, 0, left], [0, 1, top]], np.float32)
    return np.asarray(field * cv2.warpAffine(piece, shift, (width, height), borderValue=1.0))


def _beside(rng: np.random.Generator, crop: Crop, other: Crop, reach: float) -> Crop | None:
    """Put two cells on a field that holds both, at `reach` times their mean diameter."""
    if crop.origin is not None:
        return _simulated_beside(rng, crop, crop.origin, reach)
    distance = reach * (crop.diameter + other.diameter) / 2
    side = round(
        max(*crop.pixels.shape, 1.4 * distance + 1.2 * (crop.diameter + other.diameter) / 2)
    )
    turn = rng.uniform(0, 2 * np.pi)
    x, y = distance / 2 * np.cos(turn), distance / 2 * np.sin(turn)
    field = _background(rng, crop.pixels, (side, side))
    field = _put(field, _transmitted(crop), -x, -y)
    return _like(crop, _put(field, _transmitted(other), x, y))


def _simulated_beside(
    rng: np.random.Generator, crop: Crop, origin: Origin, reach: float
) -> Crop | None:
    """Simulate the cell beside another of its sample; None where one is not clearly visible."""
    cells = [
        origin.scene("single", carcinoma, number).bodies[0].anatomy
        for carcinoma, number in (
            (crop.carcinoma, origin.cell),
            (bool(rng.random() < 0.5), 1000 + origin.cell),
        )
    ]
    sizes = [cell.diameter for cell in cells]
    distance, turn = reach * sum(sizes) / 2, rng.uniform(0, 2 * np.pi)
    pitch = origin.instrument().um_per_px
    side = max(crop.pixels.shape[0], round(1.25 * (distance + sum(sizes) / 2) / pitch))
    hospital = replace(origin.instrument(), crop_px=side)
    sample = draw_sample(origin.seed, origin.hospital, origin.sample)
    focus = hospital.focus_um + sample.focus_um + rng.normal(0, hospital.focus_spread_um)
    if abs(focus) > _FARTHEST_FOCUS_UM:
        return None
    middle = hospital.electrodes.pitch_um / 2 if hospital.electrodes else 0.0
    electrodes = tuple(rng.normal(middle, 1.5, 2))
    scope = Microscope(hospital)
    ways = np.array([np.cos(turn), np.sin(turn)]) * distance / 2

    def light(shown: list[Anatomy]) -> np.ndarray:
        places = [ways if cell is cells[0] else -ways for cell in shown]
        bodies = [Body(cell, x, y, False) for cell, (x, y) in zip(shown, places, strict=True)]
        maps = paint(
            bodies,
            [dict.fromkeys(STAINS, 0.0)] * len(bodies),
            scope.size,
            scope.pitch_um,
            np.random.default_rng(0),
        )
        return scope.to_camera(scope.bright_field(maps, focus, electrodes))

    bare = light([])
    noise = np.hypot(hospital.electrons**-0.5, hospital.read_noise / hospital.electrons)
    min_signal = max(_MIN_VISIBLE, _OVER_NOISE * noise, float(bare.std()))
    y, x = (np.mgrid[:side, :side] + 0.5 - side / 2) * pitch
    for cell, way in zip(cells, (ways, -ways), strict=True):
        inside = np.hypot(x - way[0], y - way[1]) <= cell.diameter / 2
        if np.sqrt(np.mean((light([cell]) - bare)[inside] ** 2)) < min_signal:
            return None
    level = hospital.level * sample.gain
    pixels = expose(rng, light(cells), hospital, level=level, electrons=hospital.electrons)
    return replace(crop, pixels=pixels)
