"""Logging of a long-running ctcedge to standard error, one line per event.

The format depends on the destination: the systemd journal gets a priority and no time, as it adds
its own; a terminal or a file gets a time; a log collector gets JSON. Names of samples and cells may
identify a patient, so no line above DEBUG contains any, except of files that a person has to do
something about.
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
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TextIO, TypeAlias

from ctcedge.times import rfc3339

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

LogFormat: TypeAlias = Literal["text", "json"]

_LOGGER = logging.getLogger("ctcedge")
_PRIORITIES = {  # of syslog, as the journal expects
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}


@contextlib.contextmanager
def to_stderr(
    log_format: LogFormat, stream: SupportsWrite[str] | None = None, without: Collection[str] = ()
) -> Iterator[None]:
    """Log to standard error, including uncaught exceptions of threads and Python's warnings.

    Args:
        log_format: `text` for people and the journal, `json` for log collectors.
        stream: takes the lines in place of standard error, whose terminal it writes to.
        without: kinds of events that are not logged.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(lambda record: getattr(record, "ctcedge_event", None) not in without)
    handler.setFormatter(_Formatter(log_format, journal=_is_journal()))
    thread_hook, level = threading.excepthook, _LOGGER.level
    threading.excepthook = _log_thread_exception
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _log_warning
            yield
    finally:
        _LOGGER.setLevel(level)
        _LOGGER.removeHandler(handler)
        threading.excepthook = thread_hook


def event(name: str, **fields: object) -> dict[str, object]:
    """Return the `extra` argument of a log call: what a JSON line has besides the message.

    Args:
        name: kind of event, independent of the message.
        **fields: counts and other values; no names of samples or cells.
    """
    return {"ctcedge_event": name, "ctcedge_fields": fields}


def crash(error: BaseException) -> None:
    """Log an unexpected exception and its traceback on one line."""
    text = error.strerror if isinstance(error, OSError) else error  # without the file name
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
    """Escape all characters that are not printable; the result is one line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class _Formatter(logging.Formatter):
    """Formats a log record as one line."""

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
    """Return whether standard error goes to the systemd journal, not to a file or pipe."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _log_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        crash(args.exc_value)


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Log a warning without its text, which may contain the name of a folder."""
    place = f"{os.path.basename(filename)}:{lineno}"
    extra = event("python-warning", category=category.__name__, place=place)
    _LOGGER.warning("%s at %s", category.__name__, place, extra=extra)
