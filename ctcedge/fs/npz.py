"""Bounded reads of NumPy's .npz archives."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_npz(data: bytes, max_unpacked_bytes: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of an archive, by name.

    Args:
        data: the archive.
        max_unpacked_bytes: size of the largest content that is unpacked.

    Raises:
        ValueError: the archive is damaged, holds Python objects, or unpacks to more than that.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked_bytes = sum(member.file_size for member in archive.infolist())
        if unpacked_bytes > max_unpacked_bytes:
            raise ValueError(f"more than {max_unpacked_bytes:,} bytes when unpacked")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            unpacked = {name: arrays[name] for name in arrays.files}
    except ValueError:
        raise
    except Exception as error:  # NumPy and zipfile share no base exception for damaged files
        raise ValueError(str(error) or type(error).__name__) from None
    for name, array in unpacked.items():
        if not isinstance(array, np.ndarray):  # NumPy returns any other file's bytes
            raise ValueError(f"'{name}' is not an array")
    return unpacked
