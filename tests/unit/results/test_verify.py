from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ctcedge.classification.analysis import CellAnalysis
from ctcedge.model.folder import load_model
from ctcedge.model.spec import Parity
from ctcedge.results import verify as module
from tests.helpers.cli_runner import call, classify
from tests.helpers.disk_model import EditableModel
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, cell, save
from tests.helpers.sidecar_files import load, sealed, sidecar, sidecars, state, typed

IMAGE = "S1/00003_BF.png"


def verified(folder: Path, model: Path | None, *words: object, code: int = 0) -> dict[str, Any]:
    named = () if model is None else ("--model", model)
    done = call("verify", folder, *named, "--json", *words, code=code)
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["verified"] == (code == 0)
    return result


def edit(
    folder: Path,
    change: Callable[[dict[str, Any]], object],
    path: str = IMAGE,
    *,
    seal: bool = True,
) -> None:
    """Change a sidecar as another ctcedge might have written it; by hand where it is not sealed."""
    place = sidecar(folder / path)
    record = load(place)
    change(record)
    place.write_text(json.dumps(sealed(record) if seal else record))


def test_help_shows_an_example() -> None:
    assert "Example: ctcedge verify " in call("verify", "--help").stdout


def test_what_was_just_called_is_the_same(called: Path, model_folder: Path) -> None:
    before = state(called)
    found = verified(called, model_folder, "--all")
    assert (found["crops"], found["sidecars"], found["same_image"]) == (4, 4, 4)
    assert (found["chosen"], found["reproduced"]) == (4, 4)
    assert [(m["name"], m["sidecars"], m["at_hand"]) for m in found["models"]] == [
        ("disks", 4, True)
    ]
    assert state(called) == before
    text = call("verify", called, "--model", model_folder).stdout
    assert "Reproduced 4 of 4 recomputed calls" in text


def test_sidecars_elsewhere(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    classify(crops, model_folder, "--out", tmp_path / "o")
    found = verified(crops, model_folder, "--sidecars", tmp_path / "o", "--all")
    assert found["reproduced"] == 4
    call("verify", crops, "--model", model_folder, code=2)


def test_each_decision_is_made_again_as_the_sidecar_names_it(
    called: Path, model_folder: Path
) -> None:
    """Also one that was made from the stored score alone, and two side by side."""
    classify(called, model_folder, "--prevalence", 0.0002)
    before = load(sidecar(called / IMAGE))
    kept = sidecar(called / IMAGE).read_bytes()
    classify(called, model_folder)
    sidecar(called / IMAGE).write_bytes(kept)
    assert load(sidecar(called / "S1" / "00001_BF.png"))["prior"] != before["prior"] == 0.0002
    assert verified(called, model_folder, "--all")["reproduced"] == 4


def test_unreadable_images_are_verified_too(called: Path, model_folder: Path) -> None:
    (called / "S1" / "00008_BF.png").write_bytes(b"broken")
    classify(called, model_folder, code=3)
    found = verified(called, model_folder, "--all")
    assert (found["same_image"], found["reproduced"]) == (5, 5)


def test_a_changed_image_is_named(called: Path, model_folder: Path) -> None:
    save(called / IMAGE, cell(LEUKOCYTE))
    found = verified(called, model_folder, "--sample", 0, code=3)
    assert found["changed"] == [{"path": IMAGE, "why": "the image has changed"}]
    assert (found["same_image"], found["chosen"]) == (3, 0)
    assert IMAGE in call("verify", called, "--model", model_folder, code=3).stdout


def test_sidecars_without_an_image_are_named(called: Path, model_folder: Path) -> None:
    (called / IMAGE).unlink()
    assert verified(called, model_folder, code=3)["without_image"] == [IMAGE + ".ctc.json"]


def test_torn_sidecars_are_named(called: Path, model_folder: Path) -> None:
    sidecar(called / IMAGE).write_text('{"schema": "ctcedge/sidecar/2", "sta')
    found = verified(called, model_folder, "--sample", 0, code=3)
    assert found["unusable"] == [{"path": IMAGE, "why": "it is torn, or no sidecar"}]
    assert IMAGE in call("verify", called, "--model", model_folder, code=3).stdout


def test_crops_that_wait_are_counted_and_no_fault(called: Path, model_folder: Path) -> None:
    save(called / "S1" / "00009_BF.png", cell())
    found = verified(called, model_folder)
    assert (found["crops"], found["sidecars"]) == (5, 4)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"call": "leukocyte"}, "call does not follow"),
        ({"probability": 0.5}, "probability does not follow"),
        ({"threshold": 0.9}, "threshold does not follow"),
        ({"review_band": [0.1, 0.6]}, "review_band does not follow"),
        ({"call": "review", "reasons": ["near-threshold"]}, "call and reasons do not follow"),
        ({"operating_point": "confirm"}, "cannot be recomputed"),
        ({"cluster": True}, "cluster"),
    ],
)
def test_what_was_tampered_with_is_named(
    called: Path, model_folder: Path, change: dict[str, Any], why: str
) -> None:
    edit(called, lambda record: record.update(change))
    found = verified(called, model_folder, "--all", code=3)
    (different,) = found["different"]
    assert different["path"] == IMAGE
    assert why in different["why"]
    assert found["reproduced"] == 3


