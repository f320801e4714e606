"""The columns that a table gets: all, a few, or those that the user names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ctcedge.errors import SettingsError
from ctcedge.results.columns import BRIEF, FEATURES, KINDS, Kind, stain_columns
from ctcedge.results.table_files import Format

ALL, FEW, STAINS = "all", "brief", "stains"
GROUPS = (ALL, FEW, STAINS)
_WITH_STAINS: tuple[Format, ...] = ("fcs", "h5ad")


def needs_stains(chosen: str | None, table_format: Format) -> bool:
    """Whether a choice may contain columns of stains, for which the folder must be searched."""
    if chosen is None:
        return table_format in _WITH_STAINS
    known = (*GROUPS, *KINDS, FEATURES.name)
    return any(name == STAINS or name not in known for name in _names(chosen))


def choose_columns(
    chosen: str | None, table_format: Format, channels: Sequence[str]
) -> dict[str, Kind]:
    """Return the types of the columns of a table, in their order.

    Args:
        chosen: names of columns and of `GROUPS`, separated by commas; None for all columns, with
            stains and features where the format is one of flow cytometry or single-cell analysis.
        table_format: format of the table.
        channels: stains of which the folder has images.

    Raises:
        SettingsError: a name is unknown, or the format cannot hold a column.
    """
    stains: dict[str, Kind] = dict.fromkeys(stain_columns(channels), "number")
    features: dict[str, Kind] = {FEATURES.name: FEATURES.kind}
    if chosen is None:
        kinds = dict(KINDS)
        if table_format in _WITH_STAINS:
            kinds |= stains
        return kinds | features if table_format == "h5ad" else kinds
    known = {**KINDS, **stains, **features}
    groups = {ALL: KINDS, FEW: {name: KINDS[name] for name in BRIEF}, STAINS: stains}
    kinds = {}
    for name in _names(chosen):
        if name == STAINS and not stains:
            raise SettingsError(
                "--columns stains: the folder holds no image of a stain; 'ctcedge inspect' shows"
                " how names are read"
            )
        if name not in groups and name not in known:
            raise SettingsError(_unknown(name, (*GROUPS, *known)))
        kinds |= groups.get(name) or {name: known[name]}
    if FEATURES.name in kinds and table_format != "h5ad":
        raise SettingsError(
            f"--columns {FEATURES.name}: only .h5ad holds the network's features; give --out"
            " FILE.h5ad"
        )
    return kinds


def measured_channels(kinds: dict[str, Kind], channels: Sequence[str]) -> list[str]:
    """Return the channels of which a table has a column."""
    return [
        channel for channel in channels if not kinds.keys().isdisjoint(stain_columns([channel]))
    ]


def _names(chosen: str) -> list[str]:
    return [name.strip() for name in chosen.split(",")]


def _unknown(name: str, known: Sequence[str]) -> str:
    if not name:
        return f"--columns: a name is empty; give {', '.join(GROUPS)}, or names of columns"
    folded = {each.casefold(): each for each in reversed(known)}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    hint = f"did you mean '{folded[close[0]]}'?" if close else f"there are: {', '.join(known)}"
    return f"--columns: there is no column '{name}'; {hint}"
