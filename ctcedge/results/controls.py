"""How many cells of healthy donors are called CTC: the laboratory's own false calls.

The counts of each control sample are kept, by model, operating point and image settings, in one
small file. From them follows how many false CTC calls to expect in a run of a given size.

The rate of false calls differs between samples. Its logarithm is taken to be normal over samples;
the typical rate has the weak prior rate^(1/2) (per unit of its logarithm), and the standard
deviation between samples a half-normal prior of scale 1, which is a factor of 2.7. The interval is
that of a new sample's count, predicted with all of this being uncertain, so that one control sample
gives a wide one. A run of several samples counts as one sample of its size, which is the widest.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta

from ctcedge.errors import OutputError, SetupError
from ctcedge.fs import paths as places
from ctcedge.fs.files import UnsuitableFileError, atomic_write, read_limited
from ctcedge.log import event
from ctcedge.model.spec import ModelSpec
from ctcedge.records import Count, convert, plain
from ctcedge.sidecars.scan import CropRecord, ModelRef
from ctcedge.sidecars.schema import Sidecar
from ctcedge.stats import Floats, beta_cdf
from ctcedge.times import now

log = logging.getLogger("ctcedge.results.controls")

SCHEMA: Final = "ctcedge/controls/1"
FILE_NAME = "controls.json"

_MAX_BYTES = 16 * 1024 * 1024
_MAX_CELLS = 10**9
_TAIL = 0.025

_Text: TypeAlias = Annotated[str, Meta(max_length=4096)]

# Natural logarithm of the share of false calls; and its standard deviations between samples.
_LOG_RATES: Floats = np.linspace(np.log(1e-7), 0, 162)[:-1]
_SPREADS: Floats = np.linspace(0.05, 4, 27)


class DecisionContext(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides calls: counts of one rule say nothing of another.

    Attributes:
        model_sha256: the model.
        operating_point: its threshold; None for the model's own decision.
        inference_sha256: settings that can change a score, such as um/px; None in what an earlier
            version of ctcedge wrote.
    """

    model_sha256: _Text
    operating_point: _Text | None
    inference_sha256: _Text | None

    @classmethod
    def of(cls, record: Sidecar) -> DecisionContext:
        """What decided a sidecar's call."""
        return cls(record.model.sha256, record.operating_point, record.inference_sha256)


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one rule said of one sample that holds no CTC.

    Attributes:
        sample: its name.
        folder: that it was added from.
        added: when, RFC 3339, UTC.
        model: name and version.
        rule: what decided.
        cells: classified.
        ctc_calls: of these, called CTC.
    """

    sample: _Text
    folder: _Text
    added: _Text
    model: _Text
    rule: DecisionContext
    cells: Annotated[int, Meta(ge=1, le=_MAX_CELLS)]
    ctc_calls: Count

    def __post_init__(self) -> None:
        if self.ctc_calls > self.cells:
            raise ValueError("must satisfy 0 <= ctc_calls <= cells, and cells not 0")


class _Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of the file."""

    schema: Literal["ctcedge/controls/1"]
    controls: Annotated[tuple[Control, ...], Meta(max_length=100_000)]


class FalsePositives(msgspec.Struct, frozen=True):
    """False CTC calls to expect.

    Attributes:
        cells: size of the run.
        expected: their number at the rate of all control samples together.
        low: of the 95 % interval of their number.
        high: of the same.
        samples: control samples; 1 for a model's own figure, whose samples are not told apart.
        control_cells: cells of these.
        source: `controls` of this laboratory, or the `model`'s own figure, of real cells.
    """

    cells: int
    expected: float
    low: int
    high: int
    samples: int
    control_cells: int
    source: Literal["controls", "model"]

    @property
    def number(self) -> str:
        """What is expected, as people read it."""
        return f"{self.expected:.1f}" if self.expected < 10 else f"{self.expected:,.0f}"

    @property
    def basis(self) -> str:
        """What it follows from, in words."""
        several = f"{self.samples:,} healthy-donor sample{'s' * (self.samples != 1)}"
        source = several if self.source == "controls" else "the model's own figure"
        return f"{source} of {self.control_cells:,} cells"

    def as_json(self) -> dict[str, Any]:
        """The same for scripts."""
        return plain(self)


class AddResult(msgspec.Struct, frozen=True):
    """What `add` did.

    Attributes:
        controls: that were added.
        replaced: samples that had been added before.
        doubts: what a person should know of them.
    """

    controls: list[Control]
    replaced: list[str]
    doubts: list[str]

    def as_json(self) -> dict[str, Any]:
        """The same for scripts."""
        return plain(self)


