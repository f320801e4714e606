from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from ctcedge.fs.npz import read_npz


def packed(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def test_arrays_by_name() -> None:
    arrays = read_npz(packed(a=np.arange(3), b=np.zeros((2, 2))), 10_000)
    assert sorted(arrays) == ["a", "b"]
    assert arrays["a"].tolist() == [0, 1, 2]


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked() -> None:
    data = packed(zeros=np.zeros(10_000_000, np.uint8))
    assert len(data) < 20_000
    with pytest.raises(ValueError, match="more than 1,000,000 bytes when unpacked"):
        read_npz(data, 1_000_000)


def test_what_is_no_archive_of_arrays_is_refused() -> None:
    text = io.BytesIO()
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("a.txt", b"text")
    objects = packed(a=np.array([{}], object))
    whole = packed(a=np.arange(1000))
    damaged = whole[:60] + bytes([whole[60] ^ 255]) + whole[61:]
    for data in (b"", b"PK\x03\x04", b"text", text.getvalue(), objects, whole[:-10], damaged):
        with pytest.raises(ValueError, match=r"\S"):
            read_npz(data, 1_000_000)
