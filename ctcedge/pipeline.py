"""The one way from image files to sidecars; `classify` is `watch` run once.

Files are read, hashed and decoded by a few threads ahead of the network; the network runs on
batches; outcomes leave in the order in which the crops came in. What the decoder may have died of
is decoded in a process of its own.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctcedge import __version__
from ctcedge.apart import CRASHED, decode_apart
from ctcedge.classifier import Classifier
from ctcedge.crops import Crop
from ctcedge.decide import Verdict
from ctcedge.decode import Decoded, decode
from ctcedge.errors import BadImage
from ctcedge.files import open_plain
from ctcedge.headers import MAX_BYTES, ImageHeader
from ctcedge.in_hand import InHand
from ctcedge.preprocess import network_input
from ctcedge.settings import ImageSettings, settings_sha256
from ctcedge.sidecar import SCHEMA, NotWritten, Record, SidecarFolder, history, now

_READERS = 2
_AHEAD = 2  # batches that may wait, read, for the network

Done: TypeAlias = Literal["written", "current", "vanished", "deferred", "not-written"]
Counted: TypeAlias = tuple[Done, str | None]
"""What was done, and the call, where there is one."""


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
        return self.done, self.record["call"] if self.record else None


@dataclass(frozen=True, slots=True)
class _Image:
    """What is known of an image file once it was read."""

    sha256: str | None
    bytes: int | None
    header: ImageHeader | None = None


@dataclass(frozen=True, slots=True)
class _Ready:
    """A crop on its way: either an outcome already, or an input for the network."""

    crop: Crop
    image: _Image
    previous: Record | None
    input: NDArray[np.uint8] | None = None
    problem: BadImage | None = None


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
        own = classifier.model.spec.input.um_per_px
        self._um_per_px = None if own is None else images.um_per_px or own
        self._um_per_px_assumed = own is not None and images.um_per_px is None
        self._settings_sha256 = settings_sha256(images, classifier.model.spec)

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
            force: classify also those whose sidecar is current.
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
            if isinstance(ready, _Ready) and ready.input is not None:
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
        network = None
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
        if problem is None:
            try:
                decoded = self._decode(data, sha256, previous)
                image = _Image(sha256, len(data), decoded.header)
                network = network_input(
                    decoded.pixels, self._um_per_px, self._classifier.model.spec.input
                )
            except BadImage as error:
                problem = error
        return _Ready(crop, image, previous, network, problem)

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

    def _finish(
        self, waiting: list[_Ready | Outcome], defer: Callable[[Crop], bool]
    ) -> Iterator[Outcome]:
        inputs = [r.input for r in waiting if isinstance(r, _Ready) and r.input is not None]
        verdicts = iter(self._classifier.judge(np.stack(inputs)) if inputs else ())
        for item in waiting:
            if isinstance(item, Outcome):
                yield item
            elif item.input is not None:
                yield self._write(item, next(verdicts))
            elif (
                item.problem is not None
                and item.problem.status == "unreadable"
                and defer(item.crop)
            ):
                yield Outcome(item.crop, "deferred", error=str(item.problem))
            elif item.problem is not None:
                yield self._write(item, item.problem)

    def _write(self, ready: _Ready, result: Verdict | BadImage) -> Outcome:
        record = self._record(ready, result)
        try:
            self._sidecars.write(ready.crop, record)
        except NotWritten as error:
            return Outcome(ready.crop, "not-written", None, str(error))
        return Outcome(ready.crop, "written", record, _unclassified(record))

    def _record(self, ready: _Ready, result: Verdict | BadImage) -> Record:
        verdict, problem = (result, None) if isinstance(result, Verdict) else (None, result)
        spec = self._classifier.model.spec
        engine = self._classifier.engine
        header = ready.image.header
        return {
            "schema": SCHEMA,
            "status": "classified" if problem is None else problem.status,
            "call": verdict and verdict.call,
            "probability": verdict and verdict.probability,
            "prior": spec.prior,
            "threshold": spec.decision.threshold,
            "review_band": list(spec.decision.review),
            "reasons": list(verdict.reasons) if verdict else [],
            "error": None if problem is None else str(problem),
            "sample": ready.crop.sample,
            "cell": ready.crop.cell,
            "image": {
                "name": os.path.basename(ready.crop.path),
                "sha256": ready.image.sha256,
                "bytes": ready.image.bytes,
                "width": header and header.width,
                "height": header and header.height,
                "bit_depth": header and header.bits,
                "um_per_px": self._um_per_px,
                "um_per_px_assumed": self._um_per_px_assumed,
            },
            "model": {
                "name": spec.name,
                "version": spec.version,
                "sha256": self._classifier.model.sha256,
                "variant": engine.variant,
            },
            "settings_sha256": self._settings_sha256,
            "software": {
                "ctcedge": __version__,
                "onnxruntime": self._classifier.onnxruntime_version,
                "provider": engine.provider,
            },
            "created": now(),
            "history": history(ready.previous),
        }


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
