"""Labelled cells as network inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.errors import BadImage
from ctcedge.images.decode import Decoded, GreyImage, decode
from ctcedge.images.preprocess import BACKGROUND_LEVEL, InputSpec, network_input
from ctcedge.report.texts import plural

from ..simulate import Cell
from .columns import Columns
from .manifest import POSITIVE, ManifestError, Row, abbreviate

NUCLEUS = "DAPI"
CHANNELS = (BRIGHT_FIELD, NUCLEUS)


@dataclass(frozen=True, slots=True)
class Cells(Columns):
    """Labelled cells, one per row.

    Attributes:
        bright: (n, size, size) uint8, bright field by
            `ctcedge.images.preprocess.network_input`.
        nucleus: (n, size, size) uint8, DAPI in the same way; background where there is none.
        has_nucleus: (n,) bool, whether there is a DAPI image.
        positive: (n,) bool, true for a CTC.
        group: (n,) text, patient or sample, which must be in one split only.
        sample: (n,) text.
        cell: (n,) text.
        stratum: (n,) text.
        digest: (n,) text, 16 hexadecimal digits of the SHA-256 of the bright-field pixels; for
            a blank image, of its sample and cell.
        diameter_um: (n,) the true diameter, um; NaN where unknown.
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
    """Cells that a checkpoint was trained on, one per row, without names of patients.

    Attributes:
        digest: (n,) text, as `Cells.digest`.
        sample_digest: (n,) text, `name_digest` of the group; empty where unknown.
    """

    digest: NDArray[np.str_]
    sample_digest: NDArray[np.str_]

    @classmethod
    def empty(cls) -> TrainingProvenance:
        """Return a table without cells."""
        return cls(np.array([], "<U16"), np.array([], "<U16"))

    @classmethod
    def of(cls, cells: Cells) -> TrainingProvenance:
        """Return the provenance of cells."""
        return cls(cells.digest, name_digests(cells.group))

    def used_groups(self, cells: Cells) -> list[str]:
        """Return the groups of cells that have an image or a name among these cells, sorted."""
        by_image = cells.group[np.isin(cells.digest, self.digest)].tolist()
        return sorted({*by_image, *self.matching_groups(np.unique(cells.group).tolist())})

    def matching_groups(self, groups: Iterable[str]) -> list[str]:
        """Return the groups whose name is among those of these cells."""
        names = set(self.sample_digest.tolist())
        return [group for group in groups if name_digest(group) in names]


def name_digest(name: str) -> str:
    """Return a digest that replaces the name of a group."""
    return _digest(name.encode())


