from __future__ import annotations

import dataclasses
import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs

from ctcedge.classification.classifier import Classifier
from ctcedge.classification.decision import DecisionRule, probability
from ctcedge.classification.fingerprints import Fingerprint
from ctcedge.classification.ood import OodScore
from ctcedge.discovery.naming import Crop, Naming
from ctcedge.discovery.scan import iter_entries
from ctcedge.errors import BadImage
from ctcedge.images.read import read_file
from ctcedge.model.spec import OperatingPoint, Rate
from ctcedge.pipeline.crash_journal import CrashJournal
from ctcedge.pipeline.outcome import Outcome, TallyKey
from ctcedge.pipeline.pipeline import Pipeline
from ctcedge.quality.checks import Quality
from ctcedge.settings import DecisionSettings, ImageSettings
from ctcedge.sidecars.json_schema import read_schema
from ctcedge.sidecars.schema import ReviewRecord, Sidecar
from ctcedge.sidecars.store import SidecarStore
from tests.helpers.support import (
    CTC,
    DATA,
    LEUKOCYTE,
    REVIEW,
    UM_PER_PX,
    as_dict,
    cell,
    encoded,
    no_disk,
    png,
    png_chunk,
    save,
    sidecar,
    sidecars,
    state,
    stray,
    tiff,
)


def fingerprint(classifier: Classifier, um_per_px: float | None = UM_PER_PX) -> Fingerprint:
    images = ImageSettings(um_per_px=um_per_px)
    return Fingerprint.of(images, classifier.model.spec, classifier.rule)


class Bench:
    """A folder and what classifies it."""

    def __init__(self, folder: Path, classifier: Classifier) -> None:
        self.folder = folder
        self.classifier = classifier

    def crops(self) -> list[Crop]:
        found = [each for each in iter_entries(self.folder, Naming()) if isinstance(each, Crop)]
        return [crop for crop in found if crop.channel == "BF"]

    def run(
        self,
        crops: list[Crop] | None = None,
        *,
        um_per_px: float | None = UM_PER_PX,
        batch_size: int = 4,
        classifier: Classifier | None = None,
        **options: Any,
    ) -> list[Outcome]:
        used = classifier or self.classifier
        pipeline = Pipeline(
            self.folder,
            used,
            SidecarStore(self.folder),
            CrashJournal(self.folder),
            fingerprint(used, um_per_px),
            batch_size,
        )
        return list(pipeline.run(self.crops() if crops is None else crops, **options))


@pytest.fixture
def bench(tmp_path: Path, classifier: Classifier) -> Bench:
    folder = tmp_path / "S"
    folder.mkdir()
    return Bench(folder, classifier)


def done(outcomes: list[Outcome]) -> list[str]:
    return [outcome.done for outcome in outcomes]


@pytest.mark.parametrize(
    ("diameter", "call", "reasons"),
    [
        (LEUKOCYTE, "leukocyte", []),
        (REVIEW, "review", ["near-threshold"]),
        (CTC, "CTC", []),
    ],
)
def test_a_classified_crop(bench: Bench, diameter: int, call: str, reasons: list[str]) -> None:
    pixels = cell(diameter, side=(70, 60), background=2000, contrast=900, dtype=np.uint16)
    path = save(bench.folder / "00034_BF.png", pixels)
    (outcome,) = bench.run()
    (record,) = sidecars(bench.folder).values()
    assert as_dict(outcome.record) == record
    assert (record["status"], record["call"], record["reasons"]) == ("classified", call, reasons)
    assert (record["sample"], record["cell"]) == ("S", "00034")
    assert record["image"] | {"sha256": 0} == {
        "name": "00034_BF.png",
        "sha256": 0,
        "bytes": path.stat().st_size,
        "width": 60,
        "height": 70,
        "bit_depth": 16,
        "um_per_px": UM_PER_PX,
        "um_per_px_assumed": False,
    }
    assert record["model"]["sha256"] == bench.classifier.model.sha256
    assert record["software"]["provider"] == "cpu"
    assert record["history"] == []


