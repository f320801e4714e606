"""Healthy-donor controls: counts of CTC calls in samples without CTCs, kept in one small file.

Each CTC call in such a sample is a false positive. Counts are kept by sample and by
`DecisionContext`: model, operating point and image settings.

Longer than most modules: what is counted, and the file that keeps it, change together.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from ctcedge.errors import OutputError, SetupError
from ctcedge.fs import paths
from ctcedge.fs.descriptors import close_unwritten
from ctcedge.fs.files import UnsuitableFileError, atomic_write, read_limited
from ctcedge.fs.text import load_json, same_form
from ctcedge.fs.unfinished import make_folders
from ctcedge.log import event
from ctcedge.records import Count, convert, plain
from ctcedge.sidecars.scan import CropRecord
from ctcedge.sidecars.schema import Sidecar
from ctcedge.times import now

log = logging.getLogger("ctcedge.results.controls")

SCHEMA: Final = "ctcedge/controls/1"
FILE_NAME = "controls.json"

_MAX_BYTES = 16 * 1024 * 1024

_Text: TypeAlias = Annotated[str, Meta(max_length=4096)]


class DecisionContext(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What calls depend on; counts of one context cannot be used for another.

    Attributes:
        model_sha256: hash of the model.
        operating_point: name of the operating point; None for the model's own thresholds.
        inference_sha256: hash of the settings that can change a score, such as um/px; None in
            sidecars of an earlier version of ctcedge.
    """

    model_sha256: _Text
    operating_point: _Text | None
    inference_sha256: _Text | None

    @classmethod
    def of(cls, record: Sidecar) -> DecisionContext:
        """Return the context of a sidecar's call."""
        return cls(record.model.sha256, record.operating_point, record.inference_sha256)


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts of a sample without CTCs, in one context.

    Attributes:
        sample: name of the sample.
        folder: folder that it was added from.
        added: time at which it was added, RFC 3339, UTC.
        model: name and version of the model.
        context: model, operating point and image settings.
        cells: number of classified cells.
        ctc_calls: number of cells called CTC.
        confirmed_ctcs: number of cells that persons reviewed as CTC, whatever their call; not 0
            only where the sample was added in spite of them. None: added by an earlier version,
            which did not keep the number.
    """

    sample: _Text
    folder: _Text
    added: _Text
    model: _Text
    context: DecisionContext = msgspec.field(name="rule")
    cells: Annotated[int, Meta(ge=1, le=10**9)]
    ctc_calls: Count
    confirmed_ctcs: Count | None = None

    def __post_init__(self) -> None:
        if self.ctc_calls > self.cells:
            raise ValueError("'ctc_calls' must not be larger than 'cells'")


class _Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of the file."""

    schema: Literal["ctcedge/controls/1"]
    controls: Annotated[tuple[Control, ...], Meta(max_length=100_000)]


class AddResult(msgspec.Struct, frozen=True):
    """Result of `add`.

    Attributes:
        controls: counts that were added.
        replaced: names of samples whose earlier counts were replaced.
        warnings: what a person should know of them.
    """

    controls: list[Control]
    replaced: list[str]
    warnings: list[str] = msgspec.field(name="doubts")

    def as_json(self) -> dict[str, Any]:
        """Return the result for `--json`."""
        return plain(self)


def usable_controls(*, strict: bool = False) -> list[Control]:
    """Return the controls of this account and, unless `CTCEDGE_STATE` is set, of the machine.

    Where both have the same sample and context, the account's own counts are used.

    Args:
        strict: raise where a file cannot be used, rather than report it in the log.

    Raises:
        SetupError: a file cannot be used.
    """
    folders = []
    try:
        folders.append(paths.state_folder())
    except SetupError as error:
        log.warning("no controls of this account: %s", error, extra=event("controls"))
    if not os.environ.get("CTCEDGE_STATE") and paths.MACHINE_FOLDER not in folders:
        folders.insert(0, paths.MACHINE_FOLDER)
    controls: dict[tuple[str, DecisionContext], Control] = {}
    for folder in folders:
        try:
            controls |= {(same_form(each.sample), each.context): each for each in read(folder)}
        except SetupError as error:
            if strict:
                raise
            log.warning("%s", error, extra=event("controls"))
    return list(controls.values())


