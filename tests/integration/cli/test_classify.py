"""`ctcedge classify`: sidecars, summary and exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli_runner import call, process, run
from tests.helpers.drawn_cells import cell, save
from tests.helpers.sidecar_files import load, sidecar, sidecars, state, stray
from tests.integration.cli import MODEL_CALLS


def test_classify_writes_sidecars_and_the_second_run_does_nothing(
    crops: Path, model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    before = state(crops)
    first = run("classify", crops, "--out", out, "--model", model_folder)
    assert set(sidecars(out)) == {
        "S1/00001_BF.png",
        "S1/00002_BF.png",
        "S1/00003_BF.png",
        "S2/Cell_00034_Brightfield.tif",
    }
    assert {r["cell"] for r in sidecars(out).values()} == {"00001", "00002", "00003", "00034"}
    assert {r["sample"] for r in sidecars(out).values()} == {"S1", "S2"}
    assert len([path for path in out.rglob("*") if path.is_file()]) == 4
    assert state(crops) == before
    assert "Nothing to do" not in first.stdout
    for word in ("Demonstration model", "um/px not given", "disks 1.0.0 (int8) on CPU"):
        assert word in first.stderr

    written = state(out)
    second = run("classify", crops, "--out", out, "--model", model_folder, "--batch-size", 1)
    assert "Nothing to do" in second.stdout
    assert state(out) == written

    forced = run("classify", crops, "--out", out, "--model", model_folder, "--force", "--json")
    assert json.loads(forced.stdout)["written"] == 4
    assert [len(record["history"]) for record in sidecars(out).values()] == [1] * 4


def test_classify_beside_the_images(crops: Path, model_folder: Path) -> None:
    call("classify", crops, "--model", model_folder, "--provider", "cpu")
    assert len(sidecars(crops)) == 4
    assert sidecar(crops / "S1" / "00001_BF.png").exists()


def test_json_is_all_of_standard_output(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    save(crops / "S1" / "00009_BF.png", cell()).write_bytes(b"broken")
    done = run(
        "classify", crops, "--out", tmp_path / "o", "--model", model_folder, "--json", code=3
    )
    summary = json.loads(done.stdout)
    assert summary["finished"] is True
    assert summary["calls"] == MODEL_CALLS
    assert (summary["crops"], summary["written"], summary["current"]) == (5, 5, 0)
    assert summary["provider"] == "cpu"
    assert summary["um_per_px_assumed"] is True
    ((path, error),) = [each.values() for each in summary["unclassified"]]
    assert path == "S1/00009_BF.png"
    assert error.startswith("unreadable: ")


def test_an_unclassified_crop_is_listed_with_exit_3_each_time(
    crops: Path, model_folder: Path
) -> None:
    (crops / "S1" / "00009_BF.png").write_bytes(b"")
    for again in (False, True):
        done = run("classify", crops, "--model", model_folder, code=3)
        assert "1 unclassified" in done.stderr
        assert "S1/00009_BF.png: unreadable: empty file" in done.stderr
        assert ("Nothing to do" in done.stdout) == again
    assert len(sidecars(crops)) == 5


def test_a_forbidden_image_is_told_of(crops: Path, model_folder: Path) -> None:
    path = crops / "S1" / "00001_BF.png"
    path.chmod(0)
    under: tuple[str, ...] = ()
    if os.access(path, os.R_OK):
        if not shutil.which("setpriv"):
            pytest.skip("this user reads whatever it likes, and setpriv is missing")
        caps = "-dac_override,-dac_read_search"
        under = ("setpriv", "--bounding-set", caps, "--inh-caps", caps)
    try:
        done = run("classify", crops, "--model", model_folder, code=3, under=under)
        assert "00001_BF.png: unreadable: cannot be read: Permission denied" in done.stderr
    finally:
        path.chmod(0o600)
    record = sidecars(crops)["S1/00001_BF.png"]
    assert (record["status"], record["image"]["sha256"]) == ("unreadable", None)
    run("classify", crops, "--model", model_folder)


def test_a_fifo_does_not_block_and_odd_entries_get_no_sidecar(
    crops: Path, model_folder: Path
) -> None:
    os.mkfifo(crops / "S1" / "1_BF.png")
    (crops / "S1" / "2_BF.png").symlink_to(crops / "S1" / "00001_BF.png")
    (crops / "3_BF.png").mkdir()
    call("classify", crops, "--model", model_folder)
    assert len(sidecars(crops)) == 4


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_an_interrupted_run_keeps_what_it_did_and_goes_on_later(
    model_folder: Path, tmp_path: Path, signum: int, code: int
) -> None:
    folder, out = tmp_path / "S", tmp_path / "out"
    for number in range(300):
        save(folder / f"{number:03}_BF.png", cell())
    words = ("classify", folder, "--out", out, "--model", model_folder, "--batch-size", 2)
    with process(*words, "--json", log=tmp_path / "log", slowly=True) as running:
        running.until(lambda: any(out.glob("*.ctc.json")))
        exit_code, output = running.stop(signum)
    summary: dict[str, Any] = json.loads(output)
    assert (exit_code, summary["finished"]) == (code, False)
    kept = state(out)
    assert len(sidecars(out)) == summary["written"] == len(kept) < 300
    assert stray(out) == []
    run(*words)
    assert len(sidecars(out)) == 300
    assert {name: state(out)[name] for name in kept} == kept


@pytest.mark.parametrize("words", [(), ("--force",), ("--prevalence", 0.01)])
def test_one_sidecar_of_a_newer_ctcedge_does_not_stop_the_others(
    called: Path, model_folder: Path, words: tuple[object, ...]
) -> None:
    path = called / "S1" / "00003_BF.png"
    sidecar(path).write_text('{"schema": "ctcedge/sidecar/9"}')
    command = ("classify", called, "--model", model_folder, "--provider", "cpu")
    done = call(*command, "--um-per-px", 0.5, *words, code=3)
    assert "S1/00003_BF.png" in done.stdout + done.stderr
    assert "newer ctcedge" in done.stdout + done.stderr
    others = [load(other) for other in called.rglob("*.ctc.json") if other != sidecar(path)]
    assert len(others) == 3
    assert {other["prior"] for other in others} == {0.01 if "--prevalence" in words else 0.5}