def test_an_unknown_um_per_px_is_assumed_and_said(bench: Bench) -> None:
    save(bench.folder / "1_BF.png", cell())
    bench.run(um_per_px=None)
    (record,) = sidecars(bench.folder).values()
    assert record["image"]["um_per_px"] == bench.classifier.model.spec.input.um_per_px
    assert record["image"]["um_per_px_assumed"]


def test_no_true_size_is_judged_where_um_per_px_is_assumed(bench: Bench) -> None:
    """The model's own is assumed for the network, but a cell of few um is then no debris."""
    save(bench.folder / "1_BF.png", cell(LEUKOCYTE))
    own = bench.classifier.model.spec.input.um_per_px
    assert own is not None
    (assumed,) = bench.run(um_per_px=None)
    (told,) = bench.run(um_per_px=own)
    assert assumed.record and told.record
    assert told.done == "written"
    assert assumed.record.score == told.record.score
    assert assumed.record.quality and assumed.record.quality.area_px
    assert told.record.quality and told.record.quality.area_um2


def test_um_per_px_changes_the_size_that_the_network_sees(bench: Bench) -> None:
    save(bench.folder / "1_BF.png", cell(LEUKOCYTE))
    (small,) = bench.run(um_per_px=0.5)
    (large,) = bench.run(um_per_px=1.0)
    assert small.record and large.record
    assert (small.record.call, large.record.call) == ("leukocyte", "CTC")


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
    "white is zero": (".tif", tiff(tags={262: (3, 0)}), "unsupported", "white"),
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
    with pytest.raises(BadImage, match="too large"):
        read_file(path)
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
        if os.fspath(place) == str(path):
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


def test_the_second_run_touches_nothing(bench: Bench) -> None:
    for number in range(9):
        save(bench.folder / f"{number}_BF.png", cell(8 + 3 * number))
    assert set(done(bench.run())) == {"written"}
    before = state(bench.folder)
    assert set(done(bench.run())) == {"current"}
    assert state(bench.folder) == before
    assert stray(bench.folder) == []


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_the_batch_size_neither_changes_a_call_nor_makes_it_stale(
    bench: Bench, batch_size: int
) -> None:
    for number in range(9):
        save(bench.folder / f"{number}_BF.png", cell(8 + 3 * number))
    first = bench.run(batch_size=4)
    assert set(done(bench.run(batch_size=batch_size))) == {"current"}
    again = bench.run(batch_size=batch_size, force=True)
    assert [o.crop for o in again] == [o.crop for o in first]
    for one, two in zip(first, again, strict=True):
        assert one.record and two.record
        assert two.record.probability == pytest.approx(one.record.probability, abs=1e-5)


