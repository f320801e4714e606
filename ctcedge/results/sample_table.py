"""The table of samples, which a laboratory writes: patient, volume of blood and kind of each.

A CSV file with a column `sample`, and any of `patient`, `volume_ml` and `kind`; other columns are
passed over. Commas, semicolons and tabs separate values; the header decides which.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec

from ctcedge.errors import SettingsError
from ctcedge.fs.files import UnsuitableFileError, is_absence, read_limited
from ctcedge.fs.problems import path_problem
from ctcedge.fs.text import TextError, decode_text, same_form
from ctcedge.log import escape_control_chars
from ctcedge.results.table import unescape_formula

TABLE_NAME = "samples.csv"
"""Name of the table in the searched folder, where no other file is given."""

COLUMNS = ("sample", "patient", "volume_ml", "kind")

MAX_VOLUME = 1000.0
"""mL; nobody gives more blood."""

_MAX_BYTES = 16 * 1024 * 1024
_MAX_TEXT = 200
_ELSEWHERE = " (--samples names one elsewhere)"
_SEPARATORS = ",;\t"
_POINT = re.compile(r"\d+(\.\d+)?|\.\d+", re.ASCII)
_COMMA = re.compile(r"\d+,\d{1,2}", re.ASCII)  # where commas separate no values


class SampleInfo(msgspec.Struct, frozen=True):
    """A row of the table.

    Attributes:
        patient: name or number of the patient; None where it is not given.
        volume_ml: volume of blood that the cells came from, mL; None where it is not given.
        kind: kind of sample in the laboratory's words, such as `patient` or `healthy donor`.
    """

    patient: str | None = None
    volume_ml: float | None = None
    kind: str | None = None


class SampleTable:
    """What a laboratory wrote about its samples.

    Args:
        rows: the rows, by name of the sample.
        path: the file; None where there is none.
    """

    def __init__(
        self, rows: Mapping[str, SampleInfo] = MappingProxyType({}), path: Path | None = None
    ) -> None:
        self.path = path
        self._rows = {same_form(name): info for name, info in rows.items()}
        self._names = {same_form(name): name for name in rows}

    def info(self, sample: str) -> SampleInfo:
        """Return the row of a sample; one without values where there is none."""
        return self._rows.get(same_form(sample), _UNKNOWN)

    def missing(self, samples: Iterable[str]) -> list[str]:
        """Return the names in the table that are not among those of the samples, sorted."""
        known = set(map(same_form, samples))
        return sorted(name for form, name in self._names.items() if form not in known)


_UNKNOWN = SampleInfo()


def load_sample_table(folder: Path, path: Path | None = None) -> SampleTable:
    """Read the table of samples.

    Args:
        folder: the searched folder, whose `samples.csv` is read when `path` is None.
        path: the table that an option or the settings name.

    Returns:
        The table; an empty one where `path` is None, and the folder has none.

    Raises:
        SettingsError: the table cannot be read, or a value is wrong; the text names the line.
    """
    file = folder / TABLE_NAME if path is None else path
    try:
        # The folder's own file comes from outside, and a link there could lead anywhere.
        data = read_limited(file, _MAX_BYTES, follow=path is not None)
    except UnsuitableFileError:
        text = f"{file}: not a regular file of at most {_MAX_BYTES // 2**20} MB"
        raise SettingsError(text) from None
    except OSError as error:
        if path is None and is_absence(error) and not file.is_symlink():
            return SampleTable()
        if path is None and file.is_symlink():
            text = f"{file}: is a link; links are not followed there{_ELSEWHERE}"
        else:
            text = path_problem(file, error)
        raise SettingsError(text) from None
    try:
        return SampleTable(_parse(decode_text(data)), file)
    except (TextError, csv.Error) as error:
        hint = "" if path is not None else f"; if it is no table of samples, rename it{_ELSEWHERE}"
        raise SettingsError(f"{file}: {error}{hint}") from None


def _parse(text: str) -> dict[str, SampleInfo]:
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=_separator(text), strict=True)
    rows = _rows(reader)
    number, header = next(rows, (1, []))
    if re.fullmatch(r"sep=[,;\t]?,?", ",".join(header).strip()):  # as Excel writes it
        number, header = next(rows, (number + 1, []))
    places = _places(number, header)
    found: dict[str, SampleInfo] = {}
    lines_of: dict[str, int] = {}
    for number, row in rows:
        if any(value.strip() for value in row[len(header) :]):
            raise TextError(
                f"line {number}: {len(row)} values, but the header has {len(header)} columns;"
                " put values that contain the separator into double quotes"
            )
        values = {name: row[place].strip() for name, place in places.items() if place < len(row)}
        name = unescape_formula(values.get("sample", ""))
        if not name:
            raise TextError(f"line {number}: there is no name of a sample; write one, or remove it")
        first = lines_of.setdefault(same_form(name), number)
        if first != number:
            raise TextError(
                f"line {number}: sample '{_shown(name)}' is in line {first} already; keep one line"
            )
        found[name] = SampleInfo(
            _text(number, "patient", values.get("patient", "")),
            _volume(number, values.get("volume_ml", ""), reader.dialect.delimiter),
            _text(number, "kind", values.get("kind", "")),
        )
    return found


def _rows(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with a value, each with the number of its last line.

    Raises:
        TextError: a row cannot be parsed.
    """
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            number = reader.line_num  # type: ignore[attr-defined]
            raise TextError(
                f"line {number}: {error}; close each double quote, and write one within a text"
                " twice"
            ) from None
        if row is None:
            return
        if any(value.strip() for value in row):
            yield reader.line_num, row  # type: ignore[attr-defined]


