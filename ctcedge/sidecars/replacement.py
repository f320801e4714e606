"""What a file at a sidecar's path allows: whether it may be replaced, and by what content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from ctcedge.discovery.naming import SIDECAR_SUFFIX, Crop
from ctcedge.errors import CtcEdgeError
from ctcedge.sidecars.chain import chained_to_salvaged
from ctcedge.sidecars.ownership import folded, looks_like, other_owner
from ctcedge.sidecars.parse import (
    MAX_BYTES,
    NewerSchemaError,
    Parsed,
    is_oversized_sidecar,
    parse,
    salvage,
)
from ctcedge.sidecars.schema import Sidecar, history_after

_SAME_NAMES = (
    "these names lead to the same file here, or the sidecar was copied; rename one, or give --out"
    " on a file system that tells such names apart"
)


class NotWritten(CtcEdgeError):
    """One sidecar cannot, or must not, be written, for a reason that concerns its path only."""


class NotRead(NotWritten):
    """There is a sidecar that cannot be read now; replacing it could erase a call."""


class OtherCropError(NotWritten):
    """The sidecar belongs to another crop of the folder, whose name leads to the same file."""


def check_owner(crop: Crop, sidecar: Sidecar, folder: Path, out: Path | None) -> None:
    """Check that the sidecar at a crop's path is that crop's.

    Args:
        crop: the crop.
        sidecar: the sidecar at its path.
        folder: the searched folder.
        out: root of the sidecars; None beside the images, where the sample's folder may be renamed.

    Raises:
        NotWritten: it is not.
    """
    if out is not None and sidecar.sample != crop.sample:
        path = f"{out}/{crop.path}{SIDECAR_SUFFIX}"
        owner = f"{path} belongs to sample '{sidecar.sample}', not '{crop.sample}'"
        if folded(sidecar.sample) == folded(crop.sample):
            raise OtherCropError(f"{owner}: {_SAME_NAMES}")
        raise NotWritten(f"{owner}; give each export folder its own --out")
    if (other := other_owner(crop, sidecar, folder)) is not None:
        form = " (with an accent in another form)" if looks_like(other, crop.path) else ""
        raise OtherCropError(f"sidecar belongs to {other}{form}: {_SAME_NAMES}")


def parse_file(data: bytes, path: str) -> Parsed | None:
    try:
        return parse(data)
    except NewerSchemaError:
        raise NotWritten(
            f"{path} was written by a newer ctcedge; update ctcedge or give another --out"
        ) from None


def check_size(data: bytes | None) -> None:
    """Check that a file is no sidecar that is larger than what is read, which must not be replaced.

    Raises:
        NotRead: it is one.
    """
    if data is not None and is_oversized_sidecar(data):
        raise NotRead(
            f"sidecar is larger than {MAX_BYTES:,} bytes; it is kept: move it away to have the crop"
            " classified again"
        )


def replacement(crop: Crop, sidecar: Sidecar | None) -> Callable[[Sidecar | None], Sidecar]:
    """The change from the sidecar that is there to a new one, or to itself in schema 3."""

    def upgrade(old: Sidecar | None) -> Sidecar:
        if old is None:
            raise NotWritten(f"the sidecar of {crop.path} changed meanwhile")
        return old

    def carry_over_history(old: Sidecar | None) -> Sidecar:
        assert sidecar is not None
        if old is None:
            return sidecar
        return msgspec.structs.replace(sidecar, review=old.review, history=history_after(old))

    return upgrade if sidecar is None else carry_over_history


def with_salvaged(sidecar: Sidecar, data: bytes) -> tuple[Sidecar, bool]:
    """The sidecar with the reviews and calls of a damaged file, and whether all could be read."""
    salvaged = salvage(data)
    combined = msgspec.structs.replace(
        sidecar,
        review=salvaged.review or sidecar.review,
        history=salvaged.history or sidecar.history,
    )
    return chained_to_salvaged(combined, salvaged.chain), salvaged.complete
