from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from ctcedge.discovery.naming import Crop, Naming
from ctcedge.errors import NoCropsError, SetupError
from ctcedge.sidecars.scan import (
    CropRecord,
    CurrentImage,
    ModelRef,
    read_current_image,
    require_sidecars,
    scan_sidecars,
)
from tests.helpers.cli_runner import call
from tests.helpers.drawn_cells import cell, save
from tests.helpers.sidecar_data import HASH, record
from tests.helpers.sidecar_files import as_dict, sidecar, typed


@pytest.fixture
def classified(crops: Path, model_folder: Path, tmp_path: Path) -> Path:
    """The folder of the sidecars of `crops`."""
    call("classify", crops, "--out", tmp_path / "out", "--model", model_folder)
    return tmp_path / "out"


def found(folder: Path, out: Path | None) -> list[CropRecord]:
    return list(scan_sidecars(folder, out, Naming()))


def test_crops_come_by_name_with_their_sidecars(crops: Path, classified: Path) -> None:
    each = found(crops, classified)
    assert [one.crop.path for one in each] == [
        "S1/00001_BF.png",
        "S1/00002_BF.png",
        "S1/00003_BF.png",
        "S2/Cell_00034_Brightfield.tif",
    ]
    for one in each:
        assert as_dict(one.record) == json.loads(one.path.read_text())
        assert one.path == classified / f"{one.crop.path}.ctc.json"
        assert one.problem is None
    assert list(require_sidecars(crops, classified, Naming())) == each


def test_what_has_no_sidecar_is_yielded_too(crops: Path, classified: Path) -> None:
    (classified / "S1/00001_BF.png.ctc.json").unlink()
    (classified / "S1/00002_BF.png.ctc.json").write_bytes(b"{")
    path = classified / "S1/00003_BF.png.ctc.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sample": "another"}))
    first, second, third, fourth = found(crops, classified)
    assert (first.record, first.problem, first.damaged) == (None, None, False)
    assert (second.record, second.problem, second.damaged) == (
        None,
        "it is torn, or no sidecar",
        True,
    )
    assert third.record is None
    assert "belongs to sample 'another'" in (third.problem or "")
    assert fourth.record is not None
    assert len(list(require_sidecars(crops, classified, Naming()))) == 4


def test_a_folder_without_crops_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoCropsError, match="no bright-field crop"):
        list(require_sidecars(tmp_path, None, Naming()))


def test_a_folder_without_sidecars_is_refused_with_what_to_do(crops: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SetupError, match="run 'ctcedge classify' first, or give their folder with --sidecars"
    ):
        list(require_sidecars(crops, None, Naming()))
    with pytest.raises(SetupError, match="nowhere"):
        list(require_sidecars(crops, tmp_path / "nowhere", Naming()))


def test_why_no_sidecar_can_be_used_is_told(crops: Path) -> None:
    for path in crops.rglob("*_BF.png"):
        sidecar(path).write_text('{"schema": "ctcedge/sidecar/99"}')
    with pytest.raises(SetupError, match="newer ctcedge"):
        list(require_sidecars(crops, None, Naming()))


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="does not exist"):
        list(scan_sidecars(tmp_path / "gone", None, Naming()))
    file = save(tmp_path / "1_BF.png", cell())
    with pytest.raises(SetupError, match="is a file"):
        list(scan_sidecars(file, None, Naming()))


def image_at(path: Path) -> CurrentImage:
    return read_current_image(path.parent, Crop(path.name, "S", "1", "BF"))


def test_the_image_that_lies_there_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "1_BF.png"
    assert image_at(path) == CurrentImage(None, None, "No such file or directory")
    path.write_bytes(b"abc")
    assert image_at(path) == CurrentImage(b"abc", hashlib.sha256(b"abc").hexdigest(), None)
    monkeypatch.setattr("ctcedge.sidecars.scan.MAX_BYTES", 2)
    assert image_at(path) == CurrentImage(None, None, "it is larger than 2 bytes")


def test_what_is_no_image_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo_BF.png")
    (tmp_path / "1_BF.png").write_bytes(b"abc")
    (tmp_path / "link_BF.png").symlink_to("1_BF.png")
    for name in ("fifo_BF.png", "link_BF.png"):
        found = image_at(tmp_path / name)
        assert (found.data, found.sha256) == (None, None)
        assert found.problem


def test_a_model_is_named_by_its_sidecar() -> None:
    assert ModelRef.of(typed(record())) == ("m", "1", HASH)
