"""Write a table as FCS 3.1, the format of flow cytometers.

FCS holds numbers only. So each event has a number, the parameter `event`, and the texts of the
table are in a second file beside it, a row an event.
"""

from __future__ import annotations

import hashlib
import io
import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ctcedge.errors import OutputError
from ctcedge.results.columns import Kind, Row
from ctcedge.version import __version__

MAX_EVENTS = 2**24
"""Numbers of single precision count this far without a gap."""
_EVENT = "event"
_KEYWORD = "CTCEDGE_EVENTS"


def events_table(out: Path) -> Path:
    """Return the place of the table of events of an FCS file."""
    return out.with_name(f"{out.name.removesuffix(out.suffix)}.events.csv")


def write_fcs(
    table: Iterable[Row],
    kinds: Mapping[str, Kind],
    file: BinaryIO,
    beside: BinaryIO,
    name: str,
    write_csv: Callable[[Iterable[Row], Mapping[str, Kind], BinaryIO], None],
) -> int:
    """Write the numbers of rows as events, and their texts beside.

    Crops that have no sidecar are left out. A number that is missing is NaN, true is 1 and false 0.

    Args:
        table: rows.
        kinds: types of the columns, in their order.
        file: receives the events.
        beside: receives the table of events.
        name: name of that table, which the FCS file states together with the table's hash.
        write_csv: writes rows as CSV.

    Returns:
        The number of events.

    Raises:
        OutputError: there are more events than can be numbered.
    """
    import flowio

    numbers = [column for column, kind in kinds.items() if kind != "text"]
    values = array("f")
    events = 0

    def texts() -> Iterator[Row]:
        nonlocal events
        for row in table:
            if row.get("status") == "pending":
                continue
            events += 1
            if events > MAX_EVENTS:
                raise OutputError(f"FCS holds {MAX_EVENTS:,} numbered events, and there are more")
            values.append(events)
            values.extend(_number(row.get(column)) for column in numbers)
            yield {**row, _EVENT: events}

    hashing = _Hashing(beside)
    columns: dict[str, Kind] = {_EVENT: "whole"}
    columns |= {column: kind for column, kind in kinds.items() if kind == "text"}
    write_csv(texts(), columns, hashing)
    parameters = [_EVENT, *numbers]
    flowio.create_fcs(
        file,
        values,
        list(map(_parameter_name, parameters)),
        metadata_dict={
            **_ranges(values, len(parameters)),
            "CTCEDGE_VERSION": __version__,
            _KEYWORD: _stored(name),
            f"{_KEYWORD}_SHA256": hashing.sha256.hexdigest(),
        },
    )
    return events


class _Hashing(io.BytesIO):
    """Hashes what is written to a file."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: Any) -> int:
        """Write and hash."""
        self.sha256.update(data)
        return self._file.write(data)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _parameter_name(column: str) -> str:
    """Return the name as $PnN, which must not contain a comma; `/` delimits keywords."""
    return _stored(column).replace(",", " ").replace("/", "_")


def _ranges(values: array[float], parameters: int) -> dict[str, str]:
    """Return $PnR of each parameter: the next whole number above its values."""
    ranges = {}
    for index in range(parameters):
        finite = (value for value in values[index::parameters] if math.isfinite(value))
        ranges[f"$P{index + 1}R"] = str(math.floor(max(finite, default=0.0) or 0.0) + 1)
    return ranges


def _stored(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
