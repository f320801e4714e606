"""How things stand, from disk alone."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pty
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctcedge.discovery.naming import Naming
from ctcedge.results.status import Status, collect_status, is_running
from ctcedge.sidecars.scan import CropScan
from tests.helpers.cli_runner import call, command, process, run
from tests.helpers.drawn_cells import cell, encoded, save
from tests.helpers.sidecar_data import record
from tests.helpers.sidecar_files import sidecar, state, typed

FIRST = "S1/00001_BF.png"
CALLS = {"CTC": 2, "review": 1, "leukocyte": 1}


@pytest.fixture
def classified(crops: Path, model_folder: Path) -> Path:
    call("classify", crops, "--model", model_folder, "--provider", "cpu")
    return crops


def stock(folder: Path, out: Path | None = None) -> Status:
    return collect_status(folder, out, CropScan(folder, Naming()))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a sidecar as a person could, in place."""
    record = json.loads(path.read_bytes())
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")


def test_all_classified(classified: Path) -> None:
    found = stock(classified)
    assert found.tally.calls == CALLS
    assert (found.crops, found.complete, found.warnings()) == (4, True, [])
    assert [model.name for model in found.models] == ["disks"]
    newest = max(json.loads(path.read_bytes())["created"] for path in classified.rglob("*.json"))
    assert found.as_json()["newest_call"] == newest


def test_nothing_is_changed_and_no_file_left(classified: Path) -> None:
    before = state(classified)
    stock(classified)
    assert state(classified) == before


def test_sidecars_elsewhere(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert stock(crops, out).pending == {"no sidecar": 4}
    assert not out.exists()
    call("classify", crops, "--model", model_folder, "--out", out)
    assert stock(crops, out).tally.calls == CALLS
    assert stock(crops).pending == {"no sidecar": 4}


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 400, b'{"schema": "ctcedge/sidecar/1", "sta', b"[]"]
)
def test_a_torn_sidecar_is_pending(classified: Path, content: bytes) -> None:
    sidecar(classified / FIRST).write_bytes(content)
    found = stock(classified)
    assert found.pending == {"damaged sidecar": 1}
    assert (found.crops, found.tally.calls.total()) == (4, 3)


def test_a_newer_ctcedges_sidecar_is_pending(classified: Path) -> None:
    edit(sidecar(classified / FIRST), lambda r: r.update(schema="ctcedge/sidecar/99"))
    ((reason, count),) = stock(classified).pending.items()
    assert "newer ctcedge" in reason
    assert count == 1


@pytest.mark.parametrize("size", ["another size", "the same size"])
def test_an_image_that_changed_is_pending(classified: Path, size: str) -> None:
    image = classified / FIRST
    data = image.read_bytes()
    before = os.stat(image)
    image.write_bytes(data[:-1] + b"x" if size == "the same size" else encoded(cell(side=80)))
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))  # a change may keep the old time
    assert stock(classified).pending == {"image changed since classification": 1}


def test_an_image_only_touched_is_not_pending(classified: Path) -> None:
    for image in classified.rglob("*_B*.*"):
        image.chmod(0o640)
        os.utime(image, (2e9, 2e9))
    assert stock(classified).complete


def test_an_image_that_is_gone_is_not_counted(classified: Path) -> None:
    crops = list(CropScan(classified, Naming()))
    (classified / FIRST).unlink()
    assert collect_status(classified, None, crops).crops == 3


def test_unclassified_crops_are_counted_by_status_and_reason(
    classified: Path, model_folder: Path
) -> None:
    (classified / "S1" / "00008_BF.png").write_bytes(b"")
    (classified / "S1" / "00009_BF.png").write_bytes(b"GIF89a" + bytes(20))
    call("classify", classified, "--model", model_folder, code=3)
    found = stock(classified)
    assert found.unclassified == {"unreadable": 1, "unsupported": 1}
    assert found.reasons["empty file"] == 1
    assert found.reasons.total() == 2
    assert (found.crops, found.complete, found.pending.total()) == (6, False, 0)