def expected_false_positives(
    cells: int,
    rule: DecisionContext,
    spec: ModelSpec | None = None,
    controls: Iterable[Control] | None = None,
) -> FalsePositives | None:
    """How many false CTC calls to expect among so many cells, were none of them a CTC.

    Args:
        cells: classified cells of the run.
        rule: that they were called by.
        spec: of the model, where it is at hand: its own figure serves where there are no controls,
            if it was measured on real cells. Its samples are counted as one.
        controls: those of this machine where left out.

    Returns:
        None where nobody measured it for this rule.
    """
    if cells <= 0:
        return None
    of_rule = [each for each in (known() if controls is None else controls) if each.rule == rule]
    if of_rule:
        return _predict(cells, [(c.ctc_calls, c.cells) for c in of_rule], "controls")
    measured = None if spec is None else _measured(spec, rule.operating_point)
    return None if measured is None else _predict(cells, [measured], "model")


def describe(found: FalsePositives | None) -> str:
    """One line for a person."""
    title = "False CTC calls to expect at this size, were there no CTC"
    if found is None:
        return (
            f"{title}: unknown here; add healthy-donor runs, called by the same model, operating"
            " point and um/px, with 'ctcedge controls add FOLDER'"
        )
    return (
        f"{title}: {found.number} (95 % interval {found.low:,} to {found.high:,}),"
        f" from {found.basis}"
    )


def _measured(spec: ModelSpec, operating_point: str | None) -> tuple[int, int] | None:
    """False calls and cells of the model's own figure; None where it says nothing of real cells."""
    if spec.demonstration:
        return None
    if operating_point is None:
        points = (
            point
            for point in spec.operating_points.values()
            if point is not None and point.threshold == spec.decision.threshold
        )
        point = next(points, None)
    else:
        point = spec.operating_points.get(operating_point)
    if point is None or point.negatives == 0:
        return None
    return round(point.false_positives_per_10000.value * point.negatives / 10_000), point.negatives


def _predict(
    cells: int, counts: Sequence[tuple[int, int]], source: Literal["controls", "model"]
) -> FalsePositives:
    """Predict a new sample's count from (false calls, cells) of the controls."""
    weight = _LOG_RATES / 2 - _SPREADS[:, None] ** 2 / 2
    for calls, of in counts:
        chance = calls * _LOG_RATES + (of - calls) * np.log1p(-np.exp(_LOG_RATES))
        weight = weight + np.log(_spread() @ np.exp(chance - chance.max()) + 1e-300)
    posterior = np.exp(weight - weight.max())
    posterior /= posterior.sum()
    rates = posterior.ravel() @ _spread().reshape(posterior.size, -1)
    all_calls, all_cells = (sum(each) for each in zip(*counts, strict=True))
    return FalsePositives(
        cells,
        cells * all_calls / all_cells,
        _quantile(cells, rates, _TAIL),
        _quantile(cells, rates, 1 - _TAIL),
        len(counts),
        all_cells,
        source,
    )


@cache
def _spread() -> Floats:
    """Share of samples of each rate: (spread, typical rate, rate)."""
    steps = (_LOG_RATES[None, None, :] - _LOG_RATES[None, :, None]) / _SPREADS[:, None, None]
    density = np.exp(-(steps**2) / 2)
    return np.asarray(density / density.sum(axis=-1, keepdims=True))


def _quantile(cells: int, rates: Floats, p: float) -> int:
    """Least count that is not exceeded with the chance p, the rate being distributed so."""
    low, high = -1, cells
    while high - low > 1:
        middle = (low + high) // 2
        exceeded = beta_cdf(np.exp(_LOG_RATES), middle + 1.0, float(cells - middle))
        if float(rates @ (1 - exceeded)) >= p:
            high = middle
        else:
            low = middle
    return high


def known() -> list[Control]:
    """Controls that count here; a file that cannot be used is told of in the log, and left out.

    They are this account's own and, unless `CTCEDGE_STATE` says where they lie, the machine's.
    """
    folders = {} if os.environ.get("CTCEDGE_STATE") else {places.MACHINE_FOLDER: None}
    found: dict[tuple[str, DecisionContext], Control] = {}
    for folder in folders | {places.state_folder(): None}:  # the own ones come last, and stand
        try:
            found |= {(each.sample, each.rule): each for each in read(folder)}
        except SetupError as error:
            log.warning("%s", error, extra=event("controls"))
    return list(found.values())


def read(folder: Path) -> list[Control]:
    """Read the controls in a state folder; none where there is no file, or none that may be read.

    Raises:
        SetupError: the file is damaged, or a newer ctcedge's.
    """
    path = folder / FILE_NAME
    try:
        data = read_limited(path, _MAX_BYTES, follow=True)
        return list(convert(json.loads(data), _Contents).controls)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    except UnsuitableFileError:
        text = f"{path}: not a regular file of at most {_MAX_BYTES:,} bytes"
        raise SetupError(text) from None
    except OSError as error:
        raise SetupError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{path}: {error}; mend or remove it") from None


