"""Reports with pseudonyms."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from ctcedge.errors import OutputError
from ctcedge.fs.unfinished import UnfinishedFile
from ctcedge.report.pseudonyms import KEY_NAME, load_key
from tests.helpers import report_data


def test_pseudonyms_stay_the_same_and_hide_every_name(run: Path, tmp_path: Path) -> None:
    review = {
        "call": "CTC",
        "reviewer": "Ada Lovelace",
        "time": "2026-11-24T01:00:00.000Z",
        "from": "CTC",
        "note": "patient Miller",
        "image_sha256": hashlib.sha256((run / "S1/00001_BF.png").read_bytes()).hexdigest(),
        "channels": ["BF"],
        "blinded": True,
        "weight": None,
        "history": [],
    }
    report_data.add(run, "S1", "00001", 0.97, review=review)
    plain = report_data.data_of(report_data.write(run))
    page = report_data.write(run, pseudonymise=True)
    data, text = report_data.data_of(page), page.read_text(encoding="utf-8")
    assert page.name == "ctcedge-pseudonymised-report.html"
    assert data["pseudonymised"] is True
    assert data["cells"]["sha256"] == plain["cells"]["sha256"]
    carried = json.dumps(data)
    for secret in ("S1", "00001", "Ada", "Miller", "run/", str(tmp_path), plain["run_id"]):
        assert secret not in carried
    assert "<title>ctcedge: run-" in text
    assert len(set(data["cells"]["path"])) == len(data["cells"]["path"])
    assert len(data["samples"]) == 2
    assert (
        report_data.data_of(report_data.write(run, pseudonymise=True))["samples"] == data["samples"]
    )
    key = run / KEY_NAME
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_bytes().hex() not in text
    key.unlink()
    assert (
        report_data.data_of(report_data.write(run, pseudonymise=True))["samples"] != data["samples"]
    )


def test_a_wrong_key_is_refused(run: Path) -> None:
    (run / KEY_NAME).write_bytes(b"short")
    with pytest.raises(OutputError, match="not a key of 32 bytes"):
        report_data.write(run, pseudonymise=True)


def test_an_empty_key_that_a_full_disk_left_is_named_with_its_cure(run: Path) -> None:
    (run / KEY_NAME).touch(0o600)
    with pytest.raises(OutputError, match=r"is empty, as a full disk .* remove it for a new one"):
        report_data.write(run, pseudonymise=True)


@pytest.mark.parametrize("step", ["write", "sync", "name"])
def test_a_key_is_written_whole_or_not_at_all(
    run: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = set(run.iterdir())
    with monkeypatch.context() as patch:
        if step == "sync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(UnfinishedFile, {"write": "write", "name": "create"}[step], full)
        with pytest.raises(OutputError, match=r"No space left on device.*make room"):
            load_key(run)
    assert set(run.iterdir()) == before
    assert load_key(run) == load_key(run) == (run / KEY_NAME).read_bytes()


def test_two_processes_that_create_the_key_use_the_same(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = UnfinishedFile.create

    def raced(file: UnfinishedFile, name: str) -> None:
        monkeypatch.setattr(UnfinishedFile, "create", create)
        load_key(run)
        create(file, name)

    monkeypatch.setattr(UnfinishedFile, "create", raced)
    assert load_key(run) == (run / KEY_NAME).read_bytes()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
def test_a_key_that_is_open_to_others_is_refused(run: Path, mode: int) -> None:
    load_key(run)
    (run / KEY_NAME).chmod(mode)
    with pytest.raises(OutputError, match=rf"mode {mode:03o}.*remove it .* chmod 600"):
        load_key(run)


def test_a_key_of_another_account_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_key(run)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(OutputError, match=rf"another account \(user id {owner}\).*remove it"):
        load_key(run)


@pytest.mark.parametrize("what", ["link", "dangling link", "folder", "FIFO"])
def test_what_is_no_key_is_refused(run: Path, tmp_path: Path, what: str) -> None:
    path = run / KEY_NAME
    if what == "folder":
        path.mkdir()
    elif what == "FIFO":
        os.mkfifo(path)
    else:
        target = tmp_path / "elsewhere"
        if what == "link":
            target.write_bytes(b"k" * 32)
        path.symlink_to(target)
    with pytest.raises(OutputError, match="remove it for a new key"):
        load_key(run)
    assert (tmp_path / "elsewhere").exists() == (what == "link")


def test_where_no_permissions_are_kept_the_key_is_in_the_state_folder(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    monkeypatch.setenv("CTCEDGE_STATE", str(state))
    fstat, mounts = os.fstat, [run]

    def without_permissions(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        if not os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(mounts[0])):
            return status
        return os.stat_result((stat.S_IFREG | 0o755, *status[1:]))

    monkeypatch.setattr(os, "fstat", without_permissions)
    key = load_key(run)
    assert key == load_key(run)
    assert not (run / KEY_NAME).exists()
    (stored,) = (state / "pseudonym-keys").iterdir()
    assert stored.read_bytes() == key
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert stat.S_IMODE(stored.parent.stat().st_mode) == 0o700
    mounts[0] = tmp_path
    with pytest.raises(OutputError, match=r"keeps no permissions.*CTCEDGE_STATE"):
        load_key(run / "S1")
