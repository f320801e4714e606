from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ctcedge.discovery.naming import Crop
from ctcedge.errors import BadImage
from ctcedge.fs.tree import Tree
from ctcedge.images.read import read_file
from tests.helpers.cli_runner import no_disk
from tests.helpers.drawn_cells import CTC, cell, encoded, save
from tests.helpers.image_builder import png, png_chunk, tiff
from tests.helpers.sidecar_files import sidecars
from tests.unit.pipeline.bench import Bench, done

_ANIMATED = png_chunk(b"acTL", struct.pack(">II", 2, 0))

BAD: dict[str, tuple[str, bytes, str, str]] = {
    "empty": (".png", b"", "unreadable", "empty"),
    "truncated PNG": (".png", encoded(cell())[:200], "unreadable", "truncated"),
    "truncated TIFF": (".tif", encoded(cell(), ".tif")[:-30], "unreadable", "truncated"),
    "text": (".png", b"cell,label\n1,CTC\n", "unreadable", "not a PNG or TIFF"),
    "JPEG named PNG": (".png", encoded(cell(), ".jpg"), "unsupported", "JPEG"),
    "vast PNG": (".png", png(60_000, 60_000, rows=b""), "unsupported", "60000 x 60000"),
    "vast TIFF": (".tif", tiff(60_000, 60_000, data=b""), "unsupported", "60000 x 60000"),
    "tiny": (".png", png(4, 4), "unsupported", "too small"),
    "transparent": (".png", png(16, 16, colour=6), "unsupported", "transparent"),
    "1-bit": (".png", png(16, 16, bits=1), "unsupported", "1-bit"),
    "animated": (".png", png(16, 16, before=_ANIMATED), "unsupported", "animated"),
    "palette TIFF": (".tif", tiff(tags={262: (3, 3)}), "unsupported", "colour kind"),
    "float TIFF": (".tif", tiff(bits=32, tags={339: (3, 3)}), "unsupported", "floating"),
    "signed TIFF": (".tif", tiff(tags={339: (3, 2)}), "unsupported", "signed"),
    "1-bit TIFF": (".tif", tiff(bits=1), "unsupported", "1 bits"),
    "pages": (".tif", tiff(next_page=8), "unsupported", "pages"),
    "no colours": (".tif", tiff(tags={262: (0, 0)}), "unsupported", "whether it is grey"),
    "Zstandard": (".tif", tiff(tags={259: (3, 50000)}), "unsupported", "Zstandard"),
    "planes": (".tif", tiff(samples=3, tags={284: (3, 2)}), "unsupported", "planes"),
    "hostile BigTIFF": (
        ".tif",
        b"II+\0" + struct.pack("<HHQ", 8, 0, 2**64 - 1),
        "unreadable",
        "damaged",
    ),
}


@pytest.mark.parametrize(("suffix", "data", "status", "words"), BAD.values(), ids=BAD)
def test_a_bad_image_gets_its_sidecar_and_the_run_goes_on(
    bench: Bench, suffix: str, data: bytes, status: str, words: str
) -> None:
    (bench.folder / f"1_BF{suffix}").write_bytes(data)
    save(bench.folder / "2_BF.png", cell())
    bad, good = bench.run()
    assert bad.record and good.record
    assert good.record.status == "classified"
    record = sidecars(bench.folder)[f"1_BF{suffix}"]
    assert (record["status"], record["call"], record["probability"]) == (status, None, None)
    assert words in record["error"]
    assert record["image"]["bytes"] == len(data)
    assert bad.error == f"{status}: {record['error']}"
    again = bench.run()
    assert done(again) == ["current", "current"]
    assert again[0].error == bad.error


