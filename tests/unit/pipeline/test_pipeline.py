from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctcedge.classification.classifier import Classifier
from ctcedge.discovery.naming import Crop, Naming
from ctcedge.discovery.scan import iter_entries
from ctcedge.pipeline.crash_journal import CrashJournal
from ctcedge.pipeline.outcome import Outcome
from ctcedge.pipeline.pipeline import Pipeline
from ctcedge.sidecars.store import SidecarStore
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, REVIEW, UM_PER_PX, cell, encoded, save
from tests.helpers.image_builder import png
from tests.helpers.real_data import DATA
from tests.helpers.sidecar_files import as_dict, sidecars, state, stray
from tests.unit.pipeline.bench import Bench, done, fingerprint


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
    (given,) = bench.run(um_per_px=own)
    assert assumed.record and given.record
    assert given.done == "written"
    assert assumed.record.score == given.record.score
    assert assumed.record.quality and assumed.record.quality.area_px
    assert given.record.quality and given.record.quality.area_um2


def test_um_per_px_changes_the_size_that_the_network_sees(bench: Bench) -> None:
    save(bench.folder / "1_BF.png", cell(LEUKOCYTE))
    (small,) = bench.run(um_per_px=0.5)
    (large,) = bench.run(um_per_px=1.0)
    assert small.record and large.record
    assert (small.record.call, large.record.call) == ("leukocyte", "CTC")


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
    monkeypatch.setattr("ctcedge.pipeline.chunks.MAX_PIXEL_BYTES", 2 * cell().nbytes - 1)
    outcomes = bench.run(force=True, batch_size=6)
    assert [each.crop.path for each in outcomes] == sorted(together)
    assert looked == [2, 2, 1]
    separate = sidecars(bench.folder)
    for key in ("status", "call", "score", "quality"):
        assert [each[key] for each in separate.values()] == [
            each[key] for each in together.values()
        ]


def test_what_is_deferred_gets_no_sidecar(bench: Bench) -> None:
    (bench.folder / "1_BF.png").write_bytes(encoded(cell())[:100])
    (bench.folder / "2_BF.png").write_bytes(png(4, 4))
    outcomes = bench.run(retry_later=lambda crop, was_read: was_read)
    assert done(outcomes) == ["deferred", "written"]
    assert set(sidecars(bench.folder)) == {"2_BF.png"}


def test_a_network_that_gives_no_number_stops_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        save(bench.folder / f"{number}_BF.png", cell())
    answer = type(bench.classifier.engine).infer

    def faulty(self: Any, inputs: Any) -> Any:
        found = answer(self, inputs)
        found.logits[1] = np.nan
        return found

    monkeypatch.setattr(type(bench.classifier.engine), "infer", faulty)
    bench.run()
    statuses = [record["status"] for record in sidecars(bench.folder).values()]
    assert statuses == ["classified", "unsupported", "classified"]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real images are not here: {DATA}")
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
