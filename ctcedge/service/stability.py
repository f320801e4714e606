"""Tells when a file that arrives is whole: when its writer closed it, or when it stays still."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ctcedge.fs.files import Signature


@dataclass(frozen=True, slots=True, order=True)
class StableFile:
    """A file that is whole.

    Attributes:
        path: of the file.
        signature: as it was when taken.
        since: when it became due, on the clock of the calls.
    """

    path: str
    signature: Signature
    since: float


@dataclass(slots=True)
class _Pending:
    signature: Signature | None
    due: float


class FileStabilityTracker:
    """Paths that have been seen and are not yet taken.

    Args:
        settle: seconds without a change after which a file counts as written.
        look: returns a path's signature, or None when it is gone.
    """

    def __init__(self, settle: float, look: Callable[[str], Signature | None]) -> None:
        self._settle = settle
        self._look = look
        self._pending: dict[str, _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def changed(self, path: str, now: float) -> None:
        """A file appeared or was written to: it is taken once it stays still."""
        signature = self._look(path)
        pending = self._pending.get(path)
        if pending is None or pending.signature != signature:
            self._pending[path] = _Pending(signature, now + self._settle)

    def complete(self, path: str, now: float) -> None:
        """A file was closed after writing or renamed into place: it is taken at once."""
        self._pending[path] = _Pending(self._look(path), now)

    def retry(self, path: str, at: float) -> None:
        """Take a file again at a given time, or later if it changes meanwhile."""
        self._pending[path] = _Pending(self._look(path), at)

    def take_stable_files(self, now: float, most: int) -> list[StableFile]:
        """Remove and return the files that are whole, sorted by path.

        Args:
            now: on the clock of the calls.
            most: files to take; those that came first go first.
        """
        taken: list[StableFile] = []
        due = [(path, pending) for path, pending in self._pending.items() if pending.due <= now]
        for path, pending in due:
            if len(taken) == most:
                break
            signature = self._look(path)
            if signature is None:
                del self._pending[path]
            elif signature != pending.signature:
                self._pending[path] = _Pending(signature, now + self._settle)
            else:
                del self._pending[path]
                taken.append(StableFile(path, signature, pending.due))
        return sorted(taken)

    def next_due(self) -> float | None:
        """When the next file may be whole; None when nothing is pending."""
        return min((pending.due for pending in self._pending.values()), default=None)