def test_a_score_with_a_call_to_match_is_named(called: Path, model_folder: Path) -> None:
    """A forged sidecar may be consistent in itself, but the network says otherwise."""
    forged = load(sidecar(called / "S1" / "00001_BF.png"))
    keys = ("score", "call", "probability", "reasons")
    edit(called, lambda record: record.update({key: forged[key] for key in keys}))
    (different,) = verified(called, model_folder, "--all", code=3)["different"]
    assert "the probability was" in different["why"]


def test_a_doubt_that_the_gate_does_not_have_is_named(called: Path, model_folder: Path) -> None:
    def forge(record: dict[str, Any]) -> None:
        record["quality"]["reasons"] = ["out-of-focus"]
        record.update(call="review", reasons=["out-of-focus"])

    edit(called, forge)
    (different,) = verified(called, model_folder, "--all", code=3)["different"]
    assert "the quality flags were out-of-focus" in different["why"]


@pytest.mark.parametrize(("shift", "good"), [(0.5, True), (1.5, False)])
def test_the_tolerance_is_that_of_the_golden_outputs(
    called: Path, model_folder: Path, classifier: Any, shift: float, good: bool
) -> None:
    """A score may differ by rounding, as on another processor."""
    spec = load_model(model_folder).spec

    def move(record: dict[str, Any]) -> None:
        p = 1 / (1 + math.exp(-record["score"])) - shift * spec.golden.tolerance
        record["score"] = round(math.log(p / (1 - p)), 6)
        verdict = classifier.rule.decide_score(record["score"], ())
        record["probability"] = verdict.probability

    edit(called, move)
    found = verified(called, model_folder, "--all", code=0 if good else 3)
    assert found["reproduced"] == (4 if good else 3)


def test_a_score_of_another_graph_may_differ_by_as_much_as_was_measured(
    called: Path, model_folder: Path
) -> None:
    def made_by_cuda(record: dict[str, Any]) -> None:
        record["model"]["variant"] = "fp16"
        record["software"]["provider"] = "cuda"

    edit(called, made_by_cuda)
    assert verified(called, model_folder, "--all")["reproduced"] == 4
    model = load_model(model_folder)
    parity = {
        variant: Parity(
            9, 0.9, 0.0, largest_difference=largest, mean_difference=0, changed_calls=0, flips=0
        )
        for variant, largest in (("int8", 0.02), ("fp16", 0.003))
    }
    spec = structs.replace(model.spec, parity=parity)
    stored = CellAnalysis.from_sidecar(typed(load(sidecar(called / IMAGE))))
    here = CellAnalysis.from_sidecar(typed(load(sidecar(called / "S1" / "00001_BF.png"))))
    assert stored is not None and here is not None
    known = dataclasses.replace(model, spec=spec)
    assert module._tolerance(known, stored, here) == pytest.approx(0.001 + 0.02 + 0.003)
    assert module._tolerance(known, here, here) == 0.001