def test_reasons_kept_apart_are_limited() -> None:
    found = Status(Path(), Path(), None)
    refused = {"status": "unsupported", "call": None, "probability": None, "score": None}
    for number in range(1000):
        found.add_record(typed(record(**refused, error=f"reason {number}")))
    assert len(found.reasons) == 101
    assert found.reasons["other reasons"] == 900
    assert found.reasons.total() == 1000


def test_several_models_are_warned_of(classified: Path) -> None:
    edit(sidecar(classified / FIRST), lambda r: r["model"].update(version="0.9", sha256="0" * 64))
    found = stock(classified)
    assert [(m.version, n) for m, n in found.models.most_common()] == [("1.0.0", 3), ("0.9", 1)]
    (warning,) = found.warnings()
    assert "2 models" in warning


def test_several_settings_are_warned_of(classified: Path) -> None:
    edit(sidecar(classified / FIRST), lambda r: r.update(settings_sha256="0" * 64))
    (warning,) = stock(classified).warnings()
    assert "2 different settings" in warning


@pytest.mark.parametrize(
    "change",
    [
        {"created": 5},
        {"created": "yesterday"},
        {"created": "0001-01-01T00:00:00+14:00"},
        {"software": "none"},
        {"settings_sha256": ["a"]},
        {"status": ["a"], "call": None, "error": {"a": 1}},
    ],
)
def test_odd_content_of_a_sidecar_is_no_error(classified: Path, change: dict[str, object]) -> None:
    edit(sidecar(classified / FIRST), lambda r: r.update(change))
    found = stock(classified)
    assert found.crops == 4
    assert found.pending == {"damaged sidecar": 1}
    json.dumps(found.as_json())


def test_running_is_told_by_the_lock(tmp_path: Path) -> None:
    assert is_running(tmp_path / "missing") is False
    assert is_running(tmp_path) is False
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert is_running(tmp_path) is True
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        assert is_running(tmp_path) is False, "who only asks is no writer"
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        assert is_running(tmp_path) is False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)
    assert is_running(tmp_path) is False


def test_a_place_that_cannot_be_locked_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert is_running(tmp_path) is None
    (tmp_path / "file").touch()
    assert is_running(tmp_path / "file") is None


