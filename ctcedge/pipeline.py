"""The one way from image files to sidecars; `classify` is `watch` run once.

Files are read, hashed and decoded by a few threads ahead of the network; the network runs on
batches; outcomes leave in the order in which the crops came in. What the decoder may have died of
is decoded in a process of its own. Where only the decision changed, the network does not run: the
sidecar keeps what it said, and the new call follows from that.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from ctcedge import __version__
from ctcedge.apart import CRASHED, decode_apart
from ctcedge.classifier import Classifier, Judged, Seen
from ctcedge.crops import Crop
from ctcedge.decode import Decoded, decode
from ctcedge.errors import BadImage
from ctcedge.files import open_plain
from ctcedge.finding import Finding
from ctcedge.headers import MAX_BYTES
from ctcedge.identity import inference_sha256, scale, settings_sha256
from ctcedge.in_hand import InHand
from ctcedge.settings import ImageSettings
from ctcedge.sidecar import SCHEMA, NotWritten, Record, SidecarFolder, history, now

_READERS = 2
_AHEAD = 2  # batches that may wait, read, for the network

Done: TypeAlias = Literal["written", "current", "vanished", "deferred", "not-written"]


class Counted(NamedTuple):
    """What a summary counts of a crop.

    Attributes:
        done: what was done.
        call: where there is one.
        reasons: for which a person is asked to look.
        cluster: whether the crop shows touching cells.
    """

    done: Done
    call: str | None = None
    reasons: tuple[str, ...] = ()
    cluster: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one crop.

    Attributes:
        crop: the crop.
        done: `written` a new sidecar, `current` one was already there, `vanished` the image is
            gone, `deferred` to be tried again later, `not-written` the sidecar's path refused it.
        record: the sidecar's content, or None where there is none.
        error: why the crop stands unclassified, or None.
        instead_of: what became of the same crop earlier in the run, where `watch` did it again.
    """

    crop: Crop
    done: Done
    record: Record | None = None
    error: str | None = None
    instead_of: Counted | None = None

    @property
    def counted(self) -> Counted:
        """What a summary counts of it."""
        record = self.record
        if record is None or record["call"] is None:
            return Counted(self.done)
        return Counted(
            self.done, record["call"], tuple(record["reasons"]), record["cluster"] is True
        )

    @property
    def traits(self) -> Sequence[float]:
        """What the crop's run is judged by, see `guard`; empty where that is not known."""
        unlike = self.record and self.record["unlike"]
        return unlike["traits"] if unlike else ()


@dataclass(frozen=True, slots=True)
class _Image:
    """What is known of an image file once it was read, and, of its pixels, once it was decoded."""

    sha256: str | None
    bytes: int | None
    width: int | None = None
    height: int | None = None
    bits: int | None = None


@dataclass(frozen=True, slots=True)
class _Ready:
    """A crop on its way: the network waits for `seen`, or has spoken earlier, or cannot."""

    crop: Crop
    image: _Image
    previous: Record | None
    told: Seen | Finding | BadImage


