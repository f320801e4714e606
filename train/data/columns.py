"""Dataclasses whose fields are arrays with one row per cell."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class Columns:
    """Base class of such dataclasses."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """Return the cells of a mask or of indices."""
        return type(self)(**{name: column[rows] for name, column in self.columns().items()})

    def concat(self, other: Self) -> Self:
        """Return these cells followed by the other ones."""
        appended = other.columns()
        return type(self)(
            **{
                name: np.concatenate([column, appended[name]])
                for name, column in self.columns().items()
            }
        )
