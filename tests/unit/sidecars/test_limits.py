"""What is written can be read back, and what is too large to be read is not replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ctcedge.sidecars.parse import MAX_BYTES, MAX_REVIEW_BYTES, MAX_REVIEWS, parse, reviews_fit
from ctcedge.sidecars.schema import ReviewRecord
from ctcedge.sidecars.store import NotWritten, SidecarStore
from tests.helpers.cli_runner import call
from tests.helpers.sidecar_data import REVIEW, record
from tests.helpers.sidecar_files import as_dict, load, sidecar, typed
from tests.unit.sidecars.stored import CALLED, CROP, SECOND, planted, reviewed

FILL = b" " * MAX_BYTES
OVERSIZED: dict[str, bytes] = {
    "spaces": json.dumps(record()).encode() + FILL,
    "a byte-order mark": b"\xef\xbb\xbf\r\n" + json.dumps(record()).encode() + FILL,
    "keys in another order": json.dumps(record(review=REVIEW), sort_keys=True).encode() + FILL,
    "reviews": json.dumps(
        record(review=REVIEW | {"history": [REVIEW | {"note": "x" * 10_000}] * 500})
    ).encode(),
    "another schema": b'{"schema": "ctcedge/sidecar/1",' + FILL,
}


@pytest.mark.parametrize("content", OVERSIZED.values(), ids=OVERSIZED)
def test_an_oversized_sidecar_is_kept_and_named(out: SidecarStore, content: bytes) -> None:
    path = planted(out, content)
    for attempt in (
        lambda: out.read(CROP),
        lambda: out.write(CROP, CALLED),
        lambda: out.amend(CROP, reviewed),
    ):
        with pytest.raises(NotWritten, match=r"larger than 4,194,304 bytes; it is kept"):
            attempt()
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]
    out.check([CROP])  # other crops are classified


def test_an_oversized_file_of_another_kind_is_kept_aside(out: SidecarStore) -> None:
    path = planted(out, b'{"a": "' + b"x" * MAX_BYTES + b'"}')
    assert out.read(CROP) is None
    assert out.write(CROP, CALLED).kept_aside == path.name + ".damaged-1"


@pytest.mark.parametrize("command", ["status", "report", "export", "verify"])
def test_each_command_goes_on_beside_an_oversized_sidecar(
    crops: Path, model_folder: Path, tmp_path: Path, command: str
) -> None:
    words = ("classify", crops, "--model", model_folder, "--provider", "cpu")
    call(*words)
    path = sidecar(crops / "S1" / "00003_BF.png")
    content = path.read_bytes() + FILL
    path.write_bytes(content)
    done = call(*words, "--force", code=3)
    assert "S1/00003_BF.png: sidecar is larger than" in done.stdout + done.stderr
    assert path.read_bytes() == content
    if command == "status":
        done = call("status", crops, "--json", code=3)
        (problem,) = json.loads(done.stdout)["unusable_sidecars"]
        assert problem["path"] == "S1/00003_BF.png"
        assert "S1/00003_BF.png: sidecar is larger" in call("status", crops, code=3).stdout
    elif command == "verify":
        found = json.loads(call("verify", crops, "--model", model_folder, "--json", code=3).stdout)
        assert [problem["path"] for problem in found["unusable"]] == ["S1/00003_BF.png"]
    else:
        out = tmp_path / ("x.html" if command == "report" else "x.csv")
        assert "S1/00003_BF.png" in call(command, crops, "--out", out, code=3).stderr
    assert path.read_bytes() == content


def test_history_that_a_sidecar_cannot_hold_leaves_the_call_as_it_is(out: SidecarStore) -> None:
    (entry,) = as_dict(SECOND)["history"]
    long = entry | {"sample": "x" * 4000}
    path = planted(out, record(history=[long] * 900))
    before = path.read_bytes()
    assert len(before) < MAX_BYTES
    with pytest.raises(NotWritten, match=r"0 reviews and \d+ earlier calls; what is there is kept"):
        for _ in range(200):
            out.write(CROP, typed(record(sample="x" * 4000)))
    kept = path.read_bytes()
    assert len(kept) <= MAX_BYTES
    assert parse(kept) is not None


def _review(count: int, **changes: Any) -> ReviewRecord:
    review = reviewed(CALLED, **changes).review
    assert review is not None
    return ReviewRecord.of((review.latest,) * count)


def test_reviews_of_one_cell_are_bounded_by_number_and_bytes() -> None:
    assert reviews_fit(_review(MAX_REVIEWS))
    assert not reviews_fit(_review(MAX_REVIEWS + 1))
    assert reviews_fit(_review(100, note="x" * 10_000))
    assert not reviews_fit(_review(110, note="x" * 10_000))
    assert reviews_fit(_review(25, note="\udcff" * 6000))
    assert not reviews_fit(_review(30, note="\udcff" * 6000))


def test_as_many_reviews_as_fit_leave_room_for_calls(out: SidecarStore) -> None:
    full = _review(100, note="x" * 10_000)
    assert reviews_fit(full)
    planted(out, record())
    out.amend(CROP, lambda old: reviewed(old, history=_entries(full)))
    for number in range(50):
        out.write(CROP, typed(record(cell=str(number))))
    read = load(out.path(CROP))
    assert [len(read["review"]["history"]), len(read["history"])] == [99, 50]
    assert out.path(CROP).stat().st_size < MAX_REVIEW_BYTES + 200_000


def _entries(review: ReviewRecord) -> list[dict[str, Any]]:
    return [REVIEW | {"note": entry.note, "history": []} for entry in review.history]
