from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from ctcedge.discovery.naming import Crop, Naming
from ctcedge.errors import NoCropsError, SetupError
from ctcedge.sidecars.scan import ImageNow, ModelSeen, Stored, image_now, need_stored, stored
from tests.helpers.support import call, cell, save, sidecar


@pytest.fixture
def classified(crops: Path, model_folder: Path, tmp_path: Path) -> Path:
    """The folder of the sidecars of `crops`."""
    call("classify", crops, "--out", tmp_path / "out", "--model", model_folder)
    return tmp_path / "out"


def found(folder: Path, out: Path | None) -> list[Stored]:
    return list(stored(folder, out, Naming()))


def test_crops_come_by_name_with_their_sidecars(crops: Path, classified: Path) -> None:
    each = found(crops, classified)
    assert [one.crop.path for one in each] == [
        "S1/00001_BF.png",
        "S1/00002_BF.png",
        "S1/00003_BF.png",
        "S2/Cell_00034_Brightfield.tif",
    ]
    for one in each:
        assert one.record == json.loads(one.path.read_text())
        assert one.path == classified / f"{one.crop.path}.ctc.json"
        assert one.problem is None
    assert list(need_stored(crops, classified, Naming())) == each


def test_what_has_no_sidecar_is_yielded_too(crops: Path, classified: Path) -> None:
    (classified / "S1/00001_BF.png.ctc.json").unlink()
    (classified / "S1/00002_BF.png.ctc.json").write_bytes(b"{")
    path = classified / "S1/00003_BF.png.ctc.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sample": "another"}))
    first, second, third, fourth = found(crops, classified)
    assert (first.record, first.problem) == (second.record, second.problem) == (None, None)
    assert third.record is None
    assert "belongs to sample 'another'" in (third.problem or "")
    assert fourth.record is not None
    assert len(list(need_stored(crops, classified, Naming()))) == 4


def test_a_folder_without_crops_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoCropsError, match="no bright-field crop"):
        list(need_stored(tmp_path, None, Naming()))


def test_a_folder_without_sidecars_is_refused_with_what_to_do(crops: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="run 'ctcedge classify' first, or say with --sidecars"):
        list(need_stored(crops, None, Naming()))
    with pytest.raises(SetupError, match="nowhere"):
        list(need_stored(crops, tmp_path / "nowhere", Naming()))


def test_why_no_sidecar_can_be_used_is_told(crops: Path) -> None:
    for path in crops.rglob("*_BF.png"):
        sidecar(path).write_text('{"schema": "ctcedge/sidecar/99"}')
    with pytest.raises(SetupError, match="newer ctcedge"):
        list(need_stored(crops, None, Naming()))


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="does not exist"):
        list(stored(tmp_path / "gone", None, Naming()))
    file = save(tmp_path / "1_BF.png", cell())
    with pytest.raises(SetupError, match="is a file"):
        list(stored(file, None, Naming()))


def image_at(path: Path) -> ImageNow:
    return image_now(path.parent, Crop(path.name, "S", "1", "BF"))


def test_the_image_that_lies_there_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "1_BF.png"
    assert image_at(path) == ImageNow(None, None, "No such file or directory")
    path.write_bytes(b"abc")
    assert image_at(path) == ImageNow(b"abc", hashlib.sha256(b"abc").hexdigest(), None)
    monkeypatch.setattr("ctcedge.sidecars.scan.MAX_BYTES", 2)
    assert image_at(path) == ImageNow(None, None, "it is larger than 2 bytes")


def test_what_is_no_image_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo_BF.png")
    (tmp_path / "1_BF.png").write_bytes(b"abc")
    (tmp_path / "link_BF.png").symlink_to("1_BF.png")
    for name in ("fifo_BF.png", "link_BF.png"):
        found = image_at(tmp_path / name)
        assert (found.data, found.sha256) == (None, None)
        assert found.problem


def test_a_model_is_named_though_its_sidecar_lacks_words() -> None:
    assert ModelSeen.of({"model": {"name": 7, "sha256": "a"}}) == ("7", "None", "a")
