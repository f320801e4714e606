"""Hash chain over history and reviews of a sidecar, so that removed or edited entries show.

Each entry is hashed together with the hash of the entry before it; the sidecar keeps the last hash
of either list, and a hash of everything else in it. `ctcedge verify` computes them again. A writer
continues the chain that it finds: what was edited before still shows after the next call or review.

The chain needs no key, so that anybody who can edit a sidecar can also compute a new chain, or
remove it. It finds what was edited by hand or lost, not a forger.

The hashes are of msgspec's JSON. A key that is added to a record in `ctcedge.sidecars.schema` would
change the hashes of what earlier versions wrote: leave it out here while it has its default.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import UNSET

from ctcedge.sidecars.schema import ChainRecord, HistoryEntry, ReviewEntry, Sidecar

_encode = msgspec.json.Encoder().encode
_replace = msgspec.structs.replace


def chained(sidecar: Sidecar, previous: Sidecar | None) -> Sidecar:
    """Return a sidecar with its chain, which continues that of the sidecar that it replaces.

    Args:
        sidecar: what is to be written.
        previous: the sidecar that is replaced; None where there is none.
    """
    old = UNSET if previous is None else previous.chain
    if previous is None or old is UNSET:
        chain = ChainRecord(
            record=_record_hash(sidecar),
            history=_last_hash(sidecar.history),
            reviews=_last_hash(sidecar.reviews),
        )
        return _replace(sidecar, chain=chain)
    record, previous_record = _record_hash(sidecar), _record_hash(previous)
    if record == previous_record:
        record = old.record
    history = old.history
    if sidecar.history != previous.history:
        count = len(previous.history)
        continues = sidecar.history[:count] == previous.history
        if continues and previous_record == old.record:
            history = _last_hash(sidecar.history[count:], history)
        else:
            history = _broken(history, sidecar.history)
    reviews = old.reviews
    if sidecar.review != previous.review:
        if old.reviews == _last_hash(previous.reviews):
            reviews = _last_hash(sidecar.reviews)
        else:
            reviews = _broken(old.reviews, sidecar.reviews)
    return _replace(sidecar, chain=ChainRecord(record=record, history=history, reviews=reviews))


def chained_to_salvaged(sidecar: Sidecar, old: ChainRecord | None) -> Sidecar:
    """Return a sidecar with its chain, where it replaces a damaged file.

    Args:
        sidecar: what is to be written, with the reviews and calls of the damaged file.
        old: the chain in that file; None where there is none.
    """
    sidecar = chained(sidecar, None)
    if old is None or sidecar.chain is UNSET:
        return sidecar
    history, reviews = sidecar.chain.history, sidecar.chain.reviews
    # The last entry is the call of the damaged file, where that can be read.
    if old.history not in (history, _last_hash(sidecar.history[:-1])):
        history = _broken(old.history, sidecar.history)
    if old.reviews != reviews:
        reviews = _broken(old.reviews, sidecar.reviews)
    chain = ChainRecord(record=sidecar.chain.record, history=history, reviews=reviews)
    return _replace(sidecar, chain=chain)


def alterations(sidecar: Sidecar) -> list[str]:
    """Return what does not fit the chain of a sidecar; nothing where it has none."""
    chain = sidecar.chain
    if chain is UNSET:
        return []
    found = []
    if chain.record != _record_hash(sidecar):
        found.append("its call or other values were changed after it was written")
    if chain.history != _last_hash(sidecar.history):
        found.append(_lost("earlier calls", sidecar.history, chain.history))
    if chain.reviews != _last_hash(sidecar.reviews):
        found.append(_lost("reviews", sidecar.reviews, chain.reviews))
    return found


def _lost(what: str, entries: Sequence[object], last_hash: str | None) -> str:
    if not entries:
        return f"its {what} were removed"
    if last_hash is None:
        return f"{what} were added by hand"
    return f"its {what} were changed, or some were removed"


def _record_hash(sidecar: Sidecar) -> str:
    """The hash of all that is neither review nor history."""
    if sidecar.review is not None or sidecar.history or sidecar.chain is not UNSET:
        sidecar = _replace(sidecar, review=None, history=(), chain=UNSET)
    return hashlib.sha256(_bytes(sidecar)).hexdigest()


def _last_hash(
    entries: Iterable[HistoryEntry | ReviewEntry], last_hash: str | None = None
) -> str | None:
    """The hash of the last entry, chained to those before it; `last_hash` of none."""
    for entry in entries:
        last_hash = hashlib.sha256((last_hash or "").encode() + _bytes(entry)).hexdigest()
    return last_hash


def _broken(last_hash: str | None, entries: Iterable[HistoryEntry | ReviewEntry]) -> str:
    """A hash that fits no entries, as those before had been changed."""
    changed = hashlib.sha256(f"changed before: {last_hash}".encode()).hexdigest()
    return str(_last_hash(entries, changed))


def _bytes(record: msgspec.Struct) -> bytes:
    try:
        return _encode(record)
    except UnicodeEncodeError:  # a lone surrogate
        return json.dumps(msgspec.to_builtins(record)).encode()