def test_provider_variant_and_version_do_not_make_stale(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(bench.folder / "1_BF.png", cell())
    bench.run()
    path = bench.folder / "1_BF.png.ctc.json"
    text = path.read_text().replace('"cpu"', '"cuda"').replace('"int8"', '"fp16"')
    path.write_text(text)
    monkeypatch.setattr("ctcedge.pipeline.records.__version__", "99")
    assert done(bench.run()) == ["current"]
    assert path.read_text() == text


def test_a_touched_image_is_current_and_a_changed_one_is_done_again(bench: Bench) -> None:
    path = save(bench.folder / "1_BF.png", cell(CTC))
    bench.run()
    os.utime(path, ns=(0, 0))
    assert done(bench.run()) == ["current"]
    save(path, cell(LEUKOCYTE))
    assert done(bench.run()) == ["written"]
    (record,) = sidecars(bench.folder).values()
    assert record["call"] == "leukocyte"
    (entry,) = record["history"]
    assert entry["call"] == "CTC"
    assert entry["image_sha256"] != record["image"]["sha256"]


def test_a_changed_um_per_px_is_done_again(bench: Bench) -> None:
    save(bench.folder / "1_BF.png", cell())
    bench.run(um_per_px=0.5)
    assert done(bench.run(um_per_px=0.6)) == ["written"]
    assert done(bench.run(um_per_px=0.6)) == ["current"]
    (record,) = sidecars(bench.folder).values()
    assert len(record["history"]) == 1


def test_another_model_is_done_again(bench: Bench, model_copy: Any) -> None:
    save(bench.folder / "1_BF.png", cell())
    bench.run()
    model_copy.edit(lambda spec: spec.update(version="1.0.1"))
    other = Classifier.load(model_copy.folder, "cpu")
    assert done(bench.run(classifier=other)) == ["written"]
    (record,) = sidecars(bench.folder).values()
    assert record["model"]["version"] == "1.0.1"
    assert record["history"][0]["model"]["version"] == "1.0.0"


def test_force_does_again_what_is_current(bench: Bench) -> None:
    save(bench.folder / "1_BF.png", cell())
    bench.run()
    for count in (1, 2):
        assert done(bench.run(force=True)) == ["written"]
        (record,) = sidecars(bench.folder).values()
        assert len(record["history"]) == count


def test_a_call_outlives_a_time_in_which_the_image_was_bad(bench: Bench) -> None:
    path = save(bench.folder / "1_BF.png", cell(CTC))
    bench.run()
    path.write_bytes(b"")
    bench.run()
    save(path, cell(LEUKOCYTE))
    bench.run()
    (record,) = sidecars(bench.folder).values()
    assert (record["call"], [e["call"] for e in record["history"]]) == ("leukocyte", ["CTC"])


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": "other"}'])
def test_a_torn_or_foreign_sidecar_is_replaced(bench: Bench, content: bytes) -> None:
    path = save(bench.folder / "1_BF.png", cell())
    sidecar(path).write_bytes(content)
    assert done(bench.run()) == ["written"]
    assert set(sidecars(bench.folder)) == {"1_BF.png"}


def test_a_folder_at_a_sidecars_place_is_told_of_and_the_run_goes_on(bench: Bench) -> None:
    sidecar(save(bench.folder / "1_BF.png", cell())).mkdir()
    save(bench.folder / "2_BF.png", cell())
    first, second = bench.run()
    assert (first.done, second.done) == ("not-written", "written")
    assert first.error
    assert stray(bench.folder) == []


def test_odd_things_leave_no_file_open(bench: Bench) -> None:
    sidecar(save(bench.folder / "1_BF.png", cell())).mkdir()
    gone = save(bench.folder / "2_BF.png", cell())
    crops = bench.crops()
    gone.unlink()
    gone.mkdir()
    bench.run(crops)
    before = len(os.listdir("/proc/self/fd"))
    bench.run(crops)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_name_too_long_for_a_sidecar_is_told_of(bench: Bench) -> None:
    save(bench.folder / ("1" * 245 + "_BF.png"), cell())
    save(bench.folder / "2_BF.png", cell())
    assert done(bench.run()) == ["not-written", "written"]


@pytest.mark.parametrize(
    "name",
    [
        "a b_BF.png",
        'it\'s "x"_BF.png',
        "a\nb_BF.png",
        "[red]_BF.png",
        "\x1b[31m_BF.png",
        "é_BF.png",
    ],
)
def test_odd_names(bench: Bench, name: str) -> None:
    save(bench.folder / name, cell())
    bench.run()
    assert sidecars(bench.folder)[name]["cell"] == name.removesuffix("_BF.png")


def test_a_name_that_is_not_utf8(bench: Bench) -> None:
    name = os.fsdecode(b"\xff1_BF.png")
    try:
        save(bench.folder / name, cell())
    except OSError as error:
        pytest.skip(f"this file system refuses names that are not UTF-8: {error}")
    bench.run()
    assert sidecars(bench.folder)[name]["image"]["name"] == name
    assert done(bench.run()) == ["current"]


POINT = OperatingPoint("", 0.2, Rate(0.9, 0.8, 0.95), Rate(10.0, 5.0, 20.0), 18.0, 100, 900, 8)


@pytest.fixture
def other(classifier: Classifier) -> Classifier:
    """Another decision on the same model."""
    points = {"screening": POINT, "balanced": POINT, "confirm": None}
    spec = structs.replace(classifier.model.spec, operating_points=points)
    policy = DecisionRule.of(spec, DecisionSettings("screening", 0.001))
    return dataclasses.replace(classifier, rule=policy)


@pytest.fixture
def idle(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A context in which no image may be decoded and no network may run."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("the network ran, or an image was decoded")

    @contextmanager
    def context() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(type(classifier.engine), "infer", refuse)
            patch.setattr("ctcedge.pipeline.loader.decode", refuse)
            yield

    return context


def save_all(bench: Bench) -> None:
    for number in range(9):
        save(bench.folder / f"{number}_BF.png", cell(8 + 3 * number))


def test_another_decision_runs_no_network_and_says_what_a_fresh_run_would(
    bench: Bench, other: Classifier, idle: Callable[[], Any]
) -> None:
    save_all(bench)
    first = bench.run()
    with idle():
        assert set(done(bench.run(classifier=other))) == {"written"}
        told = sidecars(bench.folder)
        assert set(done(bench.run(classifier=other))) == {"current"}
    for outcome in first:
        sidecar(bench.folder / outcome.crop.path).unlink()
    bench.run(classifier=other)
    fresh = sidecars(bench.folder)
    assert {record["operating_point"] for record in fresh.values()} == {"screening"}
    assert len({record["call"] for record in fresh.values()}) == 3
    for outcome in first:
        assert outcome.record
        found, wanted = told[outcome.crop.path], fresh[outcome.crop.path]
        (entry,) = found["history"]
        assert (entry["call"], entry["score"]) == (outcome.record.call, found["score"])
        assert (entry["operating_point"], entry["prior"]) == (None, 0.5)
        apart = {"created": None, "history": None}
        assert json.dumps(found | apart) == json.dumps(wanted | apart)


def test_a_new_decision_keeps_what_computed_the_score(bench: Bench, other: Classifier) -> None:
    save(bench.folder / "1_BF.png", cell())
    bench.run()
    path = bench.folder / "1_BF.png.ctc.json"
    path.write_text(path.read_text().replace('"cpu"', '"cuda"').replace('"int8"', '"fp16"'))
    bench.run(classifier=other)
    (record,) = sidecars(bench.folder).values()
    assert (record["software"]["provider"], record["model"]["variant"]) == ("cuda", "fp16")


@pytest.mark.parametrize(
    "change",
    [
        {"score": None},
        {"quality": None},
        {"inference_sha256": "0" * 64},
        {"model": {"name": "x", "version": "1", "sha256": "0" * 64, "variant": "int8"}},
    ],
    ids=["score", "quality", "settings", "model"],
)
def test_what_does_not_hold_enough_is_inferred_again(bench: Bench, change: dict[str, Any]) -> None:
    save(bench.folder / "1_BF.png", cell())
    (first,) = bench.run()
    path = bench.folder / "1_BF.png.ctc.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | change | {"settings_sha256": "0" * 64}))
    (second,) = bench.run()
    assert first.record and second.record
    assert second.record.score == first.record.score
    assert second.record.inference_sha256 == first.record.inference_sha256


def test_force_runs_the_network_even_where_a_decision_would_do(
    bench: Bench, other: Classifier, idle: Callable[[], Any]
) -> None:
    save(bench.folder / "1_BF.png", cell())
    bench.run()
    before = sidecars(bench.folder)
    with idle(), pytest.raises(AssertionError, match="the network ran"):
        bench.run(classifier=other, force=True)
    assert sidecars(bench.folder) == before


def test_a_sidecar_of_schema_1_is_current_no_longer_and_its_call_is_kept(bench: Bench) -> None:
    save(bench.folder / "1_BF.png", cell())
    bench.run()
    path = bench.folder / "1_BF.png.ctc.json"
    record = json.loads(path.read_text())
    known = read_schema(1)["required"]
    old = {key: value for key, value in record.items() if key in known}
    path.write_text(json.dumps(old | {"schema": "ctcedge/sidecar/1", "settings_sha256": "0" * 64}))
    assert done(bench.run()) == ["written"]
    (again,) = sidecars(bench.folder).values()
    assert [entry["score"] for entry in again["history"]] == [None]
    assert again["score"] == record["score"]


def in_schema_2(path: Path, **changes: Any) -> dict[str, Any]:
    """Rewrite a sidecar as an earlier version wrote it; return its new content."""
    record = json.loads(path.read_text())
    ood = record.pop("ood")
    if ood is not None:
        ood = {"distance": ood["distance"], "p": ood["p_value"], "traits": ood["features"]}
    record |= {"schema": "ctcedge/sidecar/2", "unlike": ood, **changes}
    path.write_text(json.dumps(record))
    return record


def test_a_current_sidecar_of_schema_2_is_upgraded_and_nothing_else_changes(
    bench: Bench, idle: Callable[[], Any]
) -> None:
    for number in range(3):
        save(bench.folder / f"{number}_BF.png", cell(CTC))
    (bench.folder / "3_BF.png").write_bytes(b"no image")
    bench.run(force=True)
    bench.run(force=True)
    before = sidecars(bench.folder)
    for name in before:
        in_schema_2(sidecar(bench.folder / name), review=REVIEWED)
    with idle():
        assert set(done(bench.run(retry_later=lambda *_: False))) == {"upgraded"}
    after = sidecars(bench.folder)
    assert after == {name: record | {"review": REVIEWED} for name, record in before.items()}
    assert len(after["0_BF.png"]["history"]) == 1
    touched = state(bench.folder)
    assert set(done(bench.run())) == {"current"}
    assert state(bench.folder) == touched


def test_reasons_of_schema_2_are_renamed_by_the_upgrade(bench: Bench) -> None:
    path = save(bench.folder / "1_BF.png", cell(CTC, side=18))
    bench.run()
    old = in_schema_2(sidecar(path))
    codes = {"multiple-objects": "neighbour", "low-resolution": "too-few-pixels"}
    reasons = [codes.get(reason, reason) for reason in old["reasons"]]
    assert "too-few-pixels" in reasons
    quality = old["quality"] | {"reasons": reasons}
    in_old_words = old | {"reasons": reasons, "quality": quality}
    sidecar(path).write_text(json.dumps(in_old_words))
    (outcome,) = bench.run()
    assert outcome.done == "upgraded"
    assert "low-resolution" in outcome.tally_key.reasons
    (record,) = sidecars(bench.folder).values()
    assert "low-resolution" in record["reasons"]
    assert record["quality"]["reasons"] == record["reasons"]


def test_another_decision_on_schema_2_needs_no_inference_and_writes_schema_3(
    bench: Bench, other: Classifier, idle: Callable[[], Any]
) -> None:
    path = save(bench.folder / "1_BF.png", cell())
    bench.run()
    in_schema_2(sidecar(path), review=REVIEWED)
    with idle():
        (outcome,) = bench.run(classifier=other)
    assert (outcome.done, outcome.rescored) == ("written", True)
    (record,) = sidecars(bench.folder).values()
    assert (record["schema"], record["review"]) == ("ctcedge/sidecar/3", REVIEWED)
    assert len(record["history"]) == 1


def test_an_upgrade_that_is_refused_leaves_the_sidecar_current(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(bench.folder / "1_BF.png", cell())
    bench.run()
    in_schema_2(sidecar(path))
    before = sidecar(path).read_bytes()

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ctcedge.sidecars.store.os.replace", refuse)
    (outcome,) = bench.run()
    assert (outcome.done, outcome.call) == ("current", "CTC")
    assert sidecar(path).read_bytes() == before
    assert stray(bench.folder) == []


def test_the_calls_in_a_damaged_sidecar_are_kept(bench: Bench) -> None:
    path = save(bench.folder / "1_BF.png", cell())
    bench.run()
    record = json.loads(sidecar(path).read_text())
    record["image"]["um_per_px"] = 1e308
    sidecar(path).write_text(json.dumps(record | {"review": REVIEWED}))
    (outcome,) = bench.run()
    assert (outcome.done, outcome.kept_aside) == ("written", None)
    (again,) = sidecars(bench.folder).values()
    assert (again["review"], len(again["history"])) == (REVIEWED, 1)


def test_a_sidecar_whose_review_cannot_be_read_is_kept_and_named(bench: Bench) -> None:
    path = save(bench.folder / "1_BF.png", cell())
    bench.run()
    record = json.loads(sidecar(path).read_text())
    damaged = json.dumps(record | {"review": REVIEWED | {"time": "2026-01-03T00:00:00"}})
    sidecar(path).write_text(damaged)
    (outcome,) = bench.run()
    assert (outcome.done, outcome.kept_aside) == ("written", "1_BF.png.ctc.json.damaged-1")
    assert (bench.folder / "1_BF.png.ctc.json.damaged-1").read_text() == damaged
    (again,) = sidecars(bench.folder).values()
    assert (again["review"], len(again["history"])) == (None, 1)
    assert done(bench.run()) == ["current"]


@pytest.mark.parametrize("features", [[], [1.0], [1.0, 2.0, 3.0]])
def test_ood_features_of_another_length_are_computed_again(
    bench: Bench, classifier: Classifier, monkeypatch: pytest.MonkeyPatch, features: list[float]
) -> None:
    class Detector:
        feature_count = 2

        def score(self, inputs: Any, features: Any) -> list[OodScore]:
            return [OodScore(1.5, 0.5, (1.0, -2.5))]

    answer = type(classifier.engine).infer
    monkeypatch.setattr(
        type(classifier.engine),
        "infer",
        lambda self, inputs: dataclasses.replace(
            answer(self, inputs), features=np.zeros((len(inputs), 2), np.float32)
        ),
    )
    save(bench.folder / "1_BF.png", cell())
    used = dataclasses.replace(classifier, ood_detector=Detector())  # type: ignore[arg-type]
    bench.run(classifier=used)
    path = bench.folder / "1_BF.png.ctc.json"
    record = json.loads(path.read_text())
    record["ood"]["features"] = features
    path.write_text(json.dumps(record))
    (outcome,) = bench.run(classifier=used)
    assert (outcome.done, outcome.rescored) == ("written", False)
    assert outcome.ood_features == (1.0, -2.5)
    assert done(bench.run(classifier=used)) == ["current"]


REVIEWED = {
    "call": "CTC",
    "reviewer": "Ada",
    "time": "2026-01-03T00:00:00Z",
    "from": "leukocyte",
    "note": "",
    "image_sha256": "0" * 64,
    "channels": ["BF"],
    "blinded": True,
    "weight": 12.5,
    "history": [],
}


def reviewed(record: Sidecar) -> Sidecar:
    """The sidecar with a review."""
    review = msgspec.convert(REVIEWED, ReviewRecord)
    return msgspec.structs.replace(record, review=review)


@pytest.mark.parametrize("again", ["forced", "decision", "image", "bad image"])
def test_a_review_outlives_what_ctcedge_writes(
    bench: Bench, classifier: Classifier, again: str
) -> None:
    path = save(bench.folder / "1_BF.png", cell(LEUKOCYTE))
    bench.run()
    (crop,) = bench.crops()
    SidecarStore(bench.folder).amend(crop, reviewed)
    assert done(bench.run()) == ["current"]
    if again == "image":
        save(path, cell(REVIEW))
    elif again == "bad image":
        path.write_bytes(b"")
    elif again == "decision":
        policy = DecisionRule.of(classifier.model.spec, DecisionSettings(prevalence=0.01))
        classifier = dataclasses.replace(classifier, rule=policy)
    (outcome,) = bench.run(force=again == "forced", classifier=classifier)
    (record,) = sidecars(bench.folder).values()
    assert outcome.done == "written"
    assert as_dict(outcome.record) == record
    assert record["review"] == REVIEWED
    assert len(record["history"]) == 1


def test_a_review_that_comes_while_a_crop_is_classified_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(bench.folder / "1_BF.png", cell())
    bench.run()
    (crop,) = bench.crops()
    infer = type(bench.classifier).infer

    def reviewed_meanwhile(self: Any, inputs: Any) -> Any:
        SidecarStore(bench.folder).amend(crop, reviewed)
        return infer(self, inputs)

    monkeypatch.setattr(type(bench.classifier), "infer", reviewed_meanwhile)
    bench.run(force=True)
    (record,) = sidecars(bench.folder).values()
    assert record["review"] == REVIEWED
    assert len(record["history"]) == 1


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((64, 64), 128, np.uint8), "empty"),
        (cell(CTC, side=18), "low-resolution"),
    ],
)
def test_a_gated_crop_is_reviewed_and_keeps_its_probability(
    bench: Bench, pixels: np.ndarray, reason: str
) -> None:
    save(bench.folder / "1_BF.png", pixels)
    (outcome,) = bench.run()
    (record,) = sidecars(bench.folder).values()
    assert record["call"] == "review"
    assert reason in record["reasons"]
    assert reason in record["quality"]["reasons"]
    assert record["probability"] == probability(
        record["score"], bench.classifier.model.spec.calibration
    )
    assert outcome.tally_key.reasons == tuple(record["reasons"])


