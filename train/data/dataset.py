"""Labelled cells as the network sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctcedge.discovery.naming import BRIGHT_FIELD
from ctcedge.errors import BadImage
from ctcedge.images.decode import Decoded, GreyImage, decode
from ctcedge.images.preprocess import BACKGROUND_LEVEL, InputSpec, network_input

from ..simulate import Cell
from .columns import Columns
from .manifest import POSITIVE, ManifestError, Row, abbreviate

NUCLEUS = "DAPI"
CHANNELS = (BRIGHT_FIELD, NUCLEUS)


@dataclass(frozen=True, slots=True)
class Cells(Columns):
    """Labelled cells, one a row.

    Attributes:
        bright: (n, size, size) uint8, bright field made by
        `ctcedge.images.preprocess.network_input`.
        nucleus: (n, size, size) uint8, DAPI made alike; background where there is none.
        has_nucleus: (n,) bool, whether there is a DAPI image.
        positive: (n,) bool, true for a CTC.
        group: (n,) text, what must never stand on both sides of a split.
        sample: (n,) text.
        cell: (n,) text.
        stratum: (n,) text.
        digest: (n,) text, 16 hexadecimal digits of the SHA-256 of the bright-field pixels; of a
            blank image, which is like any other blank one, of its sample and cell.
        diameter_um: (n,) the true diameter, um; NaN where nobody knows it.
    """

    bright: NDArray[np.uint8]
    nucleus: NDArray[np.uint8]
    has_nucleus: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    group: NDArray[np.str_]
    sample: NDArray[np.str_]
    cell: NDArray[np.str_]
    stratum: NDArray[np.str_]
    digest: NDArray[np.str_]
    diameter_um: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TrainingProvenance(Columns):
    """Cells that had a part in some weights, one a row; nothing that names a patient.

    Attributes:
        digest: (n,) text, as `Cells.digest`.
        sample_digest: (n,) text, `name_digest` of the group; empty where nobody knows it.
    """

    digest: NDArray[np.str_]
    sample_digest: NDArray[np.str_]

    @classmethod
    def empty(cls) -> TrainingProvenance:
        """No cells."""
        return cls(np.array([], "<U16"), np.array([], "<U16"))

    @classmethod
    def of(cls, cells: Cells) -> TrainingProvenance:
        """What is kept of cells."""
        return cls(cells.digest, name_digests(cells.group))

    def matching_groups(self, groups: Iterable[str]) -> list[str]:
        """Return the groups whose name is among those of these cells."""
        names = set(self.sample_digest.tolist())
        return [group for group in groups if name_digest(group) in names]


def name_digest(name: str) -> str:
    """Return what stands for a group's name where the name itself must not."""
    return _digest(name.encode())


