"""The types of a sidecar: the JSON record that is written beside each bright-field crop.

`Sidecar` is schema 3. Decoding checks every key, type, length and range, so that code that holds a
`Sidecar` needs no checks of its own; `ctcedge.sidecars.parse` reads and writes the bytes.

Longer than most modules: the types of one record, with their descriptions, are in one place.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ctcedge.images.types import MAX_PIXELS
from ctcedge.records import MAX_NUMBER, Fraction, Number, Sha256, Time

SCHEMA_FAMILY = "ctcedge/sidecar/"
SCHEMA_VERSION: Final = 3
SCHEMA: Final = "ctcedge/sidecar/3"

Call: TypeAlias = Literal["CTC", "leukocyte", "review"]
ReviewCall: TypeAlias = Literal["CTC", "leukocyte", "unsure"]
PixelSizeSource: TypeAlias = Literal["file"]
Status: TypeAlias = Literal["classified", "unreadable", "unsupported"]
OperatingPoint: TypeAlias = Literal["screening", "balanced", "confirm"]
# With graphs and providers of earlier versions.
Variant: TypeAlias = Literal["int8", "int8-symmetric", "fp16", "fp32"]
Provider: TypeAlias = Literal["cpu", "cuda", "tensorrt"]

MAX_FEATURES = 4096

CALLS: tuple[Call, ...] = ("CTC", "leukocyte", "review")

Text: TypeAlias = Annotated[str, Meta(max_length=4096)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]
LongText: TypeAlias = Annotated[str, Meta(max_length=100_000)]
Prior: TypeAlias = Annotated[
    float, Meta(gt=0, lt=1, description="Fraction of CTCs that the probability assumes.")
]
Reasons: TypeAlias = Annotated[
    tuple[
        Annotated[str, Meta(min_length=1, max_length=100, pattern="^[a-z0-9]+(-[a-z0-9]+)*$")], ...
    ],
    Meta(
        description="Short codes that explain a review, such as near-threshold or out-of-focus.",
        max_length=100,
        extra_json_schema={"uniqueItems": True},
    ),
]
Score: TypeAlias = Annotated[
    Number | None,
    Meta(
        description="The network's logit, from which any other decision follows;"
        " null: not classified, or not kept."
    ),
]
Coordinate: TypeAlias = Annotated[int, Meta(ge=0, le=2**31)]
Side: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_PIXELS, description="Pixels.")]


class OriginRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a crop was cut from."""

    file: Annotated[Name, Meta(description="Path of the file, relative to the searched folder.")]
    sha256: Annotated[Sha256, Meta(description="Of the whole file.")]
    page: Annotated[
        Annotated[int, Meta(ge=1, le=2**31)] | None,
        Meta(description="Page or plane, counted from 1; null where the file is a single image."),
    ]
    box: Annotated[
        tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None,
        Meta(
            description="Left, top, width and height in pixels, from 0; null where the crop is the"
            " whole page."
        ),
    ]


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The image file that was classified."""

    name: Annotated[Name, Meta(description="File name without folder.")]
    sha256: Annotated[Sha256 | None, Meta(description="Null where the file could not be read.")]
    bytes: Annotated[
        Annotated[int, Meta(ge=0, le=2**53)] | None, Meta(description="Size of the file.")
    ]
    width: Side | None
    height: Side | None
    bit_depth: Annotated[
        Annotated[int, Meta(ge=1, le=64)] | None,
        Meta(description="Bits a sample as stored in the file."),
    ]
    um_per_px: Annotated[
        Annotated[float, Meta(gt=0, le=1000)] | None,
        Meta(
            description="Edge length of a pixel, um. Null where the model knows no um/px: it was"
            " trained on images of unknown scale."
        ),
    ]
    um_per_px_assumed: Annotated[
        bool, Meta(description="True where it was not given and the model's own is assumed.")
    ]
    um_per_px_source: Annotated[
        PixelSizeSource | None,
        Meta(
            description="`file` where the settings gave none and the image file states it; else"
            " absent."
        ),
    ] = None
    um_per_px_file: Annotated[
        Annotated[float, Meta(gt=0, le=1000)] | None,
        Meta(description="What the image file states; absent where it states nothing."),
    ] = None
    origin: Annotated[
        OriginRecord | None,
        Meta(
            description="Of a crop that ctcedge cut from a frame or a file of many pages; else"
            " absent."
        ),
    ] = None

    def __post_init__(self) -> None:
        if (self.width or 1) * (self.height or 1) > MAX_PIXELS:
            raise ValueError(f"an image has at most {MAX_PIXELS} pixels")


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The model that made a call."""

    name: Annotated[Name, Meta(description="Name of the model.")]
    version: Annotated[Name, Meta(description="Version of the model.")]
    sha256: Annotated[
        Sha256,
        Meta(
            description="SHA-256 of model.json, which pins every file of the model: the same"
            " whichever graph ran."
        ),
    ]
    variant: Annotated[Variant, Meta(description="Graph that ran.")]


class SoftwareRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The software that computed a score."""

    ctcedge: Annotated[Text, Meta(description="Version of ctcedge.")]
    onnxruntime: Annotated[Text, Meta(description="Version of ONNX Runtime.")]
    provider: Annotated[Provider, Meta(description="Execution provider that ran the graph.")]


class QualityRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Result of the quality check; measurements that were not made are absent."""

    reasons: Reasons
    cells: Annotated[Number | None, Meta(description="Separate objects of a cell's size.")] = None
    saturated: Annotated[
        Number | None, Meta(description="Fraction of pixels at the largest value.")
    ] = None
    area_px: Annotated[
        Number | None, Meta(description="Area of the main object, pixels, where um/px is unknown.")
    ] = None
    area_um2: Annotated[Number | None, Meta(description="Area of the main object, um2.")] = None
    focus: Annotated[Number | None, Meta(description="Sharpness of the main object's edge.")] = None
    offset: Annotated[
        Number | None,
        Meta(
            description="32768 where all values are those of signed numbers that were written as"
            " unsigned; else absent."
        ),
    ] = None


class OodRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Out-of-distribution score of a crop."""

    distance: Annotated[
        float,
        Meta(
            ge=0,
            le=MAX_NUMBER,
            description="Mahalanobis distance of the network's features from the nearer class of"
            " the training cells.",
        ),
    ]
    p_value: Annotated[
        Fraction,
        Meta(description="Fraction of the model's validation cells that are at least as far away."),
    ]
    features: Annotated[
        tuple[Number, ...],
        Meta(
            description="Features whose mean over a run is compared with the training data.",
            max_length=MAX_FEATURES,
        ),
    ]


class ReviewEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One review by a person."""

    call: Annotated[ReviewCall, Meta(description="unsure: the person could not decide.")]
    reviewer: Annotated[Name, Meta(description="Name of the reviewer.")]
    time: Time
    model_call: Annotated[
        Call | None, Meta(description="The model's call at the time of the review.")
    ] = msgspec.field(name="from")
    note: Annotated[LongText, Meta(description="Note of the reviewer; may be empty.")]
    image_sha256: Annotated[
        Sha256 | None, Meta(description="SHA-256 of the bright-field image that the person saw.")
    ]
    channels: Annotated[
        tuple[Name, ...],
        Meta(
            description="Channels shown to the person.",
            max_length=1000,
            extra_json_schema={"uniqueItems": True},
        ),
    ]
    blinded: Annotated[bool, Meta(description="Whether the model's call was hidden.")]
    weight: Annotated[
        Annotated[float, Meta(gt=0, le=1e15)] | None,
        Meta(
            description="Inverse of the probability with which the cell was drawn at random;"
            " null: shown because of its rank."
        ),
    ]

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.time)


class ReviewRecord(ReviewEntry, frozen=True, kw_only=True, gc=False):
    """The latest review of a crop, with the earlier ones."""

    history: Annotated[tuple[ReviewEntry, ...], Meta(description="Earlier reviews, oldest first.")]

    @property
    def latest(self) -> ReviewEntry:
        """The latest review without its history."""
        return ReviewEntry(**{name: getattr(self, name) for name in ReviewEntry.__struct_fields__})

    @classmethod
    def of(cls, reviews: tuple[ReviewEntry, ...]) -> ReviewRecord:
        """Put one review or more together, oldest first."""
        *earlier, last = reviews
        fields = {name: getattr(last, name) for name in ReviewEntry.__struct_fields__}
        return cls(**fields, history=tuple(earlier))


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A call that a later one replaced."""

    created: Time
    call: Call | None
    probability: Fraction | None
    prior: Prior
    threshold: Fraction
    operating_point: OperatingPoint | None
    score: Score
    reasons: Reasons
    sample: Text
    cell: Name
    model: ModelRecord
    settings_sha256: Sha256
    software: SoftwareRecord
    image_sha256: Sha256

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.created)


class ChainRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Hashes by which `ctcedge verify` sees what was edited or removed."""

    record: Annotated[
        Sha256, Meta(description="Hash of all that is neither review nor history nor chain.")
    ]
    history: Annotated[
        Sha256 | None,
        Meta(
            description="Hash of the last entry of history, each together with the hash of the one"
            " before it; null where there never was one."
        ),
    ]
    reviews: Annotated[
        Sha256 | None,
        Meta(description="The same of the reviews, oldest first; null where there never was one."),
    ]


