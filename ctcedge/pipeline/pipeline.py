"""The one way from image files to sidecars; `classify` is `watch` run once.

A few workers each take a handful of crops all the way: read, hash, decode, bring to the network's
input, run the network, write. They take turns at all but the network, which needs no Python:
threads that share Python's lock hand it over at every call into C, and that costs more than the
calls. What the decoder may have died of is decoded in a process of its own. Where only the decision
changed, the network does not run: the sidecar keeps what it said, and the new call follows from
that. Outcomes leave in the order in which the crops came in.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np

from ctcedge.classification.analysis import CellAnalysis
from ctcedge.classification.classifier import Classifier, Judged, Seen
from ctcedge.classification.fingerprints import inference_sha256, scale, settings_sha256
from ctcedge.discovery.naming import Crop
from ctcedge.errors import BadImage
from ctcedge.fs.mounts import file_system, is_remote
from ctcedge.images.decode import Decoded, decode
from ctcedge.images.read import read_file
from ctcedge.images.sandbox import CRASHED, decode_in_subprocess
from ctcedge.pipeline.crash_journal import InHand
from ctcedge.pipeline.records import ImageFacts, SidecarBuilder
from ctcedge.settings import ImageSettings
from ctcedge.sidecars.index import DoneIndex, IndexEntry, Lookup
from ctcedge.sidecars.schema import Sidecar
from ctcedge.sidecars.store import NotWritten, SidecarStore
from ctcedge.times import now

_MOST_WORKERS = 8  # more would wait for each other in Python
_WORKERS_A_TURN = 4  # as the network takes three quarters of a worker's time or more
_HANDFUL = 64  # crops; of fewer, the caches are filled anew too often
_MOST_HELD = 16 * 2**20  # bytes of pixels that a worker holds
_LOOKED_AT_ONCE = 1000  # crops that are looked up in the index together

Done: TypeAlias = Literal["written", "current", "vanished", "deferred", "not-written"]
Note: TypeAlias = Callable[[str], None]
_T = TypeVar("_T")


class Counted(NamedTuple):
    """What a summary counts of a crop.

    Attributes:
        done: what was done.
        call: where there is one.
        reasons: for which a person is asked to look.
        cluster: whether the crop shows touching cells.
        decided_anew: whether the call follows from a stored score, without the network.
    """

    done: Done
    call: str | None = None
    reasons: tuple[str, ...] = ()
    cluster: bool = False
    decided_anew: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one crop.

    Attributes:
        crop: the crop.
        done: `written` a new sidecar, `current` one was already there, `vanished` the image is
            gone, `deferred` to be tried again later, `not-written` the sidecar's path refused it,
            or its image cannot be read now, but could be before.
        record: the sidecar's content, or None where there is none.
        error: why the crop stands unclassified, or None.
        instead_of: what became of the same crop earlier in the run, where `watch` did it again.
        known: what an index knew of a current sidecar, which then was not read.
        decided_anew: whether the call that was written follows from a stored score, without the
            network.
    """

    crop: Crop
    done: Done
    record: Sidecar | None = None
    error: str | None = None
    instead_of: Counted | None = None
    known: IndexEntry | None = None
    decided_anew: bool = False

    @property
    def counted(self) -> Counted:
        """What a summary counts of it."""
        if (known := self.known) is not None:
            return Counted(self.done, known.call, known.reasons, known.cluster)
        record = self.record
        if record is None or record.call is None:
            return Counted(self.done)
        reasons, cluster = tuple(record.reasons), record.cluster is True
        return Counted(self.done, record.call, reasons, cluster, self.decided_anew)

    @property
    def call(self) -> str | None:
        """The call, where there is one."""
        return self.counted.call

    @property
    def is_unread(self) -> bool:
        """Whether the image could not be read at all, which may pass."""
        record = self.record
        return record is not None and record.status == "unreadable" and record.image.sha256 is None

    @property
    def traits(self) -> Sequence[float]:
        """What the crop's run is judged by, see `guard`; empty where that is not known."""
        if self.known is not None:
            return self.known.features
        ood = self.record and self.record.ood
        return ood.features if ood else ()


class _Ready(NamedTuple):
    """A crop on its way: `told` grows from pixels to what is seen of them, unless all is known."""

    crop: Crop
    looked: Lookup
    image: ImageFacts
    told: Decoded | Seen | CellAnalysis | BadImage


