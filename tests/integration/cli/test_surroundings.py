"""The surroundings of a process: streams, home folder and environment variables."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from tests.helpers.cli_runner import DEADLINE, call, command, run, until
from tests.helpers.sidecar_files import sidecars

ALL_CLOSED = "<&- >&- 2>&-"

HOSTILE = {
    "COLUMNS": "abc",
    "CUDA_VISIBLE_DEVICES": "abc",
    "JOURNAL_STREAM": "abc",
    "LC_ALL": "xx_YY.nonsense",
    "LINES": "0",
    "NOTIFY_SOCKET": "@" + "x" * 300,
    "NPY_DISABLE_CPU_FEATURES": "nonsense",
    "NUMPY_MADVISE_HUGEPAGE": "abc",
    "OMP_NUM_THREADS": "abc",
    "OPENBLAS_NUM_THREADS": "abc",
    "OPENCV_ENABLE_MEMALIGN": "abc",
    "OPENCV_FOR_THREADS_NUM": "abc",
    "OPENCV_IO_MAX_IMAGE_PIXELS": "abc",
    "OPENCV_IO_MAX_IMAGE_WIDTH": "1",
    "ORT_LOAD_CONFIG_FROM_MODEL": "abc",
    "PYTHONSAFEPATH": "1",
    "PYTHONWARNDEFAULTENCODING": "1",
    "PYTHONWARNINGS": "error",
    "TERM": "nonsense",
    "TMPDIR": "/nonexistent",
    "TZ": "Nonsense/Zone",
    "WATCHDOG_USEC": "abc",
    "XDG_STATE_HOME": "relative",
    "_PYTHON__M_CTCEDGE_COMPLETE": "nonsense",
    "_PYTHON_M_CTCEDGE_COMPLETE": "nonsense",
}


def shell(redirection: str, *words: object) -> subprocess.Popen[bytes]:
    """Start a command as a shell does, with redirected streams."""
    line = f"exec {shlex.join(command(*words))} {redirection}"
    return subprocess.Popen(["/bin/bash", "-c", line], stderr=subprocess.PIPE)


def code_of(redirection: str, *words: object) -> tuple[int, str]:
    process = shell(redirection, *words)
    _, errors = process.communicate(timeout=DEADLINE)
    return process.returncode, errors.decode()


@pytest.mark.parametrize("redirection", [ALL_CLOSED, ">&-", "2>&-", "<&-", "2</dev/null"])
def test_classify_with_closed_streams(
    crops: Path, model_folder: Path, tmp_path: Path, redirection: str
) -> None:
    words = "classify", crops, "--model", model_folder, "--out", tmp_path / "out", "--report"
    code, _ = code_of(redirection, *words)
    assert code == 0
    assert len(sidecars(tmp_path / "out")) == 4
    report = (tmp_path / "out" / "ctcedge-report.html").read_text(encoding="utf-8")
    assert "Model disks" not in report[:200]  # nothing that was printed is in a file
    assert report.startswith("<!")
    for path in sidecars(tmp_path / "out").values():
        assert isinstance(path, dict)


def test_other_commands_with_closed_streams(called: Path, tmp_path: Path) -> None:
    page, table = tmp_path / "r.html", tmp_path / "t.csv"
    for words in (
        ("report", called, "--out", page),
        ("export", called, "--out", table),
        ("status", called),
        ("controls", "list"),
    ):
        assert code_of(ALL_CLOSED, *words)[0] == 0, words
    assert page.read_bytes().startswith(b"<!")
    assert table.read_bytes().count(b"\n") == 5


def test_watch_with_closed_streams(crops: Path, model_folder: Path) -> None:
    process = shell(ALL_CLOSED, "watch", crops, "--model", model_folder)
    try:
        until(lambda: len(sidecars(crops)) == 4)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert process.returncode == 0


def test_a_summary_that_finds_no_room_is_a_warning(crops: Path, model_folder: Path) -> None:
    words = "classify", crops, "--model", model_folder, "--report"
    code, errors = code_of(">/dev/full", *words)
    assert code == 0
    assert "Standard output cannot be written (No space left on device)" in errors
    assert (crops / "ctcedge-report.html").is_file()


def test_a_status_that_finds_no_room_is_an_error(called: Path) -> None:
    code, errors = code_of(">/dev/full", "status", called)
    assert code == 2
    assert "standard output cannot be written: No space left on device" in errors
    assert "internal error" not in errors


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_that_has_enough_changes_nothing(called: Path, options: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        done = subprocess.run(
            command("status", called, *options), stdout=pipe, stderr=-1, text=True, timeout=DEADLINE
        )
    assert done.returncode == 0
    assert done.stderr == ("" if options else f"Next:\n  ctcedge report {called}\n")


def test_hostile_environment_variables(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    words = "classify", crops, "--model", model_folder, "--provider", "cpu", "--um-per-px", "0.5"
    ordinary = json.loads(run(*words, "--out", tmp_path / "a", "--json").stdout)
    hostile = json.loads(run(*words, "--out", tmp_path / "b", "--json", env=HOSTILE).stdout)
    assert hostile["calls"] == ordinary["calls"]
    assert set(sidecars(tmp_path / "a")) == set(sidecars(tmp_path / "b"))


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account without home folder and without entry in the list of accounts."""

    def none(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    for name in ("CTCEDGE_STATE", "HOME", "XDG_STATE_HOME", "CACHE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(pwd, "getpwuid", none)
    monkeypatch.setattr("ctcedge.fs.paths.MACHINE_FOLDER", Path("/nonexistent"))


@pytest.mark.usefixtures("homeless")
def test_without_a_home_folder(
    crops: Path, model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    call("classify", crops, "--model", model_folder, "--out", out, "--report")
    assert len(sidecars(out)) == 4
    assert "no home folder" in caplog.text
    call("report", crops, "--sidecars", out, "--out", tmp_path / "r.html")
    call("status", crops, "--out", out)
    call("controls", "list")
    assert json.loads(call("controls", "list", "--json").stdout)["file"] is None
    error = call("controls", "add", crops, "--sidecars", out, code=2).stderr
    assert "set CTCEDGE_STATE" in error


@pytest.mark.parametrize("place", ["file", "file/below", "x" * 5000])
def test_a_state_folder_that_cannot_be_written(
    crops: Path,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    place: str,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CTCEDGE_STATE", str(tmp_path / place))
    call("classify", crops, "--model", model_folder)
    assert len(sidecars(crops)) == 4
    assert "the index of done crops cannot be used" in caplog.text
    call("controls", "list")
    call("controls", "add", crops, code=2)


def test_a_working_directory_that_is_gone(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    line = f"mkdir {gone}; cd {gone}; rmdir {gone}; exec " + shlex.join(
        command("classify", crops, "--model", model_folder)
    )
    # As where ctcedge is installed: Python itself would look for modules in that directory.
    done = subprocess.run(
        ["/bin/bash", "-c", line],
        stderr=-1,
        timeout=DEADLINE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.returncode == 0, done.stderr
    assert len(sidecars(crops)) == 4
