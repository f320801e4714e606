"""One file that cells are cut from: its pages, by number and by the channel that each shows."""

from __future__ import annotations

import re

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.discovery.naming import Naming
from ctcedge.errors import BadImage
from ctcedge.images.decode import Decoded, decode_page, decode_png
from ctcedge.images.header import refuse_other_format
from ctcedge.images.pages import NamedPage, named_pages
from ctcedge.images.png import PNG_MAGIC
from ctcedge.images.tiff_directory import is_tiff
from ctcedge.images.types import MAX_FRAME_PIXELS

_MAX_CHANNEL = 60  # characters of a channel's name
_MAX_SHOWN = 8
_MAX_HELD = 2**30  # bytes of decoded pages


class Frame:
    """The bytes of one file.

    Args:
        data: the whole file.
        naming: knows the words for channels.

    Raises:
        BadImage: it is damaged or of a kind that is not read.
    """

    def __init__(self, data: bytes, naming: Naming) -> None:
        self._data = data
        self._naming = naming
        self._pages: list[NamedPage] = []
        self._decoded: dict[int, Decoded] = {}
        if is_tiff(data):
            self._pages = named_pages(data)
        elif not data.startswith(PNG_MAGIC):
            refuse_other_format(data)

    @property
    def has_pages(self) -> bool:
        """Whether it holds several images."""
        return len(self._pages) > 1

    @property
    def names(self) -> list[str]:
        """The channels of its pages, as far as they have names."""
        if not self.has_pages:
            return [BRIGHT_FIELD]
        return [self._channel(page.name) for page in self._pages if page.name]

    def channels(self) -> dict[str, int]:
        """Return the page of each channel that the file names; a single image is bright field.

        Raises:
            BadImage: none is bright field, or two are the same channel.
        """
        if not self.has_pages:
            return {BRIGHT_FIELD: self._pages[0].number if self._pages else 0}
        found: dict[str, int] = {}
        for page in self._pages:
            channel = self._channel(page.name)
            if channel and found.setdefault(channel, page.number) != page.number:
                raise BadImage("unsupported", f"two pages are named as channel {channel}")
        if BRIGHT_FIELD not in found:
            raise BadImage("unsupported", f"{self._named()}: none is named as bright field")
        return found

    def page_of(self, channel: str, page: int | None) -> int:
        """Return the number of a channel's page, from 0.

        Args:
            channel: that is wanted.
            page: counted from 1, where a table gives it.

        Raises:
            BadImage: there is no such page.
        """
        if page is not None:
            if page > max(1, len(self._pages)):
                raise BadImage("unsupported", f"it has no page {page}")
            return page - 1
        if not self.has_pages:
            return self._pages[0].number if self._pages else 0
        for candidate in self._pages:
            if self._channel(candidate.name) == channel:
                return candidate.number
        raise BadImage("unsupported", f"{self._named()}: none is named as {channel}")

    def decoded(self, number: int) -> Decoded:
        """Return the pixels of a page; they are decoded once.

        Raises:
            BadImage: they are damaged.
        """
        if number not in self._decoded:
            held = sum(page.pixels.nbytes for page in self._decoded.values())
            if held > _MAX_HELD:
                self._decoded.clear()
            self._decoded[number] = self._decode(number)
        return self._decoded[number]

    def size(self, number: int) -> tuple[int, int]:
        """Width and height of a page, from its header.

        Raises:
            BadImage: a PNG is damaged.
        """
        for page in self._pages:
            if page.number == number:
                return page.layout.header.width, page.layout.header.height
        height, width = self.decoded(number).pixels.shape
        return width, height

    def shown_page(self, number: int) -> int | None:
        """The number of a page as people count; None of a single image."""
        return number + 1 if self.has_pages else None

    def _decode(self, number: int) -> Decoded:
        if not self._pages:
            return decode_png(self._data, MAX_FRAME_PIXELS)
        for page in self._pages:
            if page.number == number:
                return decode_page(self._data, page.layout)
        raise BadImage("unsupported", f"it has no page {number + 1}")

    def _channel(self, name: str) -> str:
        """The channel of a page's name: the whole of it, or its last part or word."""
        name = name.strip()
        parts = [name, name.rpartition(" - ")[2], *reversed(re.split(r"[\s:;,/()\[\]|]+", name))]
        for part in parts:
            if part and (channel := self._naming.channel_of(part)) is not None:
                return channel
        return (parts[1] or name)[:_MAX_CHANNEL]

    def _named(self) -> str:
        names = [page.name for page in self._pages if page.name]
        shown = ", ".join(f"'{name[:_MAX_CHANNEL]}'" for name in names[:_MAX_SHOWN])
        what = f"its {len(self._pages):,} pages"
        return f"{what} are named {shown}" if names else f"{what} have no names"