def controls_file() -> Path | None:
    """Return the file of this account's controls; None where it has no home folder."""
    with contextlib.suppress(SetupError):
        return paths.state_folder() / FILE_NAME
    return None


def read(folder: Path) -> list[Control]:
    """Read the controls in a state folder.

    Returns:
        The controls; none where there is no file, or no permission to read it.

    Raises:
        SetupError: the file is damaged, or of a newer ctcedge.
    """
    path = folder / FILE_NAME
    try:
        data = read_limited(path, _MAX_BYTES, follow=True)
        if not data.strip(b"\0"):
            raise SetupError(
                f"{path} is empty, as a full disk or a power cut leaves it; remove it and add the"
                " controls again"
            )
        return list(convert(load_json(data), _Contents).controls)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    except UnsuitableFileError:
        text = f"{path}: not a regular file of at most {_MAX_BYTES:,} bytes"
        raise SetupError(text) from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # no file can have such a path
            return []
        raise SetupError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{path}: {error}; repair or remove it") from None


def add(
    folder: Path,
    crops: Iterable[CropRecord],
    name: str | None = None,
    *,
    with_confirmed_ctcs: bool = False,
) -> AddResult:
    """Count the calls of a folder's samples and keep the counts as controls of this account.

    Earlier counts of the same sample and context are replaced.

    Args:
        folder: the searched folder.
        crops: its crops with their sidecars.
        name: name for its only sample, instead of that in the paths.
        with_confirmed_ctcs: also add samples in which persons confirmed CTCs.

    Raises:
        SetupError: no crop is classified, a sample was classified in several contexts, a sample of
            the same name came from another folder, or persons confirmed CTCs in a sample.
    """
    counts = _Counts()
    for crop in crops:
        counts.add(crop)
    added = counts.controls(folder, name)
    if counts.confirmed_ctcs and not with_confirmed_ctcs:
        raise SetupError(
            f"{'; '.join(counts.confirmed())}: a sample with CTCs is no healthy-donor control, and"
            " nothing was added; if the reviews are wrong, correct them, otherwise"
            " --with-confirmed-ctcs adds it all the same"
        )
    with _changed_controls() as controls:
        replaced = []
        for control in added:
            for index, other in enumerate(controls):
                same_name = same_form(other.sample) == same_form(control.sample)
                if same_name and other.folder != control.folder:
                    raise SetupError(
                        f"a sample '{control.sample}' was already added from {other.folder}; if it"
                        " is the same, 'ctcedge controls remove' it first, otherwise give --name"
                    )
                if same_name and other.context == control.context:
                    del controls[index]
                    replaced.append(control.sample)
                    break
            controls.append(control)
    return AddResult(added, replaced, counts.warnings())


def remove(sample: str) -> int:
    """Remove a sample's counts, of every context.

    Returns:
        The number of counts that were removed.

    Raises:
        SetupError: this account has no sample of that name.
    """
    with _changed_controls() as controls:
        name = same_form(sample)
        kept = [control for control in controls if same_form(control.sample) != name]
        removed = len(controls) - len(kept)
        if not removed:
            names = ", ".join(sorted({control.sample for control in controls})) or "none"
            raise SetupError(
                f"no control sample '{sample}' in {paths.state_folder()}; there: {names}"
            )
        controls[:] = kept
    return removed


def with_new_ctcs(folder: Path, crops: Iterable[CropRecord]) -> list[str]:
    """Describe controls of a folder in which persons confirmed CTCs after they were added.

    Args:
        folder: the searched folder.
        crops: its crops with their sidecars.
    """
    root = folder.resolve()
    near = [
        control
        for control in usable_controls()
        if root.is_relative_to(control.folder) or Path(control.folder).is_relative_to(root)
    ]
    if not near:
        return []
    counts = _Counts()
    for crop in crops:
        counts.add(crop)
    texts = []
    for sample, count in counts.confirmed_ctcs.items():
        for control in near:
            # A folder of one sample may have been added under another name.
            renamed = control.folder == str(root) and counts.samples == {sample}
            same = renamed or same_form(control.sample) == same_form(sample)
            if same and count > (control.confirmed_ctcs or 0):
                texts.append(
                    f"sample '{control.sample}' counts as a healthy-donor control, and"
                    f" {_reviewed_as_ctc(count)}; 'ctcedge controls remove' removes it"
                )
    return list(dict.fromkeys(texts))