def add(folder: Path, stored: Iterable[CropRecord], name: str | None = None) -> AddResult:
    """Count the cells of a folder's samples, and keep that as controls of this account.

    A sample that was added before by the same rule is replaced.

    Args:
        folder: the searched folder.
        stored: its crops with their sidecars.
        name: of its only sample, instead of what the path says.

    Raises:
        SetupError: there is nothing to count, or it is not clear what by, or a sample of the same
            name came from another folder.
    """
    counted, doubts = _count(folder, stored, name)
    with _changing() as controls:
        replaced = []
        for each in counted:
            key = (each.sample, each.rule)
            for i, other in enumerate(controls):
                if other.sample == each.sample and other.folder != each.folder:
                    raise SetupError(
                        f"a sample '{each.sample}' was added before, from {other.folder}; if this"
                        " is the same, 'ctcedge controls remove' it first, otherwise give --name"
                    )
                if (other.sample, other.rule) == key:
                    del controls[i]
                    replaced.append(each.sample)
                    break
            controls.append(each)
    return AddResult(counted, replaced, doubts)


def remove(sample: str) -> int:
    """Forget a sample, whatever rule it was counted by.

    Returns:
        How many counts were forgotten.

    Raises:
        SetupError: this account keeps none of that name.
    """
    with _changing() as controls:
        kept = [each for each in controls if each.sample != sample]
        gone = len(controls) - len(kept)
        if not gone:
            names = ", ".join(sorted({each.sample for each in controls})) or "none"
            raise SetupError(
                f"no control sample '{sample}' in {places.state_folder()}; there: {names}"
            )
        controls[:] = kept
    return gone


def _count(
    folder: Path, stored: Iterable[CropRecord], name: str | None
) -> tuple[list[Control], list[str]]:
    calls: dict[str, Counter[tuple[DecisionContext, str]]] = defaultdict(Counter)
    models: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    confirmed: Counter[str] = Counter()
    for each in stored:
        sample, record = each.crop.sample, each.record
        if record is None or record.call is None:
            left_out[sample] += 1
            continue
        rule = DecisionContext.of(record)
        calls[sample][rule, record.call] += 1
        seen = ModelRef.of(record)
        models[rule.model_sha256] = f"{seen.name} {seen.version}"
        confirmed[sample] += record.review is not None and record.review.call == "CTC"
    if not calls:
        raise SetupError(f"no cell in {folder} is classified; run: ctcedge classify")
    if name is not None and len(calls) > 1:
        raise SetupError(f"--name is for one sample, and {folder} holds {len(calls)}")
    controls, doubts = [], []
    for sample, counts in calls.items():
        rules = {rule for rule, _ in counts}
        if len(rules) > 1:
            raise SetupError(
                f"sample '{sample}' was called by {len(rules)} different models, operating points"
                " or settings; run 'ctcedge classify' on it again, so that one has called all"
            )
        (rule,) = rules
        control = Control(
            sample=sample if name is None else name,
            folder=str(folder.resolve()),
            added=now(),
            model=models[rule.model_sha256],
            rule=rule,
            cells=counts.total(),
            ctc_calls=counts[rule, "CTC"],
        )
        controls.append(control)
        if confirmed[sample]:
            doubts.append(
                f"sample '{sample}': {confirmed[sample]:,} cells were reviewed as CTC; a control"
                " must hold none"
            )
    for sample, count in left_out.items():
        crops = "1 crop has" if count == 1 else f"{count:,} crops have"
        doubts.append(f"sample '{sample}': {crops} no usable call")
    return controls, doubts


@contextlib.contextmanager
def _changing() -> Iterator[list[Control]]:
    """The controls of this account, to be changed in place; written when all went well."""
    folder = places.state_folder()
    path = folder / FILE_NAME
    machine_wide = folder == places.MACHINE_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if machine_wide:
            folder.chmod(0o755)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _not_written(path, error) from None
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot lock a folder
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists() and not os.access(path, os.R_OK):
            raise SetupError(f"{path} cannot be read; add controls as the account that owns it")
        controls = read(folder)
        yield controls
        contents = plain(_Contents(SCHEMA, tuple(controls)))
        try:
            data = (json.dumps(contents, indent=1) + "\n").encode()
            atomic_write(path, data, world_readable=machine_wide)
        except OSError as error:
            raise _not_written(path, error) from None
    finally:
        os.close(descriptor)


def _not_written(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} cannot be written: {error.strerror}; CTCEDGE_STATE names another folder"
    )
