from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ctcedge.discovery.naming import Crop
from ctcedge.sidecars.schema import ReviewRecord, Sidecar
from ctcedge.sidecars.store import SidecarStore
from tests.helpers.cli_runner import classify, process, run
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, REVIEW, cell, save
from tests.helpers.sidecar_files import load, sidecar, typed
from tests.unit.results.review_files import IMAGES, entry, imported

_ROUNDS = 15


@pytest.mark.parametrize("change", ["forced", "another image", "unreadable", "another model"])
def test_reviews_outlive_whatever_is_called_again(
    called: Path, model_folder: Path, model_copy: Any, saved: Callable[..., Path], change: str
) -> None:
    image = called / "S1" / "00002_BF.png"
    imported(saved(entry(called)), called)
    before = load(sidecar(image))
    if change == "forced":
        classify(called, model_folder, "--force")
    elif change == "another image":
        save(image, cell(CTC))
        classify(called, model_folder)
    elif change == "unreadable":
        image.write_bytes(b"")
        classify(called, model_folder, code=3)
    else:
        model_copy.edit(lambda spec: spec.update(version="9"))
        classify(called, model_copy.folder)
    after = load(sidecar(image))
    assert after["created"] != before["created"]
    assert after["review"] == before["review"]


def test_no_review_is_lost_beside_a_classify_that_writes_all_the_time(
    tmp_path: Path, model_folder: Path, saved: Callable[..., Path]
) -> None:
    """Each import races with the rewriting of the very same sidecars."""
    folder = tmp_path / "export" / "S"
    for number in range(6):
        save(folder / f"{number}_BF.png", cell((LEUKOCYTE, REVIEW, CTC)[number % 3]))
    classify(folder, model_folder)
    paths = sorted(path.name for path in folder.glob("*_BF.png"))
    code = (
        "import os, ctcedge\n"
        f"while os.getppid() == {os.getpid()}:\n"
        f"    list(ctcedge.classify_folder({str(folder)!r}, model={str(model_folder)!r},"
        " provider='cpu', um_per_px=0.5, force=True))\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code])
    try:
        for step in range(_ROUNDS):
            entries = [
                entry(folder, path, time=f"2026-01-02T03:{step:02}:00Z", note=str(step))
                for path in paths
            ]
            assert imported(saved(*entries), folder)["applied"] == len(paths)
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()
    for path in paths:
        record = load(sidecar(folder / path))
        notes = [each["note"] for each in (*record["review"]["history"], record["review"])]
        assert notes == [str(step) for step in range(_ROUNDS)]
        assert len(record["history"]) > 3  # it was rewritten meanwhile, and that is kept, too


@pytest.mark.parametrize("first", ["import", "rewrite"])
def test_of_two_who_replace_a_sidecar_the_second_waits_and_sees_what_the_first_wrote(
    called: Path, first: str
) -> None:
    crop = Crop("S1/00002_BF.png", "S1", "00002", "BF")
    path = sidecar(called / crop.path)
    record = load(path)
    block = corrections_block(record)
    entered, released = threading.Event(), threading.Event()

    def pause() -> None:
        if not entered.is_set():
            entered.set()
            assert released.wait(30)

    def review(old: Sidecar) -> Sidecar:
        if first == "import":
            pause()
        return msgspec.structs.replace(old, review=msgspec.convert(block, ReviewRecord))

    def rewrite() -> None:
        def again(old: Sidecar) -> Sidecar:
            pause()
            return msgspec.structs.replace(old, created="2026-01-02T00:00:00Z")

        folder = SidecarStore(called)
        if first == "rewrite":
            folder.amend(crop, again)
        else:
            folder.write(crop, typed(record | {"created": "2026-01-02T00:00:00Z"}))

    threads = [
        threading.Thread(target=lambda: SidecarStore(called).amend(crop, review)),
        threading.Thread(target=rewrite),
    ]
    one, two = threads if first == "import" else threads[::-1]
    one.start()
    assert entered.wait(30)
    two.start()
    two.join(0.3)
    assert two.is_alive()
    released.set()
    for thread in threads:
        thread.join(30)
    after = load(path)
    assert (after["review"], after["created"]) == (block, "2026-01-02T00:00:00Z")


def corrections_block(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "call": "CTC",
        "reviewer": "Ada",
        "time": "2026-01-02T03:04:05Z",
        "from": record["call"],
        "note": "",
        "image_sha256": record["image"]["sha256"],
        "channels": ["BF"],
        "blinded": True,
        "weight": None,
        "history": [],
    }


def test_importing_beside_a_watch(
    crops: Path, model_folder: Path, tmp_path: Path, saved: Callable[..., Path]
) -> None:
    words = (
        "--model",
        model_folder,
        "--provider",
        "cpu",
        "--um-per-px",
        0.5,
        "--rescan-interval",
        0.2,
    )
    with process("watch", crops, *words, log=tmp_path / "log") as watch:
        paths = [sidecar(crops / path) for path in IMAGES]
        watch.until(lambda: all(path.exists() for path in paths), "all called")
        run("review", "import", saved(entry(crops)), crops)
        review = load(paths[1])["review"]
        save(crops / "S1" / "00002_BF.png", cell(CTC))
        watch.until(lambda: load(paths[1])["call"] == "CTC", "called again")
        assert load(paths[1])["review"] == review
        created = load(paths[1])["created"]
        run("review", "import", saved(entry(crops, call="leukocyte", note="second")), crops)
        arrived = save(crops / "S1" / "00009_BF.png", cell(CTC))
        watch.until(lambda: sidecar(arrived).exists(), "a later crop")
        after = load(paths[1])
        assert after["created"] == created  # a review is no reason to call the cell again
        assert (after["review"]["note"], len(after["review"]["history"])) == ("second", 1)
        assert watch.stop()[0] == 0


def test_reviews_that_would_make_a_sidecar_too_large_to_read_are_refused(
    called: Path, saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(saved(entry(called)), called)
    path = sidecar(called / "S1" / "00002_BF.png")
    before = path.read_bytes()
    monkeypatch.setattr("ctcedge.sidecars.store.MAX_BYTES", len(before) + 1000)
    monkeypatch.setattr("ctcedge.sidecars.parse.MAX_BYTES", len(before) + 1000)
    long = saved(entry(called, note="x" * 1500, time="2026-01-03T00:00:00Z"))
    found = imported(long, called, code=3)
    assert "would be larger than" in found["failed"][0]["what"]
    assert path.read_bytes() == before
