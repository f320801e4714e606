"""The error of one path is that of its crops only, in every command."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ctcedge.fs.tree import Tree
from ctcedge.fs.unfinished import UnfinishedFile
from tests.fault.kernel import mounted, without_file_capabilities
from tests.helpers.cli_runner import call, classify, run
from tests.helpers.drawn_cells import cell, save
from tests.helpers.sidecar_files import sidecars

ERRORS = [errno.EIO, errno.EROFS, errno.EDQUOT, errno.ESTALE, errno.EINVAL, errno.EILSEQ]


def refuse_writes(monkeypatch: pytest.MonkeyPatch, folder: str, number: int) -> None:
    """Let no file be created in the folders of this name."""
    write = UnfinishedFile.write

    def refusing(file: UnfinishedFile, data: bytes) -> None:
        if os.readlink(f"/proc/self/fd/{file._directory}").endswith(folder):
            raise OSError(number, os.strerror(number))
        write(file, data)

    monkeypatch.setattr(UnfinishedFile, "write", refusing)


def refuse_reads(monkeypatch: pytest.MonkeyPatch, ending: str, number: int) -> None:
    """Let no file be read whose path ends so."""
    read = Tree.read

    def refusing(tree: Tree, path: str, max_bytes: int) -> bytes:
        if path.endswith(ending):
            raise OSError(number, os.strerror(number))
        return read(tree, path, max_bytes)

    monkeypatch.setattr(Tree, "read", refusing)


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_a_folder_that_cannot_be_written_leaves_its_crops_unclassified_and_named(
    crops: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    out = tmp_path / "out"
    words = ("classify", crops, "--out", out, "--model", model_folder, "--um-per-px", 0.5, "--json")
    with monkeypatch.context() as patch:
        refuse_writes(patch, "/S1", number)
        done = call(*words, code=3)
    summary = json.loads(done.stdout)
    assert (summary["finished"], summary["complete"], summary["written"]) == (True, False, 1)
    assert [entry["path"] for entry in summary["unclassified"]] == [
        f"S1/0000{number}_BF.png" for number in (1, 2, 3)
    ]
    assert os.strerror(number) in summary["unclassified"][0]["error"]
    assert "S1/00002_BF.png" in done.stderr
    assert set(sidecars(out)) == {"S2/Cell_00034_Brightfield.tif"}
    call(*words, code=0)


def test_a_read_only_mount_below_the_output_folder(
    crops: Path, model_folder: Path, tmp_path: Path
) -> None:
    below = tmp_path / "out" / "S1"
    below.mkdir(parents=True)
    with mounted("-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(below)):
        done = call(
            "classify", crops, "--out", tmp_path / "out", "--model", model_folder, "--json", code=3
        )
    summary = json.loads(done.stdout)
    assert (summary["written"], len(summary["unclassified"])) == (1, 3)
    assert "Read-only file system" in done.stderr


def test_a_folder_whose_files_may_be_listed_but_not_opened(
    crops: Path, model_folder: Path, tmp_path: Path
) -> None:
    (crops / "S1").chmod(0o444)
    words = (crops, "--out", tmp_path / "out", "--json")
    under = without_file_capabilities()
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(0o755)
    try:
        done = run("classify", *words, "--model", model_folder, code=3, under=under)
        status = run("status", *words, code=3, under=under)
    finally:
        (crops / "S1").chmod(0o755)
    summary = json.loads(done.stdout)
    assert (summary["crops"], summary["vanished"], summary["written"]) == (4, 0, 4)
    assert len(summary["unclassified"]) == 3
    assert "Permission denied" in summary["unclassified"][0]["error"]
    assert json.loads(status.stdout)["pending"] == 3
    assert "image cannot be read: Permission denied" in json.loads(status.stdout)["pending_reasons"]


@pytest.mark.parametrize(
    "words",
    [["export"], ["report"], ["controls", "add"], ["verify"], ["status"]],
    ids=" ".join,
)
@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL], ids=errno.errorcode.get)
def test_a_sidecar_that_cannot_be_read_is_named_and_the_others_are_used(
    called: Path,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    number: int,
) -> None:
    monkeypatch.setenv("CTCEDGE_STATE", str(called.parent / "state"))
    refuse_reads(monkeypatch, "S1/00002_BF.png.ctc.json", number)
    model = ["--model", model_folder] if words[0] in ("status", "verify") else []
    done = call(*words, called, *model, code=3)
    if words[0] != "status":
        assert "S1/00002_BF.png: sidecar cannot be read" in done.stdout + done.stderr
    if words[0] == "export":
        assert done.stdout.count("classified") == 3


def test_a_review_that_one_folder_refuses_is_named_and_the_others_are_imported(
    called: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = []
    for path, record in sorted(sidecars(called).items()):
        entries.append(
            {
                "path": path,
                "sample": record["sample"],
                "cell": record["cell"],
                "image_sha256": record["image"]["sha256"],
                "model_sha256": record["model"]["sha256"],
                "call": "CTC",
                "from": record["call"],
                "note": "",
                "time": "2026-11-01T10:00:00Z",
                "channels": ["BF"],
                "blinded": True,
                "weight": None,
            }
        )
    file = tmp_path / "corrections.json"
    content = {
        "schema": "ctcedge/corrections/1",
        "report_id": "0" * 64,
        "folder_name": called.name,
        "pseudonymised": False,
        "created": "2026-11-01T10:00:00Z",
        "reviewer": "Ann",
        "draw": {"drawn": 0, "leukocytes": 0},
        "entries": entries,
    }
    file.write_text(json.dumps(content))
    with monkeypatch.context() as patch:
        refuse_writes(patch, "/S1", errno.EROFS)
        done = call("review", "import", file, called, "--json", code=3)
    imported = json.loads(done.stdout)
    assert imported["applied"] == 1
    assert [entry["path"] for entry in imported["failed"]] == [
        f"S1/0000{number}_BF.png" for number in (1, 2, 3)
    ]
    assert json.loads(call("review", "import", file, called, "--json").stdout)["applied"] == 3


def test_a_name_that_the_target_refuses(
    crops: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(crops / "S:3" / "1_BF.png", cell())
    mkdir = os.mkdir

    def refusing(path: Any, *arguments: Any, **options: Any) -> None:
        if ":" in os.fspath(path):
            raise OSError(errno.EINVAL, "Invalid argument")
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(os, "mkdir", refusing)
    classify(crops, model_folder, "--out", tmp_path / "out", code=3)
    assert len(sidecars(tmp_path / "out")) == 4
    assert all(record["status"] == "classified" for record in sidecars(tmp_path / "out").values())


def test_the_error_of_the_root_ends_the_command(
    crops: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: UnfinishedFile, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(UnfinishedFile, "write", full)
    done = call("classify", crops, "--out", tmp_path / "out", "--model", model_folder, code=2)
    assert "No space left on device" in done.stderr
    assert sidecars(tmp_path / "out") == {}
