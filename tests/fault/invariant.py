"""The invariant that holds after every fault.

Every readable crop has exactly one complete sidecar for (image content, model, settings), and
nothing is classified twice with different results.
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
from tests.helpers.sidecar_files import load

Signature = tuple[int, ...]
_IMAGES = (".png", ".tif")

CallKey = tuple[str, str, str]
"""Hashes of image, model and settings, which determine a call."""


class Invariant:
    """Compares images with sidecars, and remembers every call that it has seen.

    Repeated checks are fast: only files that changed are read.

    Args:
        folder: folder of the images; those named `*_BF.png` or `*_BF.tif` are bright field.
        out: folder of the sidecars; may be the same.
        model: folder of the model that must have made the calls.
    """

    def __init__(self, folder: Path, out: Path, model: Path) -> None:
        self.folder, self.out = folder, out
        self.set_model(model)
        self._images: dict[Path, tuple[Signature, str, bool]] = {}
        self._sidecars: dict[Path, tuple[Signature, dict[str, Any]]] = {}
        self._written: dict[tuple[Path, CallKey], str] = {}
        self._calls: dict[CallKey, tuple[object, ...]] = {}
        self._torn: dict[Path, bytes] = {}

    def set_model(self, model: Path) -> None:
        """Set the model that must have made the calls."""
        self._model = hashlib.sha256((model / "model.json").read_bytes()).hexdigest()

    def tear(self, crop: str, data: bytes) -> None:
        """Damage a sidecar as a power cut may; it counts as missing until it is replaced."""
        path = self.out / (crop + SIDECAR_SUFFIX)
        path.write_bytes(data)
        self._torn[path] = data
        self._sidecars.pop(path, None)
        self._written = {key: at for key, at in self._written.items() if key[0] != path}

    def forget(self) -> None:
        """Forget all sidecars: they were removed, and writing them again is correct."""
        self._sidecars.clear()
        self._written.clear()

    def missing(self, below: str = "") -> list[str]:
        """Readable crops without their sidecar; a violation that must never occur fails at once."""
        missing = []
        for path in _files(self.folder / below):
            crop = str(path.relative_to(self.folder))
            hidden = any(part.startswith(".") for part in path.relative_to(self.folder).parts)
            if path.stem.endswith("_BF") and path.suffix in _IMAGES and not hidden:
                image = self._image(path)
                record = self._record(self.out / (crop + SIDECAR_SUFFIX))
                if image is not None and image[1] and not self._is_of(record, image[0]):
                    missing.append(crop)
        return missing

    def holds(self, below: str = "") -> bool:
        """Whether every crop has its sidecar and no temporary file is left."""
        return not self.missing(below) and not self.leftovers(below)

    def leftovers(self, below: str = "") -> list[Path]:
        """Temporary files that remained."""
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
        """Hash of an image and whether it is readable; None where it is gone."""
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
            self._check(path, known[1])
        return known[1]

    def _check(self, path: Path, record: dict[str, Any]) -> None:
        """Check that a new record neither repeats nor contradicts an earlier call."""
        if record["status"] != "classified":
            return
        entries = [*record["history"], {**record, "image_sha256": record["image"]["sha256"]}]
        keys = [_call_key(entry) for entry in entries]
        again = [one for one, other in itertools.pairwise(keys) if one == other]
        assert not again, f"classified twice without a change: {path}"
        for key, entry in zip(keys, entries, strict=True):
            call = entry["call"], round(entry["probability"], 6)
            assert self._calls.setdefault(key, call) == call, f"two different calls: {path}"
        created = self._written.setdefault((path, keys[-1]), record["created"])
        unchanged = created == record["created"] or len(set(keys)) > 1
        assert unchanged, f"written twice without a change: {path}"


def _call_key(entry: dict[str, Any]) -> CallKey:
    return entry["image_sha256"], entry["model"]["sha256"], entry["settings_sha256"]


def _files(folder: Path) -> list[Path]:
    """Regular files, without those in a folder with an image's name, which is never searched."""
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


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """A valid sidecar; None where there is none."""
    try:
        return load(path)
    except FileNotFoundError:
        return None


def torn_versions(path: Path) -> list[bytes]:
    """Contents of a sidecar that a power cut may leave."""
    whole = path.read_bytes()
    json.loads(whole)
    return [b"", b"\0" * len(whole), whole[: len(whole) // 2], whole[:512] + b"\0" * 512, b"[]"]