def test_a_model_that_is_not_at_hand_is_named(called: Path, model_folder: Path) -> None:
    found = verified(called, None, code=3)
    assert (found["same_image"], found["chosen"]) == (4, 0)
    assert [(model["name"], model["at_hand"]) for model in found["models"]] == [("disks", False)]
    assert "missing: give --model DIR" in call("verify", called, code=3).stdout


def test_models_side_by_side(called: Path, model_folder: Path, model_copy: EditableModel) -> None:
    model_copy.edit(lambda spec: spec.update(version="2"))
    for name in ("00001", "00002"):
        sidecar(called / "S1" / f"{name}_BF.png").unlink()
    kept = {path: path.read_bytes() for path in called.rglob("*.ctc.json")}
    classify(called, model_copy.folder)
    for path, content in kept.items():
        path.write_bytes(content)
    found = verified(called, model_copy.folder, "--all", code=3)
    assert {m["version"]: (m["sidecars"], m["at_hand"]) for m in found["models"]} == {
        "1.0.0": (2, False),
        "2": (2, True),
    }
    assert (found["chosen"], found["reproduced"]) == (2, 2)


def test_a_damaged_model_is_named(called: Path, model_copy: EditableModel) -> None:
    classify(called, model_copy.folder)
    graph = model_copy.folder / "model.int8.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    found = verified(called, model_copy.folder, code=3)
    (damaged,) = found["damaged_models"]
    assert "model.int8.onnx" in damaged["why"]
    assert found["reproduced"] == 0


def test_other_rules_are_named(called: Path, model_folder: Path) -> None:
    edit(called, lambda record: record.update(inference_sha256="0" * 64))
    found = verified(called, model_folder, "--all", code=3)
    assert [each["path"] for each in found["other_rules"]] == [IMAGE]
    assert found["reproduced"] == 3


def test_a_sidecar_of_schema_1_can_be_hashed_but_not_made_again(
    called: Path, model_folder: Path
) -> None:
    place = sidecar(called / IMAGE)
    record = load(place)
    new = ("operating_point", "score", "cluster", "quality", "unlike", "inference_sha256", "review")
    old = {key: value for key, value in record.items() if key not in new}
    place.write_text(json.dumps(old | {"schema": "ctcedge/sidecar/1"}))
    found = verified(called, model_folder, "--all", code=3)
    assert (found["same_image"], found["reproduced"]) == (4, 3)
    assert [each["path"] for each in found["other_rules"]] == [IMAGE]


def test_the_sample_is_the_same_each_time_and_not_the_first_names(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "S"
    for number in range(30):
        save(folder / f"{number:02}_BF.png", cell(CTC))
    classify(folder, model_folder)
    made: list[list[str]] = []
    whole = module.Recomputation.run

    def note(self: Any, crops: Any) -> None:
        made.append([crop.path for crop in crops])
        whole(self, crops)

    monkeypatch.setattr(module.Recomputation, "run", note)
    for _ in range(2):
        assert verified(folder, model_folder, "--sample", 5)["reproduced"] == 5
    names = sorted(sidecars(folder))
    assert made[0] == made[1]
    assert len(set(made[0])) == 5 and made[0] != names[:5]
    verified(folder, model_folder, "--sample", 6)
    assert set(made[0]) < set(made[2])


def test_all_and_a_sample_exclude_each_other(called: Path) -> None:
    assert "--all" in call("verify", called, "--all", "--sample", 5, code=2).stderr


def test_an_unusable_model_is_refused(called: Path, tmp_path: Path) -> None:
    assert "none" in call("verify", called, "--model", "none", code=2).stderr
