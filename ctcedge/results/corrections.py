"""The file that the report page saves: a person's reviews, `ctcedge/corrections/1`.

Files of this schema are read by every version of ctcedge from now on.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from ctcedge.errors import SetupError
from ctcedge.fs.files import FileTooLargeError, NotRegularFileError, read_limited
from ctcedge.fs.text import load_json
from ctcedge.records import Sha256, Time, convert
from ctcedge.sidecars.schema import Call

SCHEMA = "ctcedge/corrections/1"
MAX_BYTES = 64 * 1024 * 1024
_MAX_ENTRIES = 100_000
_MAX_CELLS = 10**9

_Text: TypeAlias = Annotated[str, Meta(max_length=4096)]
_Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]
_Channel: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
_Cells: TypeAlias = Annotated[int, Meta(ge=0, le=_MAX_CELLS)]


class CorrectionsError(SetupError):
    """The file of reviews cannot be used, for the reason in the text."""


class Draw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The random draw of cells called leukocyte that the report mixes into its review list."""

    drawn: _Cells
    leukocytes: Annotated[
        _Cells, Meta(description="Cells called leukocyte from which it was drawn.")
    ]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person's review of one cell."""

    path: Annotated[
        _Name,
        Meta(
            description="Path of the bright-field crop, relative to the folder, with forward"
            " slashes."
        ),
    ]
    sample: _Text
    cell: _Name
    image_sha256: Sha256
    model_sha256: Sha256
    model_call: Annotated[
        Call,
        Meta(description="The model's call at the time of the review."),
    ] = msgspec.field(name="from")
    call: Annotated[Literal["CTC", "leukocyte", "unsure"], Meta(description="The person's call.")]
    note: Annotated[str, Meta(max_length=2000)]
    time: Time
    channels: Annotated[
        tuple[_Channel, ...],
        Meta(
            description="Channels shown to the person; bright field is BF.",
            min_length=1,
            max_length=64,
            extra_json_schema={"uniqueItems": True},
            extra={"wanted": "a list of 1 to 64 different names"},
        ),
    ]
    blinded: Annotated[
        bool,
        Meta(description="Whether the model's call, probability and reasons were hidden before."),
    ]
    weight: Annotated[
        Annotated[float, Meta(ge=1, le=_MAX_CELLS)] | None,
        Meta(
            description="For a cell of the random draw, the number of cells called leukocyte that"
            " it represents (leukocytes / drawn); null: shown because of its rank."
        ),
    ]

    def __post_init__(self) -> None:
        _check_time("time", self.time)
        if len(set(self.channels)) != len(self.channels):
            raise ValueError("'channels' must not contain a name twice")


class Corrections(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Reviews of cells, saved from a report of ctcedge.

    Research software, not a diagnostic. Read by 'ctcedge review import'.
    """

    schema: Literal["ctcedge/corrections/1"]
    report_id: Annotated[
        Sha256,
        Meta(
            description="Hash of the report's contents: the same for the same cells, images and"
            " calls."
        ),
    ]
    folder_name: Annotated[
        _Text,
        Meta(
            description="The folder's own name; a pseudonym where the report contains pseudonyms."
        ),
    ]
    pseudonymised: Annotated[
        bool,
        Meta(
            description="True: path, sample and cell are pseudonyms, and only image_sha256"
            " identifies the crop."
        ),
    ]
    created: Time
    reviewer: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=200,
            pattern=r"\S",
            extra={"wanted": "a name of at most 200 characters"},
        ),
    ]
    draw: Draw
    entries: Annotated[
        tuple[Entry, ...],
        Meta(
            description="One for each reviewed cell, in the order of review.",
            max_length=_MAX_ENTRIES,
        ),
    ]

    def __post_init__(self) -> None:
        _check_time("created", self.created)


def read_corrections(path: Path) -> Corrections:
    """Read and check a file that the report page saved.

    Raises:
        CorrectionsError: it does not fit; the text names the key, what is wanted and what was
            found.
    """
    try:
        data = read_limited(path, MAX_BYTES, follow=True)
    except NotRegularFileError:
        text = f"{path} is not a file; give the one that the report page saved"
        raise CorrectionsError(text) from None
    except FileTooLargeError:
        raise CorrectionsError(f"{path}: larger than {MAX_BYTES:,} bytes") from None
    except OSError as error:
        raise CorrectionsError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return _checked(load_json(data))
    except (ValueError, RecursionError) as error:
        raise CorrectionsError(
            f"{path}: not a file that a report page of this ctcedge saved: {error}"
        ) from None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, made from the types."""
    _, definitions = msgspec.json.schema_components((Corrections,))
    title, _, description = str(Corrections.__doc__).partition("\n\n")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:ctcedge:corrections:1",
        **definitions.pop("Corrections"),
        "title": title.rstrip("."),
        "description": " ".join(description.split()),
        "$defs": definitions,
    }


def _checked(content: Any) -> Corrections:
    if not isinstance(content, dict):
        raise ValueError("it contains no table")
    found = str(content.get("schema"))
    if found != SCHEMA:
        raise ValueError(f"its schema is {found[:100]!r}, and {SCHEMA!r} is known")
    return convert(content, Corrections)


def _check_time(name: str, value: str) -> None:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"'{name}' must be a time such as 2026-01-31T12:00:00Z") from None