def name_digests(names: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return `name_digest` of each of (n,) names."""
    return np.array([name_digest(name) for name in names.tolist()], "<U16")


OnImage: TypeAlias = Callable[[Row, Decoded, NDArray[np.uint8]], object]
"""Receives a row, its decoded bright field, and the network input of it, (size, size)."""


def read_cells(
    rows: Sequence[Row],
    spec: InputSpec,
    on_cell: Callable[[], object],
    on_image: OnImage | None = None,
) -> Cells:
    """Read the images of labelled rows with the runtime's decoding and preprocessing.

    Args:
        rows: of manifests, each with a label.
        spec: of the network input.
        on_cell: called after each cell.
        on_image: called with each readable cell, as the whole images are not kept.

    Raises:
        ManifestError: naming every image that cannot be read.
    """
    cells, unreadable = [], []
    for row in rows:
        try:
            decoded = {
                channel: decode(path.read_bytes())
                for channel, path in row.images.items()
                if channel in CHANNELS
            }
            images = {channel: image.pixels for channel, image in decoded.items()}
            inputs = _Inputs.of(images, row.um_per_px, spec, f"{row.sample_id}/{row.cell}")
            if on_image is not None:
                on_image(row, decoded[BRIGHT_FIELD], inputs.bright)
            cells.append(inputs)
        except (OSError, BadImage) as error:
            unreadable.append(f"cell {row.cell} of sample {row.sample_id}: {error}")
        on_cell()
    if unreadable:
        raise ManifestError(
            f"images of {plural(len(unreadable), 'cell')} cannot be read; remove the rows of:\n  "
            + abbreviate(unreadable, "\n  ")
        )
    return _stack(
        cells,
        positive=[row.label == POSITIVE for row in rows],
        group=[row.group for row in rows],
        sample=[row.sample_id for row in rows],
        cell=[row.cell for row in rows],
        stratum=[row.stratum for row in rows],
        diameter_um=[np.nan] * len(rows),
    )


def cells_from_simulation(
    cells: Iterable[Cell], spec: InputSpec, on_cell: Callable[[], object] = lambda: None
) -> Cells:
    """Convert simulated cells to network inputs; their group is the hospital."""
    inputs, facts = [], []
    for cell in cells:
        name = f"{cell.sample}/{cell.cell}"
        inputs.append(_Inputs.of(cell.images, cell.um_per_px, spec, name))
        facts.append((cell.label, cell.hospital, cell.sample, cell.cell, cell.diameter_um))
        on_cell()
    label, hospital, sample, number, diameter_um = zip(*facts, strict=True)
    return _stack(
        inputs,
        positive=[value == POSITIVE for value in label],
        group=hospital,
        sample=sample,
        cell=number,
        stratum=label,
        diameter_um=diameter_um,
    )


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Network inputs of one cell."""

    bright: NDArray[np.uint8]
    nucleus: NDArray[np.uint8] | None
    digest: str

    @classmethod
    def of(
        cls,
        images: Mapping[str, GreyImage],
        um_per_px: float | None,
        spec: InputSpec,
        name: str,
    ) -> _Inputs:
        pixels = images[BRIGHT_FIELD]
        inputs = [
            network_input(images[channel], um_per_px, spec) if channel in images else None
            for channel in CHANNELS
        ]
        assert inputs[0] is not None
        return cls(inputs[0], inputs[1], image_digest(pixels, name))


def image_digest(pixels: NDArray[np.generic], name: str = "") -> str:
    """Return `Cells.digest` of bright-field pixels; of the cell's name where they are blank."""
    if pixels.min() == pixels.max():
        return _digest(name.encode())
    return _digest(f"{pixels.shape} {pixels.dtype} ".encode() + pixels.tobytes())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _stack(cells: Sequence[_Inputs], **columns: Sequence[object]) -> Cells:
    absent = np.full_like(cells[0].bright, BACKGROUND_LEVEL)
    return Cells(
        bright=np.stack([cell.bright for cell in cells]),
        nucleus=np.stack([absent if cell.nucleus is None else cell.nucleus for cell in cells]),
        has_nucleus=np.array([cell.nucleus is not None for cell in cells]),
        digest=np.array([cell.digest for cell in cells]),
        **{name: np.array(values) for name, values in columns.items()},
    )


def draw_by_sample(cells: Cells, count: int, seed: int) -> Cells:
    """Draw up to `count` cells by `rows_by_sample`."""
    return cells.select(rows_by_sample(cells.sample, cells.positive, count, seed))


def rows_by_sample(
    sample: NDArray[np.str_], positive: NDArray[np.bool_], count: int, seed: int
) -> NDArray[np.intp]:
    """Draw as evenly as possible from both classes, and within a class from all samples.

    All cells of the rarer class are drawn, up to half of the count.

    Args:
        sample: (n,) of each cell.
        positive: (n,).
        count: maximum number.
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
    """Return (n,), the number of earlier elements of the same kind."""
    by_kind = np.argsort(kinds, kind="stable")
    _, first, counts = np.unique(kinds[by_kind], return_index=True, return_counts=True)
    rank = np.empty(len(kinds), dtype=np.intp)
    rank[by_kind] = np.arange(len(kinds)) - np.repeat(first, counts)
    return rank
