"""Dataclasses whose fields are arrays with a row a cell."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class Columns:
    """Base of such a dataclass."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """Return the cells of a mask or of indices."""
        return type(self)(**{name: column[rows] for name, column in self.columns().items()})

    def concat(self, others: Self) -> Self:
        """Return these cells and then the others."""
        theirs = others.columns()
        return type(self)(
            **{name: np.concatenate([mine, theirs[name]]) for name, mine in self.columns().items()}
        )