def name_digests(names: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return `name_digest` of each of (n,) names."""
    return np.array([name_digest(name) for name in names.tolist()], "<U16")


OnImage: TypeAlias = Callable[[Row, Decoded, NDArray[np.uint8]], object]
"""Told a cell, its bright field as decoded, and what the network sees of that, (size, size)."""


def read_cells(
    rows: Sequence[Row], spec: InputSpec, each: Callable[[], object], look: OnImage | None = None
) -> Cells:
    """Read the images of labelled rows, through the runtime's own decoding and preprocessing.

    Args:
        rows: of manifests, each with a label.
        spec: the network's expectations.
        each: called after each cell.
        look: called with each cell that can be read, as the whole images are not kept.

    Raises:
        ManifestError: naming every image that cannot be read.
    """
    made, bad = [], []
    for row in rows:
        try:
            decoded = {
                channel: decode(path.read_bytes())
                for channel, path in row.images.items()
                if channel in CHANNELS
            }
            images = {channel: image.pixels for channel, image in decoded.items()}
            seen = _Images.of(images, row.um_per_px, spec, f"{row.sample_id}/{row.cell}")
            if look is not None:
                look(row, decoded[BRIGHT_FIELD], seen.bright)
            made.append(seen)
        except (OSError, BadImage) as error:
            bad.append(f"cell {row.cell} of sample {row.sample_id}: {error}")
        each()
    if bad:
        raise ManifestError(
            f"{len(bad):,} cells have an image that cannot be read; remove their rows:\n  "
            + abbreviate(bad, "\n  ")
        )
    return _stack(
        made,
        positive=[row.label == POSITIVE for row in rows],
        group=[row.group for row in rows],
        sample=[row.sample_id for row in rows],
        cell=[row.cell for row in rows],
        stratum=[row.stratum for row in rows],
        diameter_um=[np.nan] * len(rows),
    )


def cells_from_simulation(
    cells: Iterable[Cell], spec: InputSpec, each: Callable[[], object] = lambda: None
) -> Cells:
    """Bring simulated cells to the network's input; their group is the hospital."""
    made, told = [], []
    for cell in cells:
        whose = f"{cell.sample}/{cell.cell}"
        made.append(_Images.of(cell.images, cell.um_per_px, spec, whose))
        told.append((cell.label, cell.hospital, cell.sample, cell.cell, cell.diameter_um))
        each()
    label, hospital, sample, number, diameter_um = zip(*told, strict=True)
    return _stack(
        made,
        positive=[name == POSITIVE for name in label],
        group=hospital,
        sample=sample,
        cell=number,
        stratum=label,
        diameter_um=diameter_um,
    )


@dataclass(frozen=True, slots=True)
class _Images:
    """One cell's images at the network's input."""

    bright: NDArray[np.uint8]
    nucleus: NDArray[np.uint8] | None
    digest: str

    @classmethod
    def of(
        cls,
        images: Mapping[str, GreyImage],
        um_per_px: float | None,
        spec: InputSpec,
        whose: str,
    ) -> _Images:
        pixels = images[BRIGHT_FIELD]
        inputs = [
            network_input(images[channel], um_per_px, spec) if channel in images else None
            for channel in CHANNELS
        ]
        assert inputs[0] is not None
        return cls(inputs[0], inputs[1], image_digest(pixels, whose))


def image_digest(pixels: NDArray[np.generic], whose: str = "") -> str:
    """Return what `Cells.digest` holds of bright-field pixels, and of whose they are."""
    if pixels.min() == pixels.max():
        return _digest(whose.encode())
    return _digest(f"{pixels.shape} {pixels.dtype} ".encode() + pixels.tobytes())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _stack(seen: Sequence[_Images], **columns: Sequence[object]) -> Cells:
    absent = np.full_like(seen[0].bright, BACKGROUND_LEVEL)
    return Cells(
        bright=np.stack([one.bright for one in seen]),
        nucleus=np.stack([absent if one.nucleus is None else one.nucleus for one in seen]),
        has_nucleus=np.array([one.nucleus is not None for one in seen]),
        digest=np.array([one.digest for one in seen]),
        **{name: np.array(values) for name, values in columns.items()},
    )


def draw_by_sample(cells: Cells, count: int, seed: int) -> Cells:
    """Draw up to `count` cells, as `rows_by_sample` says."""
    return cells.select(rows_by_sample(cells.sample, cells.positive, count, seed))


def rows_by_sample(
    sample: NDArray[np.str_], positive: NDArray[np.bool_], count: int, seed: int
) -> NDArray[np.intp]:
    """Draw as evenly as possible from both classes, and of a class from every sample.

    So all cells of the rarer class are drawn, up to half the count.

    Args:
        sample: (n,) of each cell.
        positive: (n,).
        count: most to draw.
        seed: of the draw.

    Returns:
        (`count`,) or (n,) rows, rising.
    """
    order = np.random.default_rng(seed).permutation(len(sample))
    kind = 2 * np.unique(sample, return_inverse=True)[1] + positive
    order = order[np.argsort(_rank_within_group(kind[order]), kind="stable")]
    order = order[np.argsort(_rank_within_group(positive[order]), kind="stable")]
    return np.sort(order[:count])


def _rank_within_group(kinds: NDArray[np.generic]) -> NDArray[np.intp]:
    """Return (n,), how many of its kind stand before each."""
    by_kind = np.argsort(kinds, kind="stable")
    _, first, counts = np.unique(kinds[by_kind], return_index=True, return_counts=True)
    turns = np.empty(len(kinds), dtype=np.intp)
    turns[by_kind] = np.arange(len(kinds)) - np.repeat(first, counts)
    return turns