class _Unreadable(NamedTuple):
    """A crop that may still be in the making."""

    ready: _Ready
    problem: BadImage


class _Result(NamedTuple):
    """What a sidecar will say."""

    ready: _Ready
    told: CellAnalysis | BadImage


class Pipeline:
    """Classifies the crops of one folder into its sidecars.

    Args:
        folder: the searched folder.
        images: how images are read.
        classifier: model and session.
        sidecars: where the results lie.
        in_hand: notes what is decoded, and knows what to suspect.
        batch_size: crops a call of the network; None for what suits the provider.
        index: remembers what is done, so that it need not be read; None for no memory.

    Attributes:
        batch_size: crops a call of the network.
        handful: crops that a worker takes at once.
    """

    def __init__(
        self,
        folder: Path,
        images: ImageSettings,
        classifier: Classifier,
        sidecars: SidecarStore,
        in_hand: InHand,
        batch_size: int | None = None,
        index: DoneIndex | None = None,
    ) -> None:
        self._folder = folder
        self._classifier = classifier
        self._sidecars = sidecars
        self._in_hand = in_hand
        self._index = index
        best = classifier.engine.optimal_batch_size
        self.batch_size = batch_size or best
        self.handful = handful(batch_size, best)
        self._workers = min(max(2, len(os.sched_getaffinity(0))), _MOST_WORKERS)
        # Through a share, files are waited for: no turns, so that others work meanwhile.
        shared = any(is_remote(file_system(each)) for each in (folder, sidecars.root))
        turns = self._workers if shared else max(1, self._workers // _WORKERS_A_TURN)
        self._turns = threading.Semaphore(turns)
        spec, policy = classifier.model.spec, classifier.policy
        self._um_per_px = scale(images, spec)
        self._inference_sha256 = inference_sha256(self._um_per_px)
        self._settings_sha256 = settings_sha256(images, spec, policy)
        self._builder = SidecarBuilder(
            classifier, self._um_per_px, self._inference_sha256, self._settings_sha256
        )

    def recall(self, crops: Iterable[Crop]) -> Iterator[Outcome | Crop]:
        """Yield, of each crop, the outcome where it is known without reading; else the crop."""
        for crop, looked in self._look(crops):
            yield crop if looked.entry is None else _recalled(crop, looked.entry)

    def tidy(self, crops: int) -> None:
        """Forget images that are gone.

        Args:
            crops: that the whole folder holds.
        """
        if self._index is not None:
            self._index.prune(crops)

    def run(
        self,
        crops: Iterable[Crop],
        *,
        force: bool = False,
        stop: Callable[[], bool] = lambda: False,
        defer: Callable[[Crop, bool], bool] = lambda crop, was_read: False,
    ) -> Iterator[Outcome]:
        """Classify crops that have no current sidecar, and yield every crop's outcome in order.

        Args:
            crops: bright-field crops.
            force: classify also those whose sidecar is current, and those that need a new decision
                alone.
            stop: asked before each handful is begun; when it says yes, what is in hand is finished
                and the run ends.
            defer: asked about a crop that cannot be decoded, or not even read: whether to try again
                later instead of writing that it is unreadable. Given whether it was read.

        Raises:
            OutputError: sidecars cannot be written at all, for instance because the disk is full.
        """
        in_hand: deque[Future[list[Outcome | _Unreadable]]] = deque()
        with ThreadPoolExecutor(self._workers, "ctcedge") as workers:
            try:
                for some in self._handfuls(crops, force):
                    if stop():
                        break
                    in_hand.append(workers.submit(self._work, some, force))
                    if len(in_hand) > self._workers:
                        yield from self._settle(in_hand.popleft().result(), defer)
                while in_hand:
                    yield from self._settle(in_hand.popleft().result(), defer)
            finally:
                workers.shutdown(wait=True, cancel_futures=True)

    def _look(self, crops: Iterable[Crop]) -> Iterator[tuple[Crop, Lookup]]:
        for some in _chunks(crops, _LOOKED_AT_ONCE):
            if self._index is None:
                yield from ((crop, Lookup(crop.path)) for crop in some)
            else:
                yield from zip(some, self._index.lookup(some), strict=True)

    def _handfuls(self, crops: Iterable[Crop], force: bool) -> Iterator[list[tuple[Crop, Lookup]]]:
        """Handfuls that hold as many crops to be read as fill some calls of the network."""
        some: list[tuple[Crop, Lookup]] = []
        to_read = 0
        for crop, looked in self._look(crops):
            some.append((crop, looked))
            to_read += force or looked.entry is None
            if to_read == self.handful or len(some) == _LOOKED_AT_ONCE:
                yield some
                some, to_read = [], 0
        if some:
            yield some

    def _work(
        self, crops: Sequence[tuple[Crop, Lookup]], force: bool
    ) -> list[Outcome | _Unreadable]:
        """Take a handful as far as it goes: what is unreadable may have to be tried again."""
        with self._turns, self._in_hand.place() as note:
            read = (
                _recalled(crop, looked.entry)
                if looked.entry is not None and not force
                else self._read(crop, looked, force, note)
                for crop, looked in crops
            )
            ready = [each for some in _light(read) for each in self._look_at(some)]
            inputs = [
                each.told.input
                for each in ready
                if isinstance(each, _Ready) and isinstance(each.told, Seen)
            ]
            batches = [np.stack(some) for some in _chunks(inputs, self.batch_size)]
        answered = [self._classifier.answer(batch) for batch in batches]
        with self._turns:
            judged = chain.from_iterable(map(self._classifier.judged, answered))
            known = [_known(each, judged) for each in ready]
            written = iter(self._write([each for each in known if isinstance(each, _Result)]))
            return [next(written) if isinstance(each, _Result) else each for each in known]

    def _look_at(self, read: Sequence[_Ready | Outcome]) -> Iterator[_Ready | Outcome]:
        """Look at what was decoded: one step for all, then the next, keeps code in the caches."""
        decoded = [told for each in read if (told := _decoded(each)) is not None]
        images = [(each.pixels, each.header.bits) for each in decoded]
        seen = iter(self._classifier.look(images, self._um_per_px))
        for each in read:
            if isinstance(each, _Ready) and isinstance(each.told, Decoded):
                yield each._replace(told=next(seen))
            else:
                yield each

    def _settle(
        self, worked: list[Outcome | _Unreadable], defer: Callable[[Crop, bool], bool]
    ) -> Iterator[Outcome]:
        for each in worked:
            if isinstance(each, Outcome):
                yield each
            elif defer(each.ready.crop, each.ready.image.sha256 is not None):
                yield Outcome(each.ready.crop, "deferred", error=str(each.problem))
            else:
                yield from self._write([_Result(each.ready, each.problem)])

    def _read(self, crop: Crop, looked: Lookup, force: bool, note: Note) -> _Ready | Outcome:
        problem: BadImage | None = None
        try:
            data = read_file(f"{self._folder}/{crop.path}")
        except FileNotFoundError:
            return Outcome(crop, "vanished")
        except BadImage as error:
            problem, image = error, ImageFacts(None, None)
        except OSError as error:
            problem = BadImage("unreadable", f"cannot be read: {error.strerror}")
            image = ImageFacts(None, None)
        else:
            sha256 = hashlib.sha256(data).hexdigest()
            image = ImageFacts(sha256, len(data))
        try:
            previous = None if looked.is_new else self._sidecars.read(crop)
        except NotWritten as error:
            return Outcome(crop, "not-written", error=str(error))
        if previous and not force and self._is_current(previous, image, problem):
            outcome = Outcome(crop, "current", previous, _unclassified(previous))
            self._note(outcome, looked)
            return outcome
        if problem is not None:
            if problem.status == "unreadable" and previous and previous.image.sha256:
                # Whatever ails the disk or the share, what was found in the image still holds.
                kept = f"the image {problem}; its sidecar is kept"
                return Outcome(crop, "not-written", error=kept)
            return _Ready(crop, looked, image, problem)
        if previous and not force and (finding := self._found_before(previous, sha256)):
            return _Ready(crop, looked, _decoded_before(previous, image), finding)
        try:
            decoded = self._decode(data, sha256, previous, note)
            header = decoded.header
            image = ImageFacts(sha256, len(data), header.width, header.height, header.bits)
        except BadImage as error:
            return _Ready(crop, looked, image, error)
        return _Ready(crop, looked, image, decoded)

    def _decode(self, data: bytes, sha256: str, previous: Sidecar | None, note: Note) -> Decoded:
        crashed_before = (
            previous is not None and previous.error == CRASHED and previous.image.sha256 == sha256
        )
        if not crashed_before and sha256 not in self._in_hand.suspects:
            note(sha256)
            return decode(data)
        decoded = decode_in_subprocess(data)
        self._in_hand.acquit(sha256)
        return decoded

    def _is_current(self, record: Sidecar, image: ImageFacts, problem: BadImage | None) -> bool:
        found = record.image.sha256, record.model.sha256, record.settings_sha256
        if found != (image.sha256, self._classifier.model.sha256, self._settings_sha256):
            return False
        # An image that cannot be read has no hash; its sidecar is current if it says just that.
        return image.sha256 is not None or bool(record.error == str(problem))

    def _found_before(self, record: Sidecar, sha256: str) -> CellAnalysis | None:
        """What an earlier run said of this image, where this one would say the same."""
        found = record.image.sha256, record.model.sha256, record.inference_sha256
        if found != (sha256, self._classifier.model.sha256, self._inference_sha256):
            return None
        return CellAnalysis.from_sidecar(record)

    def _write(self, results: Sequence[_Result]) -> list[Outcome]:
        created = now()
        records = [
            self._builder.build(ready.crop, ready.image, result, created)
            for ready, result in results
        ]
        outcomes = []
        with self._sidecars.batch() as write:
            for (ready, _), record in zip(results, records, strict=True):
                try:
                    written = write(ready.crop, record).sidecar
                except NotWritten as error:
                    outcomes.append(Outcome(ready.crop, "not-written", None, str(error)))
                else:
                    why, stored = _unclassified(written), isinstance(ready.told, CellAnalysis)
                    outcomes.append(
                        Outcome(ready.crop, "written", written, why, decided_anew=stored)
                    )
        for (ready, _), outcome in zip(results, outcomes, strict=True):
            if outcome.done == "written":
                self._note(outcome, ready.looked)
        return outcomes

    def _note(self, outcome: Outcome, looked: Lookup) -> None:
        """Remember that a crop is done, where its image could be read."""
        if self._index is None or outcome.record is None:
            return
        sha256 = outcome.record.image.sha256
        if sha256 is not None:
            _, call, reasons, cluster, _ = outcome.counted
            known = IndexEntry(call, reasons, cluster, outcome.error, outcome.traits)
            written = outcome.done == "written"
            self._index.record(looked, known, sha256=sha256, written=written)


def handful(batch_size: int | None, best: int) -> int:
    """Crops that a worker takes at once: one call of the network where its size was chosen.

    Args:
        batch_size: crops a call, as chosen; None where nobody did.
        best: crops a call at which the provider is fastest.
    """
    return batch_size or best * max(1, _HANDFUL // best)


def _chunks(things: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(things)
    while chunk := list(islice(rest, size)):
        yield chunk


def _light(read: Iterable[_Ready | Outcome]) -> Iterator[list[_Ready | Outcome]]:
    """Part what was read so that no part holds many more bytes of pixels than are allowed."""
    part: list[_Ready | Outcome] = []
    held = 0
    for each in read:
        part.append(each)
        held += 0 if (decoded := _decoded(each)) is None else decoded.pixels.nbytes
        if held > _MOST_HELD:
            yield part
            part, held = [], 0
    yield part


def _decoded(each: _Ready | Outcome) -> Decoded | None:
    told = None if isinstance(each, Outcome) else each.told
    return told if isinstance(told, Decoded) else None


def _recalled(crop: Crop, known: IndexEntry) -> Outcome:
    return Outcome(crop, "current", None, known.error, known=known)


def _known(
    each: _Ready | Outcome, judged: Iterator[Judged | BadImage]
) -> Outcome | _Unreadable | _Result:
    """What is to be done about a crop.

    Args:
        each: the crop, once it was looked at.
        judged: what network and guard say of those that are seen, in their order.
    """
    if isinstance(each, Outcome):
        return each
    told = each.told
    if isinstance(told, Seen):
        said = next(judged)
        if isinstance(said, BadImage):
            return _Result(each, said)
        return _Result(each, CellAnalysis.of(said.score, told.quality, said.unlike, said.ran))
    if isinstance(told, BadImage) and told.status == "unreadable":
        return _Unreadable(each, told)
    assert not isinstance(told, Decoded)
    return _Result(each, told)


def _decoded_before(record: Sidecar, image: ImageFacts) -> ImageFacts:
    known = record.image
    return image._replace(width=known.width, height=known.height, bits=known.bit_depth)


def _unclassified(record: Sidecar) -> str | None:
    return None if record.status == "classified" else f"{record.status}: {record.error}"