def _reviewed_as_ctc(count: int) -> str:
    cells = "1 cell was" if count == 1 else f"{count:,} cells were"
    return f"{cells} reviewed as CTC"


def _is_confirmed_ctc(record: Sidecar) -> bool:
    """Whether the latest review of any reviewer is CTC, of this image or an earlier one."""
    return "CTC" in {review.reviewer: review.call for review in record.reviews}.values()


class _Counts:
    """Counts of calls by sample and context.

    Attributes:
        samples: names of the samples.
        confirmed_ctcs: cells that persons reviewed as CTC, by sample; only of samples with any.
    """

    def __init__(self) -> None:
        self._calls: dict[str, Counter[tuple[DecisionContext, str]]] = defaultdict(Counter)
        self._models: dict[str, str] = {}
        self._without_call: Counter[str] = Counter()
        self.samples: set[str] = set()
        self.confirmed_ctcs: Counter[str] = Counter()

    def add(self, crop: CropRecord) -> None:
        """Count one crop."""
        sample, record = crop.crop.sample, crop.record
        self.samples.add(sample)
        if record is not None and _is_confirmed_ctc(record):
            self.confirmed_ctcs[sample] += 1
        if record is None or record.call is None:
            self._without_call[sample] += 1
            return
        context = DecisionContext.of(record)
        self._calls[sample][context, record.call] += 1
        self._models[context.model_sha256] = f"{record.model.name} {record.model.version}"

    def controls(self, folder: Path, name: str | None) -> list[Control]:
        """Return the counts of each sample; arguments and errors as of `add`."""
        if not self._calls:
            raise SetupError(f"no cell in {folder} is classified; run: ctcedge classify")
        if name is not None and len(self._calls) > 1:
            raise SetupError(f"--name is for one sample, and {folder} holds {len(self._calls)}")
        controls = []
        for sample, counts in self._calls.items():
            contexts = {context for context, _ in counts}
            if len(contexts) > 1:
                raise SetupError(
                    f"sample '{sample}' was classified with {len(contexts)} different models,"
                    " operating points or settings; run 'ctcedge classify' on it again"
                )
            (context,) = contexts
            control = Control(
                sample=sample if name is None else name,
                folder=str(folder.resolve()),
                added=now(),
                model=self._models[context.model_sha256],
                context=context,
                cells=counts.total(),
                ctc_calls=counts[context, "CTC"],
                confirmed_ctcs=self.confirmed_ctcs[sample],
            )
            controls.append(control)
        return controls

    def confirmed(self) -> list[str]:
        """Return how many CTCs persons confirmed, a text for each sample that has any."""
        return [
            f"sample '{sample}': {_reviewed_as_ctc(count)}"
            for sample, count in self.confirmed_ctcs.items()
        ]

    def warnings(self) -> list[str]:
        """Return what a person should know of the samples."""
        warnings = [f"{text}; a control must contain none" for text in self.confirmed()]
        for sample, count in self._without_call.items():
            crops = "1 crop has" if count == 1 else f"{count:,} crops have"
            warnings.append(f"sample '{sample}': {crops} no usable call")
        return warnings


@contextlib.contextmanager
def _changed_controls() -> Iterator[list[Control]]:
    """Yield the controls of this account, to be changed in place; write them unless it raises."""
    folder = paths.state_folder()
    path = folder / FILE_NAME
    machine_wide = folder == paths.MACHINE_FOLDER
    try:
        make_folders(folder)
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
        data = (json.dumps(contents, indent=1) + "\n").encode()
        _check_readable(path, data)
        try:
            atomic_write(path, data, world_readable=machine_wide)
        except OSError as error:
            raise _not_written(path, error) from None
    finally:
        close_unwritten(descriptor)


def _check_readable(path: Path, data: bytes) -> None:
    """Check that a file can be read back, before it replaces the one that is there.

    Raises:
        SetupError: it cannot.
    """
    if len(data) > _MAX_BYTES:
        raise SetupError(f"{path} would be larger than {_MAX_BYTES:,} bytes; remove old controls")
    try:
        convert(json.loads(data), _Contents)
    except ValueError as error:
        raise SetupError(f"{path} is not changed: {error}") from None


def _not_written(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} cannot be written: {error.strerror}; CTCEDGE_STATE names another folder"
    )
