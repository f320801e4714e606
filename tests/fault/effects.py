"""Which faults each kind of call can have."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from tests.fault.calls import KILL, SHORT, Call, Fault


def faults(counts: dict[Call, int]) -> Iterator[Fault]:
    """Every fault of a command that makes so many calls of each kind."""
    for call, count in counts.items():
        for effect, sticky in EFFECTS[call]:
            for number in range(1, count + 1):
                yield Fault(call, number, effect, sticky)


def _effects(*names: str, sticky: tuple[str, ...] = ()) -> list[tuple[int, bool]]:
    numbers = {"KILL": KILL, "SHORT": SHORT}
    return [
        *((numbers.get(name) or getattr(errno, name), False) for name in names),
        *((getattr(errno, name), True) for name in sticky),
    ]


EFFECTS = {
    Call.OPEN: _effects("EIO", "ESTALE", "EMFILE", "EINTR", "KILL", sticky=("EIO",)),
    Call.CREATE: _effects("EIO", "ENOSPC", "EDQUOT", "ESTALE", "KILL", sticky=("ENOSPC",)),
    Call.READ: _effects("EIO", "ESTALE", "EINTR", "SHORT", "KILL", sticky=("EIO",)),
    Call.WRITE: _effects("EIO", "ENOSPC", "EDQUOT", "EINTR", "SHORT", "KILL", sticky=("ENOSPC",)),
    Call.RENAME: _effects("EIO", "ENOSPC", "EDQUOT", "ESTALE", "KILL", sticky=("EIO",)),
    Call.LINK: _effects("EIO", "EPERM", "ENOSPC", "KILL", sticky=("EPERM",)),
    Call.UNLINK: _effects("EIO", "ESTALE", "KILL", sticky=("EIO",)),
    Call.MKDIR: _effects("EIO", "ENOSPC", "EDQUOT", "KILL", sticky=("ENOSPC",)),
    Call.FSYNC: _effects("EIO", "ENOSPC", "KILL", sticky=("EIO",)),
    Call.STAT: _effects("EIO", "ESTALE", "KILL", sticky=("EIO",)),
    Call.CLOSE: _effects("EIO", "ENOSPC", "EINTR", "KILL"),
    Call.LIST: _effects("EIO", "ESTALE", "KILL", sticky=("EIO",)),
    Call.LOCK: _effects("ENOLCK", "EIO", "EINTR", "KILL", sticky=("ENOLCK",)),
    Call.ATTRIBUTE: _effects("EPERM", "EIO", "KILL", sticky=("EPERM",)),
}
