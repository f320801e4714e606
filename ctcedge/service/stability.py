"""Tracks arriving files until they are complete: closed after writing, or unchanged for a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ctcedge.fs.files import Signature


@dataclass(frozen=True, slots=True, order=True)
class StableFile:
    """A file that is complete.

    Attributes:
        path: path of the file.
        signature: its signature when it was taken.
        since: time at which it became due, on the caller's clock.
    """

    path: str
    signature: Signature
    since: float


@dataclass(slots=True)
class _Pending:
    signature: Signature | None
    due: float


class FileStabilityTracker:
    """Paths of files that arrived and are not complete yet.

    Args:
        stability_delay: seconds without a change after which a file counts as complete.
        get_signature: returns the signature of a path, or None when the file is gone.
    """

    def __init__(
        self, stability_delay: float, get_signature: Callable[[str], Signature | None]
    ) -> None:
        self._stability_delay = stability_delay
        self._get_signature = get_signature
        self._pending: dict[str, _Pending] = {}

    @property
    def pending_count(self) -> int:
        """Number of tracked files."""
        return len(self._pending)

    def is_tracked(self, path: str) -> bool:
        """Whether a file is tracked."""
        return path in self._pending

    def track(self, path: str, now: float) -> None:
        """Track a file that appeared or was written to, until it no longer changes."""
        signature = self._get_signature(path)
        pending = self._pending.get(path)
        if pending is None or pending.signature != signature:
            self._pending[path] = _Pending(signature, now + self._stability_delay)

    def complete(self, path: str, now: float) -> None:
        """Mark a file as complete: it was closed after writing, or renamed into place."""
        self._pending[path] = _Pending(self._get_signature(path), now)

    def retry(self, path: str, at: float) -> None:
        """Return a file again at this time, or later if it changes meanwhile."""
        self._pending[path] = _Pending(self._get_signature(path), at)

    def take_stable_files(self, now: float, max_files: int) -> list[StableFile]:
        """Remove and return the complete files, sorted by path.

        Args:
            now: time on the caller's clock.
            max_files: maximum number of files; those tracked first are returned first.
        """
        stable: list[StableFile] = []
        due = [(path, pending) for path, pending in self._pending.items() if pending.due <= now]
        for path, pending in due:
            if len(stable) == max_files:
                break
            signature = self._get_signature(path)
            if signature is None:
                del self._pending[path]
            elif signature != pending.signature:
                self._pending[path] = _Pending(signature, now + self._stability_delay)
            else:
                del self._pending[path]
                stable.append(StableFile(path, signature, pending.due))
        return sorted(stable)

    def next_due(self) -> float | None:
        """Time at which the next file may be complete; None when none is tracked."""
        return min((pending.due for pending in self._pending.values()), default=None)