def test_status_of_a_running_watch(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["status", crops, "--out", out, "--json"]
    with process("watch", *words[1:4], "--model", model_folder, log=tmp_path / "log") as running:
        running.until(lambda: len(list(out.rglob("*.ctc.json"))) == 4)
        found = json.loads(call(*words).stdout)
        assert (found["running"], found["complete"]) == (True, True)
        assert running.alive()
        running.popen.kill()
        running.popen.wait()
        assert json.loads(call(*words).stdout)["running"] is False


def test_json(classified: Path) -> None:
    found = json.loads(run("status", classified, "--json").stdout)
    sha256, version = found.pop("models")[0].pop("sha256"), found.pop("ctcedge_versions")
    assert len(sha256) == 64
    assert [sample["sample"] for sample in found.pop("samples")] == ["S1", "S2"]
    assert sum(version.values()) == sum(found.pop("settings").values()) == 4
    assert found.pop("newest_call").endswith("Z")
    assert found == {
        "schema": "ctcedge/status/1",
        "folder": str(classified),
        "out": str(classified),
        "running": False,
        "complete": True,
        "crops": 4,
        "calls": CALLS,
        "clusters": {"CTC": 0, "review": 0, "leukocyte": 0},
        "review_reasons": {"near-threshold": 1},
        "unclassified": {},
        "unclassified_reasons": {},
        "unclassified_examples": [],
        "domain_shift": {"samples": {}, "overall": None},
        "patients": [],
        "samples_not_found": [],
        "pending": 0,
        "pending_reasons": {},
        "unusable_sidecars": [],
        "unreadable_folders": [],
        "not_understood": [],
        "warnings": [],
    }


def test_samples_unlike_the_training_data_are_told_of(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    noise = np.random.default_rng(1).integers(0, 256, (100, 64, 64), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        save(folder / "S" / f"{number:03}_BF.png", pixels)
    call("classify", folder, "--provider", "cpu")
    found = json.loads(call("status", folder, "--json").stdout)
    assert found["domain_shift"]["samples"]["S"]["state"] == "shifted"
    assert found["domain_shift"]["overall"] == found["domain_shift"]["samples"]["S"]
    assert "Sample S differs from the model's training images" in call("status", folder).stderr
    for path in folder.rglob("*.ctc.json"):
        edit(path, lambda record: record["model"].update(sha256="f" * 64))
    assert "Domain shift: unknown" in call("status", folder).stdout
    assert "no model" in call("status", folder, "--model", "nothing", code=2).stderr


def test_for_a_person(classified: Path) -> None:
    (classified / "S1" / "00010_BF.png").write_bytes(b"new")
    sidecar(classified / FIRST).write_bytes(b"")
    done = run("status", classified, code=3)
    for text in (
        "Pending: no sidecar: 1",
        "Pending: damaged sidecar: 1",
        "Writer active: no",
        "Model: disks 1.0.0",
    ):
        assert text in done.stdout
    assert "00010" not in done.stdout
    assert done.stderr == f"Next:\n  ctcedge classify {classified}\n"


def test_exit_codes(classified: Path, tmp_path: Path) -> None:
    call("status", classified)
    call("status", classified, "--out", tmp_path / "out", code=3)
    assert "does not exist" in call("status", tmp_path / "missing", code=2).stderr
    assert "is a file" in call("status", classified / FIRST, code=2).stderr
    assert "--pattern" in call("status", classified, "--pattern", "(", code=2).stderr


def test_settings_come_from_flags_and_file(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    pattern = r"(?P<cell>\d+)_DAPI\.png"
    config = tmp_path / "lab.toml"
    config.write_text(f"out = '{tmp_path}/out'\n[images]\npattern = '{pattern}'", encoding="utf-8")
    call("classify", crops, "--config", config, "--model", model_folder, code=3)
    assert "Model: disks" in call("status", crops, "--config", config, code=3).stdout
    call("status", crops, "--pattern", pattern, code=3)


def test_an_empty_folder_is_complete_but_told_of(tmp_path: Path) -> None:
    assert "No bright-field crop" in call("status", tmp_path).stderr


def test_a_model_name_is_shown_harmlessly(classified: Path) -> None:
    edit(sidecar(classified / FIRST), lambda r: r["model"].update(name="[red]\x1b[31m"))
    done = call("status", classified)
    assert "[red]" in done.stdout
    assert "\x1b" not in done.stdout


def test_no_runtime_of_networks_is_loaded(classified: Path) -> None:
    code = (
        "import sys, ctcedge.cli.commands\n"
        f"try: ctcedge.cli.commands.app(['status', {str(classified)!r}])\n"
        "except SystemExit as end: assert not end.code\n"
        "sys.exit('loaded' if 'onnxruntime' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_bar_on_a_terminal(classified: Path) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(command("status", classified, "--json"), stdout=-1, stderr=theirs)
    os.close(theirs)
    with open(ours, "rb", buffering=0) as terminal:
        text = terminal.read(65536)
    assert json.loads(done.stdout)["complete"]
    assert b"Reading sidecars" in text
    assert b"4/4" in text


def test_memory_does_not_grow_with_the_number_of_crops(classified: Path) -> None:
    (crop, *_) = CropScan(classified, Naming())

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            assert collect_status(classified, None, itertools.repeat(crop, count)).crops == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(5000) < peak(100) + 4 * 1024 * 1024  # 5,000 records would take five times that


def test_help_shows_an_example_and_the_exit_code() -> None:
    text = call("status", "--help").stdout
    assert "Example: ctcedge status" in text
    assert "Exit code 3" in text
