"""The columns of the table of crops: name, type, meaning and value of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ctcedge.sidecars.schema import Sidecar

Kind: TypeAlias = Literal["text", "number", "whole", "flag", "vector"]
Value: TypeAlias = str | float | int | bool | tuple[float, ...] | None
Row: TypeAlias = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table; position and name stay the same between versions of ctcedge.

    Attributes:
        name: header of the column.
        kind: type of its values; any value may be missing.
        meaning: description in one line.
        value: returns the value of a sidecar.
    """

    name: str
    kind: Kind
    meaning: str
    value: Callable[[Sidecar], Value]


def _at(*keys: str) -> Callable[[Sidecar], Value]:
    """Return a function that gets a nested attribute; None if one on the way is None."""

    def value(record: Sidecar) -> Value:
        content: Any = record
        for key in keys:
            content = None if content is None else getattr(content, key)
        result: Value = content
        return result

    return value


def _quality_flags(record: Sidecar) -> Value:
    return None if record.quality is None else " ".join(record.quality.reasons)


def _reviewed_this_image(record: Sidecar) -> Value:
    review = record.review
    return None if review is None else review.image_sha256 == record.image.sha256


# Columns that every row has, also that of a crop without a sidecar.
CROP_COLUMNS = (
    ("path", "bright-field image, relative to the folder"),
    ("sample", "name of the sample in the path, unchanged"),
    ("cell", "the instrument's number of the cell in the path, unchanged"),
    ("status", "`classified`, `unreadable`, `unsupported`, or `pending`: there is no sidecar"),
)
COLUMNS: tuple[Column, ...] = (
    Column("call", "text", "the model's call: `CTC`, `leukocyte` or `review`", _at("call")),
    Column("probability", "number", "probability of CTC, at `prior`", _at("probability")),
    Column("prior", "number", "fraction of CTCs that `probability` assumes", _at("prior")),
    Column("threshold", "number", "smallest probability of the call CTC", _at("threshold")),
    Column("review_low", "number", "lower end of the review band", lambda r: r.review_band[0]),
    Column("review_high", "number", "upper end of the review band", lambda r: r.review_band[1]),
    Column(
        "operating_point",
        "text",
        "operating point; empty: the model's own decision",
        _at("operating_point"),
    ),
    Column("score", "number", "the network's logit", _at("score")),
    Column(
        "reasons",
        "text",
        "reasons of the call `review`, separated by spaces",
        lambda r: " ".join(r.reasons),
    ),
    Column("cluster", "flag", "whether cells touch", _at("cluster")),
    Column("quality", "text", "flags of the quality check, separated by spaces", _quality_flags),
    Column(
        "ood_distance",
        "number",
        "out-of-distribution score: distance from the training cells",
        _at("ood", "distance"),
    ),
    Column(
        "ood_p_value",
        "number",
        "fraction of validation cells at least that far away",
        _at("ood", "p_value"),
    ),
    Column("error", "text", "why the crop is not classified", _at("error")),
    Column(
        "review", "text", "reviewer's call: `CTC`, `leukocyte`, `unsure`", _at("review", "call")
    ),
    Column("review_from", "text", "model's call when reviewed", _at("review", "model_call")),
    Column("reviewer", "text", "name of the reviewer", _at("review", "reviewer")),
    Column("review_time", "text", "time of the review, UTC", _at("review", "time")),
    Column("review_note", "text", "reviewer's note", _at("review", "note")),
    Column(
        "review_blinded",
        "flag",
        "whether the model's call was hidden from the reviewer",
        _at("review", "blinded"),
    ),
    Column(
        "review_weight",
        "number",
        "number of cells that a randomly drawn cell represents",
        _at("review", "weight"),
    ),
    Column(
        "review_of_this_image",
        "flag",
        "false: the image has changed since the review",
        _reviewed_this_image,
    ),
    Column("reviews", "whole", "number of reviews", lambda r: len(r.reviews)),
    Column(
        "earlier_calls", "whole", "number of earlier calls in `history`", lambda r: len(r.history)
    ),
    Column("image_sha256", "text", "hash of the classified image", _at("image", "sha256")),
    Column("width", "whole", "width of the image, pixels", _at("image", "width")),
    Column("height", "whole", "height of the image, pixels", _at("image", "height")),
    Column("bit_depth", "whole", "bits per pixel", _at("image", "bit_depth")),
    Column("um_per_px", "number", "pixel size, um", _at("image", "um_per_px")),
    Column(
        "um_per_px_assumed",
        "flag",
        "true: the model's pixel size is assumed, as none was given",
        _at("image", "um_per_px_assumed"),
    ),
    Column("model", "text", "name of the model", _at("model", "name")),
    Column("model_version", "text", "version of the model", _at("model", "version")),
    Column("model_sha256", "text", "hash of the model", _at("model", "sha256")),
    Column("model_variant", "text", "graph that ran", _at("model", "variant")),
    Column("settings_sha256", "text", "hash of all that decides a call", _at("settings_sha256")),
    Column("ctcedge", "text", "version of ctcedge", _at("software", "ctcedge")),
    Column("onnxruntime", "text", "version of ONNX Runtime", _at("software", "onnxruntime")),
    Column("provider", "text", "execution provider of the network", _at("software", "provider")),
    Column("created", "text", "time of the call, UTC", _at("created")),
    Column(
        "area_um2",
        "number",
        "area of the cell's outline in bright field, um2; empty: um/px is unknown",
        _at("quality", "area_um2"),
    ),
    Column(
        "area_px",
        "number",
        "the same in pixels, where um/px is unknown",
        _at("quality", "area_px"),
    ),
    Column(
        "focus",
        "number",
        "sharpness of the cell in bright field, without unit: about 3 strongly blurred, 6 to 20 in"
        " focus",
        _at("quality", "focus"),
    ),
)
FEATURES = Column(
    "features",
    "vector",
    "the network's features that the domain shift compares; `.h5ad` only",
    _at("ood", "features"),
)

# Columns of each stain; their names begin with the channel's.
STAIN_COLUMNS = (
    (
        "mean",
        "mean of the stain within the cell's outline, less the background; grey levels as stored",
    ),
    (
        "integrated",
        "sum over the pixels of the outline of what `_mean` averages; grey levels x pixels",
    ),
    ("background", "median of the stain outside all outlines, grey levels: what was subtracted"),
)
BRIEF = ("sample", "cell", "call", "probability", "reasons", "review")
MORPHOLOGY = ("area_um2", "area_px", "focus")

KINDS: Mapping[str, Kind] = {
    **{name: "text" for name, _ in CROP_COLUMNS},
    **{column.name: column.kind for column in COLUMNS},
}
MEANINGS: Mapping[str, str] = {**dict(CROP_COLUMNS), **{c.name: c.meaning for c in COLUMNS}}
PICKLIST_KINDS: Mapping[str, Kind] = {"sample": "text", "cell": "text"}


def stain_columns(channels: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns of stains; all are numbers."""
    return tuple(f"{channel}_{name}" for channel in channels for name, _ in STAIN_COLUMNS)
