"""What a long-running ctcedge says on standard error: one line an event.

Lines suit where they go: the journal gets a priority and no time, for it keeps its own; a terminal
or a file gets a time; a collector gets JSON. Names of samples and cells could tell who a patient
is, so no line above DEBUG holds one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, TextIO, TypeAlias

from ctcedge.times import rfc3339

LogFormat: TypeAlias = Literal["text", "json"]

_LOGGER = logging.getLogger("ctcedge")
_PRIORITIES = {  # those of syslog, which the journal understands
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}


@contextlib.contextmanager
def to_stderr(log_format: LogFormat) -> Iterator[None]:
    """Send log lines to standard error, also of what ends a thread and of Python's warnings.

    Args:
        log_format: `text` for people and the journal, `json` for collectors.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(log_format, journal=_is_journal()))
    thread_hook, level = threading.excepthook, _LOGGER.level
    threading.excepthook = _tell_of_thread
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _tell_of_warning
            yield
    finally:
        _LOGGER.setLevel(level)
        _LOGGER.removeHandler(handler)
        threading.excepthook = thread_hook


def event(name: str, **fields: object) -> dict[str, object]:
    """What a line in JSON holds beside its message; for the `extra` of a log call.

    Args:
        name: kind of event, the same whatever the message says.
        **fields: counts and facts, by name; no names of samples or cells.
    """
    return {"ctcedge_event": name, "ctcedge_fields": fields}


def crash(error: BaseException) -> None:
    """Log an exception that nobody expected, with where it came from, on one line."""
    text = error.strerror if isinstance(error, OSError) else error  # without the file's name
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{os.path.basename(f.filename)}:{f.lineno} {f.name}" for f in reversed(frames)]
    _LOGGER.critical(
        "internal error: %s: %s (%s)",
        type(error).__name__,
        text,
        " < ".join(places),
        extra=event("crash", exception=type(error).__name__, places=places),
    )


def escape_control_chars(text: str) -> str:
    """The text with control characters and all else that does not print escaped; one line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class _Formatter(logging.Formatter):
    """Makes one line of a log record."""

    def __init__(self, log_format: LogFormat, *, journal: bool) -> None:
        super().__init__()
        self._json = log_format == "json"
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        message = escape_control_chars(record.getMessage())
        time = datetime.fromtimestamp(record.created, UTC)
        if self._json:
            line = _as_json(record, message, time)
        elif self._journal:
            line = message
        else:
            line = f"{time.astimezone().isoformat(timespec='seconds')} {record.levelname} {message}"
        return f"<{_PRIORITIES[record.levelno]}>{line}" if self._journal else line


def _as_json(record: logging.LogRecord, message: str, time: datetime) -> str:
    content = {
        "time": rfc3339(time),
        "level": record.levelname.lower(),
        "event": getattr(record, "ctcedge_event", "note"),
        "message": message,
        **getattr(record, "ctcedge_fields", {}),
    }
    return json.dumps(content)


def _is_journal() -> bool:
    """Whether standard error is the journal's, and not a file or pipe put in its place."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _tell_of_thread(died: threading.ExceptHookArgs) -> None:
    if died.exc_value is not None:
        crash(died.exc_value)


def _tell_of_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Log a warning without its text, which may hold the name of a folder."""
    place = f"{os.path.basename(filename)}:{lineno}"
    extra = event("python-warning", category=category.__name__, place=place)
    _LOGGER.warning("%s at %s", category.__name__, place, extra=extra)
