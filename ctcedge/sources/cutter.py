"""Cuts the cells of frames, and of files of many pages, into PNG crops.

The crops are in the folder of `discovery.cut_crops` and are cells as others from there on. Each
source is read once, however many of its cells are missing, and only where it changed since its
crops were cut, or where one of them is missing.

A crop is never deleted: a row that is removed from a table leaves its crop and sidecar.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.cut_crops import CUT_FOLDER, TABLE_MARK, cut_path, is_table_only
from ctcedge.discovery.naming import (
    SIDECAR_SUFFIX,
    Crop,
    Found,
    Naming,
    Skipped,
    folder_name,
)
from ctcedge.errors import BadImage, OutputError, SettingsError
from ctcedge.fs.files import (
    FileTooLargeError,
    Signature,
    atomic_write,
    file_signature,
    is_absence,
    modified_ns,
)
from ctcedge.fs.mounts import sync_file_systems
from ctcedge.fs.tree import Tree
from ctcedge.images.pages import has_pages, is_plain
from ctcedge.images.types import MAX_FRAME_BYTES, MAX_PIXELS, MIN_SIDE
from ctcedge.sources.frame import Frame
from ctcedge.sources.index_table import ANY_CHANNEL, IndexRow, read_index
from ctcedge.sources.origin import Box, Origin, crop_png, origin_of, touch_crop, write_crop

_TIFF = (".tif", ".tiff")
_NEEDS_OUT = "give --out with a folder outside the images, where their crops are written"


class _Piece(NamedTuple):
    """One crop to cut.

    Attributes:
        name: of the cell, for messages.
        sample: of the cell.
        cell: verbatim.
        channel: to cut; `ANY_CHANNEL` for all that the file names.
        page: counted from 1; None to find it by the channel's name.
        box: part of the page; None for all of it.
        um_per_px: edge length of a pixel that a table states, um.
    """

    name: str
    sample: str
    cell: str
    channel: str
    page: int | None = None
    box: Box | None = None
    um_per_px: float | None = None


class Cutter:
    """Cuts the cells of one folder.

    Args:
        folder: the searched folder.
        naming: how names are read; its `crops_root` is where crops are written.
        index: table that names all cells; None for the names of files.
        should_stop: called before each file; where it returns True, no more are cut.

    Attributes:
        problems: why a cell, or a row, was not cut, by its name.
        waiting: files that may still be written, at the last look.
    """

    def __init__(
        self,
        folder: Path,
        naming: Naming,
        index: Path | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.problems: dict[str, str] = {}
        self.waiting: set[str] = set()
        self._unstamped: list[tuple[Path, int]] = []
        self._folder = folder
        self._naming = naming
        self._index = index
        self._min_age = 0.0
        self._should_stop = should_stop
        self._root = _output(folder, naming.crops_root)
        self._plain: dict[str, Signature] = {}
        if index is not None and self._root is None:
            raise SettingsError(f"--index needs an output of its own: {_NEEDS_OUT}")

    @property
    def stopped(self) -> bool:
        """Whether no more files are to be cut."""
        return self._should_stop()

    @property
    def by_table(self) -> bool:
        """Whether an index table names the cells, in this run or an earlier one."""
        return self._index is not None or (self._root is not None and is_table_only(self._root))

    def is_cut(self, path: str) -> bool:
        """Whether crops were cut from a file of many pages, by its path in the folder."""
        cell = self._naming.file_of_pages(path, folder_name(self._folder))
        if cell is None or self._root is None:
            return False
        return self._was_cut([_Piece(path, cell.sample, cell.cell, ANY_CHANNEL)])

    def cut_table(self, *, min_age: float = 0.0) -> int:
        """Cut the cells of the index table that are missing or changed; return their number.

        Args:
            min_age: seconds since its last change after which a file counts as written.

        Raises:
            SetupError: the table cannot be read, or crops cannot be written.
        """
        self.waiting.clear()
        if self._index is None or self._root is None:
            return 0
        self._min_age = min_age
        table = read_index(self._index, self._naming, folder_name(self._folder))
        self.problems = dict(table.problems)
        by_file: dict[str, list[_Piece]] = defaultdict(list)
        for row in table.rows:
            for channel, file in row.files.items():
                by_file[file].append(_piece(row, channel))
        self._mark()
        with Tree(self._folder) as tree:
            written = sum(
                self._cut(tree, file, pieces, by_name=False)
                for file, pieces in sorted(by_file.items())
            )
        self._stamp()
        return written

    def cut_files(
        self, entries: Iterable[Found], *, force: bool = False, min_age: float = 0.0
    ) -> int:
        """Cut the files of many pages among the entries of a folder; return the number of crops.

        Args:
            entries: from the walk of the folder.
            force: also look into files that have a sidecar of their own.
            min_age: seconds since its last change after which a file counts as written.

        Raises:
            OutputError: crops cannot be written.
        """
        if self._root is None or self.by_table:
            return 0
        self._min_age = min_age
        written, name = 0, folder_name(self._folder)
        with Tree(self._folder) as tree:
            for entry in entries:
                if isinstance(entry, Skipped) and entry.kind not in ("unmatched", "cut"):
                    continue
                if isinstance(entry, Crop) and (entry.root or entry.channel != BRIGHT_FIELD):
                    continue
                if isinstance(entry, Crop) and self._is_plain_crop(entry, force=force):
                    continue
                cell = self._naming.file_of_pages(entry.path, name)
                if cell is None or (not force and self._is_done(cell)):
                    continue
                piece = _Piece(cell.path, cell.sample, cell.cell, ANY_CHANNEL)
                written += self._cut(tree, cell.path, [piece], by_name=True)
        self._stamp()
        return written

    def _is_plain_crop(self, crop: Crop, *, force: bool) -> bool:
        """Whether a crop is no TIFF, or one of a single image, at the cost of a few calls."""
        if not crop.path.lower().endswith(_TIFF):
            return True
        done = not force and self._is_done(crop)
        return done or is_plain(f"{self._folder}/{crop.path}")

    def _is_done(self, cell: Crop) -> bool:
        """Whether a file has a sidecar of its own: it was looked into when that was written."""
        try:
            sidecar = os.stat(f"{self._root}/{cell.path}{SIDECAR_SUFFIX}").st_mtime_ns
            return sidecar >= os.lstat(f"{self._folder}/{cell.path}").st_mtime_ns
        except OSError:
            return False

    def _mark(self) -> None:
        """Say beside the crops that a table names all cells."""
        assert self._root is not None
        path = self._root / CUT_FOLDER / TABLE_MARK
        if not path.exists():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                atomic_write(path, b"The cells of this folder are named by an index table.\n")
            except OSError as error:
                raise OutputError(f"{path} cannot be written: {error.strerror}") from None

    def _cut(self, tree: Tree, file: str, pieces: Sequence[_Piece], *, by_name: bool) -> int:
        """Cut what is missing of one file, and return the number of crops.

        Args:
            tree: the searched folder.
            file: path below it.
            pieces: its cells.
            by_name: whether the file was found by its name, and may be a plain image.
        """
        if self._should_stop():
            return 0
        signature = file_signature(f"{self._folder}/{file}")
        if signature:
            if self._plain.get(file) == signature:
                return 0
            if time.time() - modified_ns(signature) / 1e9 < self._min_age:
                self.waiting.add(file)
                return 0
        needed = [piece for piece in pieces if not self._is_fresh(piece, file, signature)]
        if not needed:
            return 0
        try:
            data = tree.read(file, MAX_FRAME_BYTES)
            if by_name and not has_pages(data) and not self._was_cut(pieces):
                self._plain[file] = signature or ()
                return 0
            frame = Frame(data, self._naming)
        except (OSError, BadImage) as error:
            self._refuse(file, needed, error, by_name=by_name)
            return 0
        for piece in needed:
            self.problems.pop(piece.name, None)
        source = _Source(file, frame, hashlib.sha256(data).hexdigest(), len(data), signature)
        return sum(self._cut_piece(piece, source) for piece in needed)

    def _was_cut(self, pieces: Sequence[_Piece]) -> bool:
        return any(self._present(piece)[0] is not None for piece in pieces)

    def _refuse(
        self, file: str, pieces: Sequence[_Piece], error: OSError | BadImage, *, by_name: bool
    ) -> None:
        """Say why nothing was cut; a plain image that is damaged is left to the pipeline."""
        if isinstance(error, FileTooLargeError):
            reason = f"too large: {error.size:,} bytes (at most {MAX_FRAME_BYTES:,})"
        elif isinstance(error, OSError):
            reason = "does not exist" if is_absence(error) else f"cannot be read: {error.strerror}"
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                reason = "is a symbolic link, or below one, and is not followed"
        else:
            reason = str(error)
        for piece in pieces:
            self.problems[piece.name] = reason if by_name else f"{file}: {reason}"

    def _present(self, piece: _Piece) -> tuple[Origin | None, int]:
        """The origin of a crop that was cut before, and its modification time."""
        assert self._root is not None
        try:
            path = cut_path(piece.sample, piece.cell, piece.channel or BRIGHT_FIELD)
        except SettingsError:
            return None, 0
        return origin_of(self._root / path)

    def _is_fresh(self, piece: _Piece, file: str, signature: Signature | None) -> bool:
        """Whether a crop was cut from the file as it is now, at this place."""
        origin, modified = self._present(piece)
        if origin is None or not signature:
            return False
        return (
            (origin.file, origin.asked, origin.um_per_px) == (file, piece.box, piece.um_per_px)
            and piece.page in (None, origin.page or 1)
            and (origin.bytes, modified) == (signature[0], modified_ns(signature))
        )

    def _cut_piece(self, piece: _Piece, source: _Source) -> int:
        """Cut one crop, or all channels of a cell, bright field last."""
        try:
            if piece.channel == ANY_CHANNEL and piece.page is None:
                pages = source.frame.channels()
            else:
                channel = piece.channel or BRIGHT_FIELD
                pages = {channel: source.frame.page_of(channel, piece.page)}
            order = sorted(pages, key=lambda channel: channel == BRIGHT_FIELD)
            return sum(self._write(piece, channel, pages[channel], source) for channel in order)
        except (BadImage, SettingsError) as error:
            self.problems[piece.name] = str(error)
            return 0

    def _write(self, piece: _Piece, channel: str, page: int, source: _Source) -> int:
        assert self._root is not None
        path = self._root / cut_path(piece.sample, piece.cell, channel)
        decoded = source.frame.decoded(page)
        height, width = decoded.pixels.shape
        box = None if piece.box is None else inside(piece.box, width, height)
        origin = Origin(
            file=source.file,
            sha256=source.sha256,
            page=source.frame.shown_page(page),
            box=box,
            asked=piece.box,
            bytes=source.bytes,
            um_per_px=piece.um_per_px,
        )
        modified = modified_ns(source.signature)
        left, top, wide, high = box or (0, 0, width, height)
        if wide * high > MAX_PIXELS:
            raise BadImage(
                "unsupported",
                f"too large for a cell: {wide} x {high} pixels; give positions by --index",
            )
        um_per_px = piece.um_per_px or decoded.header.um_per_px
        pixels = decoded.pixels[top : top + high, left : left + wide]
        written = write_crop(path, crop_png(pixels, origin, um_per_px))
        self._unstamped.append((path, modified))
        return int(written)

    def _stamp(self) -> None:
        """Bring the crops to the disk, and then mark them as cut from their files as they are."""
        assert self._root is not None
        if self._unstamped:
            try:
                sync_file_systems([self._root])
            except OSError as error:
                text = f"{self._root}: crops cannot be brought to the disk: {error.strerror}"
                raise OutputError(text) from None
        for path, modified in self._unstamped:
            touch_crop(path, modified)
        self._unstamped.clear()


class _Source(NamedTuple):
    """A file that was read, and its state before that."""

    file: str
    frame: Frame
    sha256: str
    bytes: int
    signature: Signature | None


def _piece(row: IndexRow, channel: str) -> _Piece:
    name = f"{row.sample} / {row.cell}"
    page = row.page if channel in (ANY_CHANNEL, BRIGHT_FIELD) else None
    return _Piece(name, row.sample, row.cell, channel, page, row.box, row.um_per_px)


def inside(box: Box, width: int, height: int) -> Box:
    """The part of a box that is inside a page.

    Raises:
        BadImage: the middle of the box does not.
    """
    left, top, wide, high = box
    x, y = left + wide / 2, top + high / 2
    right, bottom = min(left + wide, width), min(top + high, height)
    left, top = max(left, 0), max(top, 0)
    too_small = min(right - left, bottom - top) < MIN_SIDE
    if not (0 <= x <= width and 0 <= y <= height) or too_small:
        raise BadImage(
            "unsupported",
            f"its position ({x:g}, {y:g}) is outside its frame of {width} x {height} pixels",
        )
    return left, top, right - left, bottom - top


def _output(folder: Path, root: Path | None) -> Path | None:
    """The folder below which crops are written; None where that would be the images' own."""
    if root is None or root.resolve() == folder.resolve():
        return None
    return root