def test_a_file_of_too_many_bytes_is_not_read(bench: Bench) -> None:
    path = bench.folder / "1_BF.png"
    with path.open("wb") as file:
        file.truncate(65 * 1024 * 1024)
    with pytest.raises(BadImage, match="too large"), Tree(bench.folder) as tree:
        read_file(tree, path.name)
    bench.run()
    (record,) = sidecars(bench.folder).values()
    assert (record["status"], record["image"]["sha256"]) == ("unsupported", None)
    assert done(bench.run()) == ["current"]


def test_a_forbidden_image_is_unreadable_until_it_may_be_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(bench.folder / "1_BF.png", cell())
    opened = os.open

    def refuse(place: Any, *arguments: Any, **options: Any) -> int:
        if os.fspath(place) == path.name:
            raise PermissionError(13, "Permission denied")
        return opened(place, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        for expected in ("written", "current"):
            (outcome,) = bench.run()
            assert outcome.done == expected
            (record,) = sidecars(bench.folder).values()
            assert record["status"] == "unreadable"
            assert "Permission denied" in record["error"]
            assert record["image"]["sha256"] is None
    (outcome,) = bench.run()
    assert (outcome.done, outcome.error) == ("written", None)


def test_an_image_that_vanished_gets_no_sidecar(bench: Bench) -> None:
    for number in range(3):
        save(bench.folder / f"{number}_BF.png", cell())
    crops = bench.crops()
    (bench.folder / "1_BF.png").unlink()
    outcomes = bench.run(crops)
    assert done(outcomes) == ["written", "vanished", "written"]
    assert outcomes[1].error is None
    assert set(sidecars(bench.folder)) == {"0_BF.png", "2_BF.png"}


def test_crops_of_a_folder_that_was_lost_meanwhile_did_not_vanish(bench: Bench) -> None:
    for number in range(12):
        save(bench.folder / f"{number:02}_BF.png", cell())

    def lost_after_8() -> Iterator[Crop]:
        for number, crop in enumerate(found):
            if number == 8:  # an unmounted share leaves an empty folder
                bench.folder.rename(bench.folder.parent / "elsewhere")
                bench.folder.mkdir()
            yield crop

    found = bench.crops()
    outcomes = bench.run(lost_after_8())
    assert "vanished" not in done(outcomes)
    assert done(outcomes)[-1] == "not-written"
    assert outcomes[-1].error is not None
    assert "the searched folder was replaced meanwhile" in outcomes[-1].error


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: os.symlink("/dev/zero", path),
        lambda path: os.symlink(__file__, path),
    ],
    ids=["FIFO", "folder", "link to a device", "link to a file"],
)
def test_what_took_the_place_of_an_image_is_not_read(
    bench: Bench, make: Callable[[Path], object]
) -> None:
    path = save(bench.folder / "1_BF.png", cell())
    crops = bench.crops()
    path.unlink()
    make(path)
    assert done(bench.run(crops)) == ["vanished"]
    assert sidecars(bench.folder) == {}


def test_an_image_that_cannot_be_read_now_keeps_its_sidecar(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(bench.folder / "1_BF.png", cell(CTC))
    bench.run()
    before = sidecars(bench.folder)
    save(bench.folder / "2_BF.png", cell(CTC))
    with monkeypatch.context() as failing:
        failing.setattr("ctcedge.pipeline.loader.read_file", no_disk)
        kept, written = bench.run(force=True)
    assert (kept.done, written.done) == ("not-written", "written")
    assert kept.error == "the image cannot be read: Input/output error; its sidecar is kept"
    after = sidecars(bench.folder)
    assert after["1_BF.png"] == before["1_BF.png"]
    assert after["2_BF.png"]["status"] == "unreadable"
    assert done(bench.run()) == ["current", "written"]
    assert sidecars(bench.folder)["2_BF.png"]["call"] == "CTC"
    monkeypatch.setattr("ctcedge.images.read.MAX_BYTES", 10)
    assert done(bench.run(force=True)) == ["written", "written"]
    assert {each["status"] for each in sidecars(bench.folder).values()} == {"unsupported"}
