"""Write a table as AnnData (.h5ad), the format of single-cell analysis in Python and R.

A row is an observation, named by its path. `X` holds what is measured of the cell (area, focus,
stains), `obsm` the network's features, `obs` all other columns.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

from ctcedge.results.columns import MORPHOLOGY, STAIN_COLUMNS, Kind, Row, Value
from ctcedge.version import __version__

_ENDINGS = tuple(f"_{name}" for name, _ in STAIN_COLUMNS)
_ALWAYS_THERE = ("path", "sample", "cell", "status")
"""Columns that are plain texts; others can be missing, and are categories."""


def write_h5ad(table: Iterable[Row], kinds: Mapping[str, Kind], file: BinaryIO) -> None:
    """Write rows as AnnData; all rows are held in memory.

    A number that is missing is NaN in `X`, `obsm` and `obs`.
    """
    import anndata
    import h5py
    import numpy as np
    import pandas as pd

    rows = list(table)
    measured = [name for name in kinds if name in MORPHOLOGY or name.endswith(_ENDINGS)]
    others = {n: kind for n, kind in kinds.items() if n not in measured and kind != "vector"}
    names = [_stored(row.get("path", next(iter(row.values()), ""))) for row in rows]
    values = np.array([[_number(row.get(name)) for name in measured] for row in rows], np.float64)
    columns = {
        _key(name): _series([row.get(name) for row in rows], name, kind)
        for name, kind in others.items()
    }
    data = anndata.AnnData(
        X=values.reshape(len(rows), len(measured)),
        obs=pd.DataFrame(columns, index=pd.Index(names, dtype=object)),
        var=pd.DataFrame(index=pd.Index(list(map(_key, measured)), dtype=object)),
        obsm=_vectors(rows, [name for name, kind in kinds.items() if kind == "vector"]),
        uns={"ctcedge_version": __version__},
    )
    buffer = io.BytesIO()  # HDF5 reads what it writes, which `file` does not allow
    with h5py.File(buffer, "w") as store:
        anndata.io.write_elem(store, "/", data)
    file.write(buffer.getbuffer())


def _series(values: Sequence[Value], name: str, kind: Kind) -> Any:
    import numpy as np
    import pandas as pd

    if kind == "number":
        return np.array(list(map(_number, values)), np.float64)
    if kind != "text":
        return pd.array(list(values), dtype="Int64" if kind == "whole" else "boolean")
    texts = [None if value is None else _stored(value) for value in values]
    return np.array(texts, object) if name in _ALWAYS_THERE else pd.Categorical(texts)


def _vectors(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Any]:
    """Return the matrices of columns of vectors: one, or one per model where there are several.

    Features of different models mean different things. The rows of other models are NaN.
    """
    import numpy as np

    matrices = {}
    for name in names:
        found = [(row.get("model_sha256"), row.get(name)) for row in rows]
        shapes = Counter((m, len(v)) for m, v in found if isinstance(v, tuple))
        ranked = [shape for shape, _ in shapes.most_common()]
        for model, length in ranked:
            key = name if len(ranked) == 1 else f"{name}_{str(model)[:8]}_{length}"
            missing = (math.nan,) * length
            chosen = [
                v if isinstance(v, tuple) and (m, len(v)) == (model, length) else missing
                for m, v in found
            ]
            matrices[key] = np.array(chosen, np.float32)
    return matrices


def _number(value: Value) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _key(name: str) -> str:
    """Return a name as HDF5 takes it."""
    return _stored(name).replace("/", "_")


def _stored(value: Value) -> str:
    """Return text as HDF5 takes it: without NUL, and without what is not UTF-8."""
    return str(value).replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