class Pipeline:
    """Classifies the crops of one folder into its sidecars.

    Args:
        folder: the searched folder.
        images: how images are read.
        classifier: model and session.
        sidecars: where the results lie.
        in_hand: notes what is decoded, and knows what to suspect.
        batch_size: crops a call of the network.
    """

    def __init__(
        self,
        folder: Path,
        images: ImageSettings,
        classifier: Classifier,
        sidecars: SidecarFolder,
        in_hand: InHand,
        batch_size: int = 64,
    ) -> None:
        self._folder = folder
        self._classifier = classifier
        self._sidecars = sidecars
        self._in_hand = in_hand
        self._batch_size = batch_size
        spec, policy = classifier.model.spec, classifier.policy
        self._um_per_px = scale(images, spec)
        self._um_per_px_assumed = self._um_per_px is not None and images.um_per_px is None
        self._inference_sha256 = inference_sha256(self._um_per_px)
        self._settings_sha256 = settings_sha256(images, spec, policy)
        self._threshold, self._review_band = policy.threshold, policy.review

    def run(
        self,
        crops: Iterable[Crop],
        *,
        force: bool = False,
        stop: Callable[[], bool] = lambda: False,
        defer: Callable[[Crop], bool] = lambda crop: False,
    ) -> Iterator[Outcome]:
        """Classify crops that have no current sidecar, and yield every crop's outcome in order.

        Args:
            crops: bright-field crops.
            force: classify also those whose sidecar is current, and those that need a new decision
                alone.
            stop: asked before each batch is filled; when it says yes, the batch in hand is
                finished and the run ends.
            defer: asked about a crop that cannot be decoded: whether to try again later instead
                of writing that it is unreadable.

        Raises:
            OutputError: sidecars cannot be written at all, for instance because the disk is full.
        """
        waiting: list[_Ready | Outcome] = []
        to_infer = 0
        for ready in self._read_ahead(crops, force, stop):
            waiting.append(ready)
            if isinstance(ready, _Ready) and isinstance(ready.told, Seen):
                to_infer += 1
            if to_infer == self._batch_size or len(waiting) >= 16 * self._batch_size:
                yield from self._finish(waiting, defer)
                waiting, to_infer = [], 0
        yield from self._finish(waiting, defer)

    def _read_ahead(
        self, crops: Iterable[Crop], force: bool, stop: Callable[[], bool]
    ) -> Iterator[_Ready | Outcome]:
        queue: deque[Future[_Ready | Outcome]] = deque()
        with ThreadPoolExecutor(_READERS, "ctcedge-read") as readers:
            try:
                for crop in crops:
                    if stop():
                        break
                    queue.append(readers.submit(self._read, crop, force))
                    if len(queue) > _AHEAD * self._batch_size:
                        yield queue.popleft().result()
                while queue and not stop():
                    yield queue.popleft().result()
            finally:
                readers.shutdown(wait=True, cancel_futures=True)

    def _read(self, crop: Crop, force: bool) -> _Ready | Outcome:
        problem: BadImage | None = None
        try:
            data = read_file(self._folder / crop.path)
        except FileNotFoundError:
            return Outcome(crop, "vanished")
        except BadImage as error:
            problem, image = error, _Image(None, None)
        except OSError as error:
            problem = BadImage("unreadable", f"cannot be read: {error.strerror}")
            image = _Image(None, None)
        else:
            sha256 = hashlib.sha256(data).hexdigest()
            image = _Image(sha256, len(data))
        try:
            previous = self._sidecars.read(crop)
        except NotWritten as error:
            return Outcome(crop, "not-written", error=str(error))
        if previous and not force and self._is_current(previous, image, problem):
            return Outcome(crop, "current", previous, _unclassified(previous))
        if problem is not None:
            return _Ready(crop, image, previous, problem)
        if previous and not force and (finding := self._found_before(previous, sha256)):
            return _Ready(crop, _decoded_before(previous, image), previous, finding)
        try:
            decoded = self._decode(data, sha256, previous)
            header = decoded.header
            image = _Image(sha256, len(data), header.width, header.height, header.bits)
            seen = self._classifier.look(decoded.pixels, self._um_per_px, header.bits)
        except BadImage as error:
            return _Ready(crop, image, previous, error)
        return _Ready(crop, image, previous, seen)

    def _decode(self, data: bytes, sha256: str, previous: Record | None) -> Decoded:
        crashed_before = (
            previous is not None
            and previous["error"] == CRASHED
            and previous["image"]["sha256"] == sha256
        )
        if not crashed_before and sha256 not in self._in_hand.suspects:
            with self._in_hand.noted(sha256):
                return decode(data)
        decoded = decode_apart(data)
        self._in_hand.acquit(sha256)
        return decoded

    def _is_current(self, record: Record, image: _Image, problem: BadImage | None) -> bool:
        found = record["image"]["sha256"], record["model"]["sha256"], record["settings_sha256"]
        if found != (image.sha256, self._classifier.model.sha256, self._settings_sha256):
            return False
        # An image that cannot be read has no hash; its sidecar is current if it says just that.
        return image.sha256 is not None or bool(record["error"] == str(problem))

    def _found_before(self, record: Record, sha256: str) -> Finding | None:
        """What an earlier run said of this image, where this one would say the same."""
        found = record["image"]["sha256"], record["model"]["sha256"], record["inference_sha256"]
        if found != (sha256, self._classifier.model.sha256, self._inference_sha256):
            return None
        return Finding.told(record)

    def _finish(
        self, waiting: list[_Ready | Outcome], defer: Callable[[Crop], bool]
    ) -> Iterator[Outcome]:
        inputs = [
            each.told.input
            for each in waiting
            if isinstance(each, _Ready) and isinstance(each.told, Seen)
        ]
        judged = iter(self._classifier.judge(np.stack(inputs)) if inputs else ())
        for item in waiting:
            if isinstance(item, Outcome):
                yield item
            elif isinstance(item.told, Seen):
                yield self._write(item, self._found(item.told, next(judged)))
            elif (
                isinstance(item.told, BadImage)
                and item.told.status == "unreadable"
                and defer(item.crop)
            ):
                yield Outcome(item.crop, "deferred", error=str(item.told))
            else:
                yield self._write(item, item.told)

    def _found(self, seen: Seen, judged: Judged | BadImage) -> Finding | BadImage:
        if isinstance(judged, BadImage):
            return judged
        return Finding.of(judged.score, seen.quality, judged.unlike, self._classifier.ran)

    def _write(self, ready: _Ready, result: Finding | BadImage) -> Outcome:
        record = self._record(ready, result)
        try:
            written = self._sidecars.write(ready.crop, record)
        except NotWritten as error:
            return Outcome(ready.crop, "not-written", None, str(error))
        return Outcome(ready.crop, "written", written, _unclassified(written))

    def _record(self, ready: _Ready, result: Finding | BadImage) -> Record:
        finding, problem = (result, None) if isinstance(result, Finding) else (None, result)
        policy, spec = self._classifier.policy, self._classifier.model.spec
        verdict = finding and policy.verdict(finding.score, finding.doubts)
        ran = finding.ran if finding else self._classifier.ran
        image, previous = ready.image, ready.previous
        return {
            "schema": SCHEMA,
            "status": "classified" if problem is None else problem.status,
            "call": verdict and verdict.call,
            "probability": verdict and verdict.probability,
            "prior": policy.prior,
            "threshold": self._threshold,
            "review_band": list(self._review_band),
            "operating_point": policy.operating_point,
            "score": finding and finding.score,
            "reasons": list(verdict.reasons) if verdict else [],
            "cluster": finding and finding.cluster,
            "quality": finding and finding.quality,
            "unlike": finding and finding.unlike_record,
            "error": None if problem is None else str(problem),
            "sample": ready.crop.sample,
            "cell": ready.crop.cell,
            "image": {
                "name": os.path.basename(ready.crop.path),
                "sha256": image.sha256,
                "bytes": image.bytes,
                "width": image.width,
                "height": image.height,
                "bit_depth": image.bits,
                "um_per_px": self._um_per_px,
                "um_per_px_assumed": self._um_per_px_assumed,
            },
            "model": {
                "name": spec.name,
                "version": spec.version,
                "sha256": self._classifier.model.sha256,
                "variant": ran.variant,
            },
            "inference_sha256": self._inference_sha256,
            "settings_sha256": self._settings_sha256,
            "software": {
                "ctcedge": __version__,
                "onnxruntime": ran.onnxruntime,
                "provider": ran.provider,
            },
            "created": now(),
            "review": previous and previous["review"],
            "history": history(previous),
        }


def _decoded_before(record: Record, image: _Image) -> _Image:
    known = record["image"]
    return replace(
        image,
        width=known.get("width"),
        height=known.get("height"),
        bits=known.get("bit_depth"),
    )


def _unclassified(record: Record) -> str | None:
    return None if record["status"] == "classified" else f"{record['status']}: {record['error']}"


def read_file(path: Path) -> bytes:
    """Read a plain file without following a link or blocking on what took its place.

    Raises:
        BadImage: larger than any image that is accepted.
        FileNotFoundError: gone, or no longer a plain file.
        OSError: any other failure.
    """
    try:
        file = open_plain(path)
    except OSError:
        if not path.is_file() or path.is_symlink():
            raise FileNotFoundError(path) from None
        raise
    if file is None:
        raise FileNotFoundError(path)
    with file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise BadImage("unsupported", f"too large: {size:,} bytes (at most {MAX_BYTES:,})")
        return file.read(MAX_BYTES + 1)