class Sidecar(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Classification of one bright-field crop."""

    schema: Annotated[
        Literal["ctcedge/sidecar/3"], Meta(description="Name and version of this format.")
    ]
    status: Annotated[
        Status,
        Meta(
            description="unreadable: damaged, empty or not permitted; unsupported: whole, but of a"
            " kind or size that is not accepted."
        ),
    ]
    call: Annotated[
        Call | None,
        Meta(
            description="leukocyte means 'not a CTC'; review asks a person to look;"
            " null: not classified."
        ),
    ]
    probability: Annotated[
        Fraction | None,
        Meta(
            description="Probability of CTC, at the fraction of CTCs given as prior;"
            " null: not classified."
        ),
    ]
    prior: Prior
    threshold: Annotated[Fraction, Meta(description="Smallest probability of the call CTC.")]
    review_band: Annotated[
        tuple[Fraction, Fraction],
        Meta(description="[low, high]: a probability in low <= p < high is called review."),
    ]
    operating_point: Annotated[
        OperatingPoint | None,
        Meta(
            description="Operating point whose threshold decided; null: the model's own decision."
        ),
    ]
    score: Score
    reasons: Reasons
    cluster: Annotated[
        bool | None,
        Meta(
            description="Whether the crop shows touching cells, which are counted separately."
            " Null where that is not known."
        ),
    ]
    quality: Annotated[
        QualityRecord | None,
        Meta(description="Result of the quality check; null where it did not run."),
    ]
    ood: Annotated[
        OodRecord | None,
        Meta(description="Out-of-distribution score; null where the model has no such statistics."),
    ]
    error: Annotated[LongText | None, Meta(description="Why the crop is not classified.")]
    sample: Annotated[Text, Meta(description="Name of the sample, verbatim from the path.")]
    cell: Annotated[Name, Meta(description="Number of the cell, verbatim from the file name.")]
    image: ImageRecord
    model: ModelRecord
    inference_sha256: Annotated[
        Sha256 | None,
        Meta(
            description="Hash of all settings that can change score, quality or ood; null in what"
            " an earlier version wrote."
        ),
    ]
    settings_sha256: Annotated[
        Sha256, Meta(description="Hash of all settings that can change a call.")
    ]
    software: SoftwareRecord
    created: Time
    review: Annotated[
        ReviewRecord | None,
        Meta(description="A person's review, which never changes call; null: not reviewed."),
    ]
    history: Annotated[
        tuple[HistoryEntry, ...],
        Meta(description="Earlier calls that this one replaced, oldest first."),
    ]
    chain: Annotated[
        ChainRecord | UnsetType,
        Meta(
            description="Hash chain over history and reviews; absent in what an earlier version"
            " wrote, until it is written again."
        ),
    ] = UNSET

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.created)
        if self.review_band[0] > max(self.threshold, self.review_band[1]):
            raise ValueError("the review band begins above the threshold")
        image = self.image
        if self.status == "classified":
            needed = (self.call, self.probability, image.sha256, image.width, image.height)
            if None in needed or self.error is not None:
                raise ValueError("a classified crop has a call, a probability and an image")
        elif (self.call, self.probability, self.score) != (None, None, None) or not self.error:
            raise ValueError("a crop that is not classified has an error and no call")

    @property
    def reviews(self) -> tuple[ReviewEntry, ...]:
        """All reviews, oldest first."""
        return () if self.review is None else (*self.review.history, self.review.latest)

    @property
    def reviews_of_image(self) -> tuple[ReviewEntry, ...]:
        """The reviews of the very image that was classified, oldest first."""
        return tuple(r for r in self.reviews if r.image_sha256 == self.image.sha256)

    @property
    def reviewed_call(self) -> str | None:
        """The call of the latest review, where that is of the image that was classified."""
        review = self.review
        return review.call if review and review.image_sha256 == self.image.sha256 else None

    @property
    def given_um_per_px(self) -> float | None:
        """Edge length of a pixel as the settings gave it, um; None where they did not."""
        image = self.image
        is_given = not image.um_per_px_assumed and image.um_per_px_source != "file"
        return image.um_per_px if is_given else None


def history_after(previous: Sidecar | None) -> tuple[HistoryEntry, ...]:
    """The history of a sidecar that replaces `previous`: its history, then its own call."""
    if previous is None:
        return ()
    if previous.call is None or previous.image.sha256 is None:
        return previous.history
    entry = HistoryEntry(
        created=previous.created,
        call=previous.call,
        probability=previous.probability,
        prior=previous.prior,
        threshold=previous.threshold,
        operating_point=previous.operating_point,
        score=previous.score,
        reasons=previous.reasons,
        sample=previous.sample,
        cell=previous.cell,
        model=previous.model,
        settings_sha256=previous.settings_sha256,
        software=previous.software,
        image_sha256=previous.image.sha256,
    )
    return (*previous.history, entry)
