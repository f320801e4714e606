"""Images and sidecars for tests of the index."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from ctcedge.discovery.naming import SIDECAR_SUFFIX, Crop, Naming
from ctcedge.discovery.scan import iter_entries
from ctcedge.sidecars.index import DoneIndex, IndexEntry, Lookup, index_key, index_path

KEY = index_key("a" * 64, "b" * 64)
KNOWN = IndexEntry("review", ("near-threshold", "empty"), True, None, (0.5, -1.25, 8.0))


class Place:
    """Images and sidecars; the index reads none of them but recently modified images."""

    def __init__(self, root: Path) -> None:
        self.folder, self.out = root / "in", root / "out"

    def add(self, path: str, content: bytes = b"image") -> Crop:
        for place in (self.folder / path, self.out / (path + SIDECAR_SUFFIX)):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        return Crop(path, "S", path, "BF")

    def many(self, count: int) -> list[Crop]:
        return [self.add(f"P{i % 7}/{i:05}_BF.png", b"%d" % i) for i in range(count)]

    def image(self, crop: Crop) -> Path:
        return self.folder / crop.path

    def sidecar(self, crop: Crop) -> Path:
        return self.out / (crop.path + SIDECAR_SUFFIX)

    def open(self, key: bytes = KEY) -> DoneIndex:
        return DoneIndex(self.folder, self.out, key)

    def file(self) -> Path:
        return index_path(self.folder, self.out)

    def note(self, *crops: Crop, known: IndexEntry = KNOWN, written: bool = False) -> None:
        with self.open() as opened:
            for looked in opened.lookup(crops):
                data = (self.folder / looked.path).read_bytes()
                sha256 = hashlib.sha256(data).hexdigest()
                opened.record(looked, known, sha256=sha256, written=written)

    def known(self, *crops: Crop, key: bytes = KEY) -> list[IndexEntry | None]:
        with self.open(key) as opened:
            return [plain(looked) for looked in opened.lookup(crops)]


def plain(looked: Lookup) -> IndexEntry | None:
    """The entry with features that can be compared."""
    return looked.entry and looked.entry._replace(features=tuple(looked.entry.features))


def recording_program(count: int) -> str:
    """A program that records crops `start` to `stop`, endlessly unless its last word is `once`."""
    return f"""
import sys
from pathlib import Path
from ctcedge.sidecars import index
from ctcedge.discovery.naming import Naming
from ctcedge.discovery.scan import iter_entries
index.TIMESTAMP_GRANULARITY, index.MIN_WRITE, index._WRITE_BATCH = 0.0, 1, {count}
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
crops = list(iter_entries(folder, Naming()))[int(sys.argv[3]):int(sys.argv[4])]
known = index.IndexEntry("review", ("near-threshold", "empty"), True, None, (0.5, -1.25, 8.0))
print("ready", flush=True)
sys.stdin.read(1)
while True:
    with index.DoneIndex(folder, out, bytes.fromhex("{KEY.hex()}")) as opened:
        for looked in opened.lookup(crops):
            opened.record(looked, known, sha256="", written=False)
        print("noted", flush=True)
    if "once" in sys.argv:
        break
"""


def started(place: Place, *words: object, batch: int = 50) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", recording_program(batch), place.folder, place.out, *words]
    return subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def listed(place: Place) -> list[Crop]:
    return [found for found in iter_entries(place.folder, Naming()) if isinstance(found, Crop)]
