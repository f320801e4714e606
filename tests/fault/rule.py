"""The rule that holds after every fault.

Every readable crop has exactly one whole sidecar for (image content, model, settings), and nothing
is called twice with different answers.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from pathlib import Path
from typing import Any

from ctcedge.discovery.naming import SIDECAR_SUFFIX
from ctcedge.errors import BadImage
from ctcedge.images.decode import decode
from tests.helpers.support import load

Signature = tuple[int, ...]
_IMAGES = (".png", ".tif")

Asked = tuple[str, str, str]
"""Hashes of image, model and settings: what a call answers."""


class Rule:
    """Compares images with sidecars, and remembers every answer that it ever saw.

    Looking again costs little: only what changed since is read.

    Args:
        folder: of the images; those named `*_BF.png` or `*_BF.tif` are bright field.
        out: of the sidecars; may be the same.
        model: the model folder that shall decide.
    """

    def __init__(self, folder: Path, out: Path, model: Path) -> None:
        self.folder, self.out = folder, out
        self.decided_by(model)
        self._images: dict[Path, tuple[Signature, str, bool]] = {}
        self._sidecars: dict[Path, tuple[Signature, dict[str, Any]]] = {}
        self._written: dict[tuple[Path, Asked], str] = {}
        self._answers: dict[Asked, tuple[object, ...]] = {}
        self._torn: dict[Path, bytes] = {}

    def decided_by(self, model: Path) -> None:
        """From now on this model shall decide."""
        self._model = hashlib.sha256((model / "model.json").read_bytes()).hexdigest()

    def tear(self, crop: str, data: bytes) -> None:
        """Leave a sidecar as a power cut may leave it; it counts as missing until replaced."""
        path = self.out / (crop + SIDECAR_SUFFIX)
        path.write_bytes(data)
        self._torn[path] = data
        self._sidecars.pop(path, None)
        self._written = {key: at for key, at in self._written.items() if key[0] != path}

    def forget(self) -> None:
        """All sidecars were taken away: writing them again is right."""
        self._sidecars.clear()
        self._written.clear()

    def lacking(self, below: str = "") -> list[str]:
        """Readable crops without their sidecar; what must never be fails at once."""
        lacking = []
        for path in _files(self.folder / below):
            crop = str(path.relative_to(self.folder))
            hidden = any(part.startswith(".") for part in path.relative_to(self.folder).parts)
            if path.stem.endswith("_BF") and path.suffix in _IMAGES and not hidden:
                image = self._image(path)
                record = self._record(self.out / (crop + SIDECAR_SUFFIX))
                if image is not None and image[1] and not self._is_of(record, image[0]):
                    lacking.append(crop)
        return lacking

    def holds(self, below: str = "") -> bool:
        """Whether every crop has its sidecar and no temporary file is left."""
        return not self.lacking(below) and not self.strays(below)

    def strays(self, below: str = "") -> list[Path]:
        """Temporary files that were left over."""
        return [
            path
            for path in _files(self.out / below)
            if path.name.startswith(".ctcedge-") or path.suffix == ".tmp"
        ]

    def _is_of(self, record: dict[str, Any] | None, sha256: str) -> bool:
        return (
            record is not None
            and record["status"] == "classified"
            and record["image"]["sha256"] == sha256
            and record["model"]["sha256"] == self._model
        )

    def _image(self, path: Path) -> tuple[str, bool] | None:
        """Hash of an image and whether it is readable; None when it is gone."""
        signature = _signature(path)
        if signature is None:
            return None
        known = self._images.get(path)
        if known is None or known[0] != signature:
            data = path.read_bytes()
            try:
                decode(data)
            except BadImage:
                readable = False
            else:
                readable = True
            known = signature, hashlib.sha256(data).hexdigest(), readable
            self._images[path] = known
        return known[1:]

    def _record(self, path: Path) -> dict[str, Any] | None:
        signature = _signature(path)
        if signature is None:
            return None
        if path in self._torn:
            if path.read_bytes() == self._torn[path]:
                return None
            del self._torn[path]
        known = self._sidecars.get(path)
        if known is None or known[0] != signature:
            known = signature, load(path)
            self._sidecars[path] = known
            self._judge(path, known[1])
        return known[1]

    def _judge(self, path: Path, record: dict[str, Any]) -> None:
        """See that a new record repeats no answer and contradicts none."""
        if record["status"] != "classified":
            return
        entries = [*record["history"], {**record, "image_sha256": record["image"]["sha256"]}]
        asked = [_asked(entry) for entry in entries]
        again = [one for one, other in itertools.pairwise(asked) if one == other]
        assert not again, f"called twice without a change: {path}"
        for question, entry in zip(asked, entries, strict=True):
            answer = entry["call"], round(entry["probability"], 6)
            assert self._answers.setdefault(question, answer) == answer, f"two answers: {path}"
        created = self._written.setdefault((path, asked[-1]), record["created"])
        unchanged = created == record["created"] or len(set(asked)) > 1
        assert unchanged, f"written twice without a change: {path}"


def _asked(entry: dict[str, Any]) -> Asked:
    return entry["image_sha256"], entry["model"]["sha256"], entry["settings_sha256"]


def _files(folder: Path) -> list[Path]:
    """Plain files, but for those in a folder with an image's name, which is never looked into."""
    found = []
    pending = [folder]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        found.append(Path(entry.path))
                    elif entry.is_dir(follow_symlinks=False) and not entry.name.endswith(_IMAGES):
                        pending.append(Path(entry.path))
        except OSError:  # gone, or too long a path
            continue
    return found


def _signature(path: Path) -> Signature | None:
    try:
        status = os.lstat(path)
    except OSError:  # gone, or too long a path
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def written(path: Path) -> dict[str, Any] | None:
    """A sidecar, valid, or None where there is none."""
    try:
        return load(path)
    except FileNotFoundError:
        return None


def torn_like(path: Path) -> list[bytes]:
    """What a power cut may leave of a sidecar."""
    whole = path.read_bytes()
    json.loads(whole)
    return [b"", b"\0" * len(whole), whole[: len(whole) // 2], whole[:512] + b"\0" * 512, b"[]"]