def gate(monkeypatch: pytest.MonkeyPatch, quality: Quality) -> None:
    monkeypatch.setattr(
        "ctcedge.classification.classifier.assess", lambda images, *_: [quality] * len(images)
    )


def test_all_reasons_stand_side_by_side(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    gate(
        monkeypatch, Quality(("debris", "multiple-objects"), False, {"cells": 2.0, "focus": np.nan})
    )
    save(bench.folder / "1_BF.png", cell(REVIEW))
    bench.run()
    (record,) = sidecars(bench.folder).values()
    assert record["reasons"] == ["debris", "multiple-objects", "near-threshold"]
    assert record["quality"] == {"reasons": ["debris", "multiple-objects"], "cells": 2.0}


def test_a_cluster_is_flagged_and_keeps_its_call(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate(monkeypatch, Quality((), True, {}))
    save(bench.folder / "1_BF.png", cell(CTC))
    (outcome,) = bench.run()
    (record,) = sidecars(bench.folder).values()
    assert (record["call"], record["cluster"]) == ("CTC", True)
    assert outcome.tally_key == TallyKey("written", "CTC", (), cluster=True)


def test_what_is_unlike_training_is_reviewed(
    bench: Bench, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Far:
        def score(self, inputs: Any, features: Any) -> list[OodScore]:
            return [OodScore(99.5, 0.0, (1.0, -2.5)), OodScore(1.5, 0.5, (0.0, 0.0))]

    answer = type(classifier.engine).infer
    monkeypatch.setattr(
        type(classifier.engine),
        "infer",
        lambda self, inputs: dataclasses.replace(
            answer(self, inputs), features=np.zeros((len(inputs), 2), np.float32)
        ),
    )
    for number in range(2):
        save(bench.folder / f"{number}_BF.png", cell(CTC))
    guarded = dataclasses.replace(classifier, ood_detector=Far())  # type: ignore[arg-type]
    outcomes = bench.run(classifier=guarded)
    far, near = sidecars(bench.folder).values()
    assert (far["call"], far["reasons"]) == ("review", ["out-of-distribution"])
    assert far["ood"] == {"distance": 99.5, "p_value": 0.0, "features": [1.0, -2.5]}
    assert (near["call"], near["reasons"]) == ("CTC", [])
    assert [as_dict(outcome.record) for outcome in outcomes] == [far, near]
    # And again from what is kept.
    policy = DecisionRule.of(classifier.model.spec, DecisionSettings(prevalence=0.01))
    bench.run(classifier=dataclasses.replace(classifier, rule=policy))
    again, _ = sidecars(bench.folder).values()
    assert (again["call"], again["ood"]) == ("review", far["ood"])


def test_stop_finishes_what_is_in_hand(bench: Bench) -> None:
    for number in range(80):
        save(bench.folder / f"{number:02}_BF.png", cell())
    seen: list[Outcome] = []
    pipeline = Pipeline(
        bench.folder,
        bench.classifier,
        SidecarStore(bench.folder),
        CrashJournal(bench.folder),
        fingerprint(bench.classifier),
        batch_size=4,
    )
    for outcome in pipeline.run(bench.crops(), should_stop=lambda: bool(seen)):
        seen.append(outcome)
    assert 4 <= len(seen) <= 36  # what was in hand
    assert len(sidecars(bench.folder)) == len(seen)
    assert set(done(bench.run())) == {"current", "written"}
    assert len(sidecars(bench.folder)) == 80


def test_large_images_are_held_a_few_at_a_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        save(bench.folder / f"{number}_BF.png", cell(CTC if number % 2 else LEUKOCYTE))
    (bench.folder / "3_BF.png").write_bytes(b"no image")
    together = sidecars(bench.folder) if bench.run() else {}
    looked: list[int] = []
    prepare = type(bench.classifier).prepare

    def counted(self: Any, images: Any, um_per_px: float | None) -> Any:
        looked.append(len(images))
        return prepare(self, images, um_per_px)

    monkeypatch.setattr(type(bench.classifier), "prepare", counted)
    monkeypatch.setattr("ctcedge.pipeline.pipeline.MAX_PIXEL_BYTES", 2 * cell().nbytes - 1)
    outcomes = bench.run(force=True, batch_size=6)
    assert [each.crop.path for each in outcomes] == sorted(together)
    assert looked == [2, 2, 1]
    apart = sidecars(bench.folder)
    for key in ("status", "call", "score", "quality"):
        assert [each[key] for each in apart.values()] == [each[key] for each in together.values()]


def test_what_is_deferred_gets_no_sidecar(bench: Bench) -> None:
    (bench.folder / "1_BF.png").write_bytes(encoded(cell())[:100])
    (bench.folder / "2_BF.png").write_bytes(png(4, 4))
    outcomes = bench.run(retry_later=lambda crop, was_read: was_read)
    assert done(outcomes) == ["deferred", "written"]
    assert set(sidecars(bench.folder)) == {"2_BF.png"}


def test_an_image_that_cannot_be_read_now_keeps_its_sidecar(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(bench.folder / "1_BF.png", cell(CTC))
    bench.run()
    before = sidecars(bench.folder)
    save(bench.folder / "2_BF.png", cell(CTC))
    with monkeypatch.context() as failing:
        failing.setattr("ctcedge.images.read.read_limited", no_disk)
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


def test_a_network_that_gives_no_number_stops_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        save(bench.folder / f"{number}_BF.png", cell())
    answer = type(bench.classifier.engine).infer

    def spoilt(self: Any, inputs: Any) -> Any:
        found = answer(self, inputs)
        found.logits[1] = np.nan
        return found

    monkeypatch.setattr(type(bench.classifier.engine), "infer", spoilt)
    bench.run()
    statuses = [record["status"] for record in sidecars(bench.folder).values()]
    assert statuses == ["classified", "unsupported", "classified"]


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is missing")
@pytest.mark.parametrize("sample", ["breast/A000", "jurkat/Experiment_2"])
def test_real_crops(classifier: Classifier, tmp_path: Path, sample: str) -> None:
    folder = DATA / sample
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    crops = [
        c for c in iter_entries(folder, Naming()) if isinstance(c, Crop) and c.channel == "BF"
    ][:20]
    results = SidecarStore(folder, tmp_path)
    journal = CrashJournal(tmp_path)
    pipeline = Pipeline(folder, classifier, results, journal, fingerprint(classifier, None))
    outcomes = list(pipeline.run(crops))
    assert set(done(outcomes)) == {"written"}
    written = sidecars(tmp_path)
    assert len(written) == 20
    assert {record["status"] for record in written.values()} == {"classified"}
    assert {record["sample"] for record in written.values()} == {folder.name}