def _separator(text: str) -> str:
    """Return the separator of the table: the one that is most frequent in the header."""
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and lines[0].startswith("sep="):
        return lines[0][4:5] if lines[0][4:5] in tuple(_SEPARATORS) else ","
    header = lines[0] if lines else ""
    return max(_SEPARATORS, key=header.count)


def _places(number: int, header: Sequence[str]) -> dict[str, int]:
    """Return the places of the columns in a row."""
    places: dict[str, int] = {}
    for place, title in enumerate(header):
        name = re.sub(r"[^a-z0-9]+", "_", title.strip().lower()).strip("_")
        if name.startswith("volume") and name != "volume_ml":
            raise TextError(
                f"line {number}: column '{_shown(title)}' has no unit that is known; name it"
                " volume_ml, and give mL"
            )
        if name not in COLUMNS:
            continue
        if name in places:
            raise TextError(f"line {number}: there are two columns '{name}'; keep one")
        places[name] = place
    if "sample" not in places:
        titles = ", ".join(_shown(title.strip()) for title in header if title.strip()) or "none"
        raise TextError(
            f"line {number}: there is no column 'sample' (columns: {titles}); the first line must"
            f" name the columns: {','.join(COLUMNS)}"
        )
    return places


def _text(number: int, column: str, value: str) -> str | None:
    value = unescape_formula(value)
    if len(value) > _MAX_TEXT:
        raise TextError(f"line {number}: '{column}' has more than {_MAX_TEXT} characters")
    return value or None


def _volume(number: int, value: str, separator: str) -> float | None:
    if not value:
        return None
    wanted = f"a volume in mL above 0 and at most {MAX_VOLUME:,.0f}, or nothing where it is unknown"
    if separator != "," and _COMMA.fullmatch(value):  # as Excel writes it in many countries
        value = value.replace(",", ".")
    if not _POINT.fullmatch(value):
        hint = "; write 7.5 with a point, and the number alone"
        raise TextError(f"line {number}: '{_shown(value)}' is no volume{hint} ({wanted})")
    volume = float(value)
    if not 0 < volume <= MAX_VOLUME:
        raise TextError(f"line {number}: '{_shown(value)}' is no volume of blood; give {wanted}")
    return volume


def _shown(text: str) -> str:
    return escape_control_chars(text if len(text) <= 60 else f"{text[:60]}...")
