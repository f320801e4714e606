"""The report page's contents, without a browser; tests/browser has what a person does with it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from ctcedge.classification.ood import DomainShift, OodDetector, RunFeatures
from ctcedge.discovery.naming import Naming
from ctcedge.errors import NoCropsError, OutputError, SetupError
from ctcedge.model.folder import load_model
from ctcedge.report.cells import Cell, gather
from ctcedge.report.jpeg import (
    ACROSS,
    TILE,
    bright_field,
    common_scale,
    strip,
    tile,
    tile_zooms,
)
from ctcedge.report.pseudonyms import KEY_NAME
from ctcedge.report.review_list import MOST_CANDIDATES, review_list
from ctcedge.sidecars.scan import scan_sidecars
from tests.helpers import report_data as reports
from tests.helpers.support import call, cell, encoded, state


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return reports.run_of(tmp_path / "run")


def cells_of(folder: Path) -> list[Cell]:
    return gather(scan_sidecars(folder, None, Naming()))[0].cells


def blocks(page: Path, kind: str) -> list[np.ndarray]:
    """Pictures of one kind, decoded."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(rf'data-pictures="{kind}">\n(.*?)\n</script>', text, re.DOTALL)
    lines = [line for block in found for line in block.split("\n")]
    return [
        cv2.imdecode(np.frombuffer(base64.b64decode(line), np.uint8), cv2.IMREAD_UNCHANGED)
        for line in lines
    ]


def test_clusters_come_first_then_probability(run: Path) -> None:
    data = reports.data_of(reports.write(run))
    found = list(zip(data["cells"]["cluster"], data["cells"]["probability"], strict=True))
    assert found[0] == (1, 0.01)
    assert [cluster for cluster, _ in found[1:]] == [0] * (len(found) - 1)
    rest = [probability for _, probability in found[1:]]
    assert rest == sorted(rest, reverse=True)


def test_where_calls_begin_is_told(run: Path) -> None:
    data = reports.data_of(reports.write(run))
    assert data["decisions"] == [{"review": 0.4, "ctc": 0.6}]
    assert ["Decision", "the model’s own: CTC from 0.6, review from 0.4"] in data["facts"]
    told = {"operating_point": "screening", "threshold": 0.3, "review_band": [0.3, 0.3]}
    reports.add(run, "S3", "00009", 0.95, **told)
    data = reports.data_of(reports.write(run))
    assert data["decisions"][1] == {"review": 0.3, "ctc": 0.3}
    words = "operating point screening: CTC from 0.3, no review band (1 crop)"
    assert ["Decision", words] in data["facts"]


def test_probabilities_at_different_priors_are_ordered_by_what_the_image_says(
    tmp_path: Path,
) -> None:
    reports.add(tmp_path, "S", "1", 0.9)
    reports.add(tmp_path, "S", "2", 0.01, prior=0.0002, call="CTC")
    assert [each.crop.cell for each in cells_of(tmp_path)] == ["2", "1"]


def test_counts_and_what_is_unknown(run: Path) -> None:
    data = reports.data_of(reports.write(run))
    values = {each["name"]: each["value"] for each in data["figures"]}
    assert values["Called CTC"] == "2"
    assert values["Clusters of touching cells"] == "1"
    assert values["To be looked at"] == "2"
    assert values["Called leukocyte"] == "13"
    assert values["False CTC calls to expect"] == "unknown here"
    facts = dict(data["facts"])
    assert facts["Model"].startswith("by-hand 1, SHA-256 aaaa")
    assert "0.9 then is 0.0018 where 1 cell in 5,000 is one" in facts["Probabilities"]
    assert data["reasons"] == ["debris", "near-threshold", "out-of-focus"]


def test_controls_tell_the_false_calls_to_expect(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTCEDGE_STATE", str(tmp_path / "state"))
    donor = tmp_path / "donor"
    for number in range(30):
        reports.add(donor, "healthy", f"{number:03}", 0.8 if number < 3 else 0.1)
    call("controls", "add", donor)
    (figure,) = (f for f in reports.data_of(reports.write(run))["figures"] if "False" in f["name"])
    assert re.fullmatch(r"1\.7 \(\d+ to \d+\)", figure["value"])
    assert figure["note"].endswith("from 1 healthy-donor sample of 30 cells")
    reports.add(run, "S1", "00001", 0.97, operating_point="screening")
    (figure,) = (f for f in reports.data_of(reports.write(run))["figures"] if "False" in f["name"])
    told = figure["value"], figure["note"]
    assert told == ("unknown here", "calls were made in different ways")


def test_existing_reviews_are_shown_and_estimate_what_was_missed(run: Path) -> None:
    for number in range(6, 18):
        review = {
            "call": "CTC" if number == 6 else "leukocyte",
            "reviewer": "Ada",
            "time": "2026-11-24T01:00:00.000Z",
            "from": "leukocyte",
            "note": "looks odd",
            "channels": ["BF"],
            "blinded": True,
            "weight": 1.0,
        }
        path = next(run.rglob(f"{number:05}_BF.png"))
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        block = {**review, "image_sha256": sha, "history": []}
        reports.add(run, path.parent.name, f"{number:05}", round(0.3 / number, 6), review=block)
    data = reports.data_of(reports.write(run))
    values = {each["name"]: each["value"] for each in data["figures"]}
    assert values["Reviewed"] == "12"
    assert values["CTCs missed, estimated"].startswith("1 (1 to ")
    assert len(data["reviews"]) == 12
    for (review,) in data["reviews"].values():
        assert (review["reviewer"], review["note"]) == ("Ada", "looks odd")


def test_the_draw_is_random_stated_and_the_same_each_time(tmp_path: Path) -> None:
    run = reports.run_of(tmp_path / "run", leukocytes=90)
    data = reports.data_of(reports.write(run))
    draw, calls = data["draw"], data["cells"]["call"]
    assert draw["leukocytes"] == calls.count(2) == 91
    assert draw["drawn"] == len(draw["cells"]) == 51  # 50 and one per 200
    assert {calls[index] for index in draw["cells"]} == {2}
    assert draw["cells"] != sorted(draw["cells"])
    candidates = {index for index, each in enumerate(calls) if each != 2}
    assert set(data["list"]) == candidates | set(draw["cells"])
    assert "51 drawn at random from 91 called leukocyte" in draw["text"]
    again = reports.data_of(reports.write(run))
    assert (again["list"], again["report_id"]) == (data["list"], data["report_id"])
    hidden = reports.data_of(reports.write(run, pseudonymise=True))
    assert hidden["list"] == data["list"]
    reports.add(run, "S1", "00001", 0.1)
    assert reports.data_of(reports.write(run))["report_id"] != data["report_id"]


def test_drawn_cells_cannot_be_told_by_place_or_picture(tmp_path: Path) -> None:
    run = reports.run_of(tmp_path / "run", leukocytes=300)
    for number in range(1000, 1120):
        reports.add(run, "S1", f"{number}", 0.9 - number / 1e5)
    data = reports.data_of(reports.write(run))
    drawn = set(data["draw"]["cells"])
    places = [place for place, index in enumerate(data["list"]) if index in drawn]
    thirds = np.histogram(places, bins=3, range=(0, len(data["list"])))[0]
    assert thirds.min() > len(drawn) / 6
    assert all(data["cells"]["strip"][index] is not None for index in data["list"])


def test_candidates_beyond_the_limit_are_told_of(run: Path) -> None:
    template = cells_of(run)[1]
    cells = [template] * (MOST_CANDIDATES + 7)
    found = review_list(cells)
    assert (len(found.order), found.left_out) == (MOST_CANDIDATES, 7)


def test_nothing_to_draw_from_and_nothing_to_review(tmp_path: Path) -> None:
    reports.add(tmp_path, "S", "1", 0.1)
    data = reports.data_of(reports.write(tmp_path))
    assert data["list"] == [0]
    reports.add(tmp_path, "S", "1", 0.9)
    data = reports.data_of(reports.write(tmp_path))
    assert (data["list"], data["draw"]["drawn"]) == ([0], 0)


def test_tiles_and_strips_are_the_cells_pictures(run: Path) -> None:
    page = reports.write(run)
    data = reports.data_of(page)
    (sheet,) = blocks(page, "sheets")
    assert sheet.shape == (ACROSS * TILE, ACROSS * TILE)
    for index, path in enumerate(data["cells"]["path"]):
        row, column = divmod(index, ACROSS)
        shown = sheet[row * TILE :, column * TILE :][:TILE, :TILE].astype(float)
        expected = tile(bright_field(cv2.imread(str(run / path), -1)), 72 / 64)
        assert abs(shown - expected).mean() < 4
    stained = data["cells"]["path"].index("S2/00003_BF.png")
    strip_of = data["strips"][data["cells"]["strip"][stained]]
    assert strip_of["channels"] == ["BF", "DAPI", "PE"]
    picture = blocks(page, "strips")[data["cells"]["strip"][stained]]
    assert picture.shape == (64, 3 * 64)
    assert picture[32, 64:128].std() > 30


def test_an_image_that_changed_is_not_shown_nor_reviewed(run: Path) -> None:
    (run / "S1" / "00001_BF.png").write_bytes(encoded(cell(20)))
    (run / "S2" / "00003_BF.png").unlink()
    (run / "S1" / "00002_BF.png").write_bytes(b"")
    data = reports.data_of(reports.write(run))
    states = dict(zip(data["cells"]["path"], data["cells"]["image"], strict=True))
    assert states["S1/00001_BF.png"] == 1
    assert data["images"][1].startswith("The image changed since the call")
    changed = data["cells"]["path"].index("S1/00001_BF.png")
    assert changed not in data["list"]
    assert any("2 cells changed since the call" in text for text in data["warnings"])


def test_crops_without_a_call_are_told_of(run: Path) -> None:
    (run / "S1" / "00001_BF.png.ctc.json").write_text("{", encoding="utf-8")
    torn = {"status": "unreadable", "call": None, "error": "truncated PNG", "reasons": []}
    path = reports.add(run, "S1", "00002", 0.5, **torn)
    path = path.with_name(path.name + ".ctc.json")
    content = json.loads(path.read_bytes()) | {"probability": None, "quality": None}
    path.write_text(json.dumps(content), encoding="utf-8")
    reports.add(run, "S2", "00003", 0.9, software={"ctcedge": "0.1.0"})
    data = reports.data_of(reports.write(run))
    warnings = " ".join(data["warnings"])
    assert "No usable sidecar yet, and not in this report: 2 crops" in warnings
    assert "Could not be classified: 1 crop (1: truncated PNG)" in warnings


@pytest.mark.parametrize(
    "change",
    [
        {"um_per_px": "evil"},
        {"um_per_px": 0},
        {"um_per_px": float("nan")},
        {"width": 0},
        {"height": 10**400},
        {"probability": float("nan")},
        {"probability": 10**400},
        {"prior": 0},
        {"prior": 5},
        {"operating_point": {"a": 1}},
        {"ood": {"distance": 1, "p_value": 2, "features": []}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_person_made_of_a_sidecar_does_not_break_the_page(
    run: Path, change: dict[str, Any]
) -> None:
    path = run / "S1" / "00001_BF.png.ctc.json"
    content = json.loads(path.read_bytes())
    for key, value in change.items():
        (content["image"] if key in content["image"] else content)[key] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    data = reports.data_of(reports.write(run))
    assert "S1/00001_BF.png" not in data["cells"]["path"]
    assert ["No call yet", "1: sidecar not whole"] in data["facts"]


def test_what_nobody_expected_is_told_on_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctcedge.report.write_report", lambda *_, **__: 1 / 0)
    (line,) = call("report", run, code=1).stderr.splitlines()
    assert "internal error: ZeroDivisionError" in line


def test_different_models_and_assumed_scale_are_warned_of(run: Path) -> None:
    reports.add(run, "S1", "00001", 0.97, model={**reports.MODEL, "sha256": "d" * 64})
    path = run / "S1" / "00002_BF.png.ctc.json"
    content = json.loads(path.read_bytes())
    content["image"] |= {"um_per_px_assumed": True}
    path.write_text(json.dumps(content), encoding="utf-8")
    warnings = " ".join(reports.data_of(reports.write(run))["warnings"])
    assert "Calls of 2 models stand side by side" in warnings
    assert "um/px of 1 cell was not given" in warnings


def test_a_report_of_one_sample(run: Path, tmp_path: Path) -> None:
    page = reports.write(run, sample="S2", out=tmp_path / "S2.html")
    data = reports.data_of(page)
    assert data["samples"] == ["S2"]
    assert "<title>ctcedge: run / S2</title>" in page.read_text(encoding="utf-8")
    assert data["draw"]["leukocytes"] < 12
    with pytest.raises(NoCropsError, match="no bright-field crop of sample 'S3'"):
        reports.write(run, sample="S3")


def by_shipped_model(trait: float) -> dict[str, Any]:
    """What a sidecar holds of a crop with this first trait."""
    model = load_model()
    name = {"name": model.spec.name, "version": "1", "sha256": model.sha256, "variant": "int8"}
    return {"model": name, "ood": {"distance": 1.0, "p_value": 0.5, "features": [trait, 0.0]}}


class _Guard:
    """Calls samples of 4 crops or more unlike training where their first trait is large."""

    def domain_shift(self, run: RunFeatures) -> DomainShift:
        if run.crops < 4:
            return DomainShift("insufficient", run.crops, None)
        far = float(run.mean()[0])
        return DomainShift("unlike" if far > 1 else "like", run.crops, far)


def test_samples_unlike_the_training_data_are_warned_of(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OodDetector, "load", lambda _: _Guard())
    for number in range(8):
        told = by_shipped_model(5.0 * (number % 2))
        reports.add(run, "strange" if number % 2 else "usual", f"9{number}", 0.1, **told)
    data = reports.data_of(reports.write(run))
    (warning,) = (text for text in data["warnings"] if text.startswith("Unlike the images"))
    assert "strange" in warning
    assert "usual" not in warning
    values = {each["name"]: each["value"] for each in data["figures"]}
    assert values["Samples like the training data"] == "1 of 2"
    hidden = reports.data_of(reports.write(run, pseudonymise=True))
    assert "strange" not in json.dumps(hidden)


def test_small_samples_that_are_unlike_all_together_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OodDetector, "load", lambda _: _Guard())
    for number in range(6):
        reports.add(tmp_path, f"S{number % 3}", f"{number}", 0.1, **by_shipped_model(5.0))
    data = reports.data_of(reports.write(tmp_path))
    assert any("trained on: all samples together." in text for text in data["warnings"])
    (figure,) = (f for f in data["figures"] if f["name"] == "Samples like the training data")
    assert (figure["value"], figure["note"][:12]) == ("unlike", "all together")


def test_the_models_own_facts_and_maps_where_it_is_at_hand(tmp_path: Path) -> None:
    export = Path(__file__).parents[2] / "sample"
    out = tmp_path / "out"
    call("classify", export, "--out", out, "--provider", "cpu")
    page = tmp_path / "page.html"
    call("report", export, "--sidecars", out, "--out", page)
    data = reports.data_of(page)
    assert any("demonstration model" in text for text in data["warnings"])
    assert dict(data["facts"])["Trained on"] != "unknown here"
    for each in data["strips"]:
        told = each["activation"]
        assert len(told["values"]) == told["side"] ** 2
        assert max(map(abs, told["values"])) <= 100


def test_policy_lets_the_one_script_run_and_nothing_else(run: Path) -> None:
    text = reports.write(run).read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', text)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    for kind, name in (("script-src", "script"), ("style-src", "style")):
        (content,) = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_names_are_data_never_markup(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>&'\"</script><!--"
    folder = tmp_path / "@style@ <b>"
    reports.add(folder, name.replace("/", "_"), name.replace("/", "_"), 0.9)
    page = reports.write(folder)
    text = page.read_text(encoding="utf-8")
    assert "<img" not in text
    assert "<b>" not in text
    assert "<title>ctcedge: @style@ &lt;b&gt;</title>" in text
    assert reports.data_of(page)["samples"] == [name.replace("/", "_")]


def test_names_that_are_no_text_come_back_as_they_were(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9\x01")
    reports.add(tmp_path, odd, "1", 0.9)
    data = reports.data_of(reports.write(tmp_path))
    assert data["cells"]["path"] == [f"{odd}/1_BF.png"]


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
    reports.add(run, "S1", "00001", 0.97, review=review)
    plain = reports.data_of(reports.write(run))
    page = reports.write(run, pseudonymise=True)
    data, text = reports.data_of(page), page.read_text(encoding="utf-8")
    assert page.name == "ctcedge-pseudonymised-report.html"
    assert data["pseudonymised"] is True
    assert data["cells"]["sha256"] == plain["cells"]["sha256"]
    carried = json.dumps(data)
    for secret in ("S1", "00001", "Ada", "Miller", "run/", str(tmp_path), plain["run_id"]):
        assert secret not in carried
    assert "<title>ctcedge: run-" in text
    assert len(set(data["cells"]["path"])) == len(data["cells"]["path"])
    assert len(data["samples"]) == 2
    assert reports.data_of(reports.write(run, pseudonymise=True))["samples"] == data["samples"]
    key = run / KEY_NAME
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_bytes().hex() not in text
    key.unlink()
    assert reports.data_of(reports.write(run, pseudonymise=True))["samples"] != data["samples"]


def test_a_wrong_key_is_refused(run: Path) -> None:
    (run / KEY_NAME).write_bytes(b"short")
    with pytest.raises(OutputError, match="not a key of 32 bytes"):
        reports.write(run, pseudonymise=True)


def test_it_is_written_whole_or_not_at_all(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page.html"
    out.write_text("before", encoding="utf-8")

    def fail(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("ctcedge.report.montage.sheet", fail)
    with pytest.raises(KeyboardInterrupt):
        reports.write(run, out=out)
    assert out.read_text(encoding="utf-8") == "before"
    assert set(tmp_path.iterdir()) == {run, out}


def test_nothing_but_the_page_is_written(run: Path) -> None:
    before = state(run)
    page = reports.write(run)
    after = state(run)
    assert after.keys() - before.keys() == {page.name}
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("where", ["no/such/folder/page.html", "run"])
def test_a_place_that_cannot_be_written_is_named(run: Path, tmp_path: Path, where: str) -> None:
    with pytest.raises(OutputError, match=re.escape(str(tmp_path / where))):
        reports.write(run, out=tmp_path / where)


@pytest.mark.parametrize("name", ["S1/00003_BF.png", "S1/00003_BF.png.ctc.json", "ctcedge.toml"])
def test_what_is_no_page_is_not_replaced(run: Path, name: str) -> None:
    (run / "ctcedge.toml").touch()
    before = state(run)
    assert "ends in .html" in call("report", run, "--out", run / name, code=2).stderr
    assert state(run) == before


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(NoCropsError):
        reports.write(tmp_path)
    (tmp_path / "1_BF.png").write_bytes(encoded(cell()))
    with pytest.raises(SetupError, match="ctcedge classify"):
        reports.write(tmp_path)
    assert not (tmp_path / "ctcedge-report.html").exists()


def test_command_names_the_page(run: Path, tmp_path: Path) -> None:
    assert call("report", run).stdout == f"{run / 'ctcedge-report.html'}\n"
    call("classify", run, "--out", tmp_path / "out", "--provider", "cpu")
    page = tmp_path / "p.html"
    call("report", run, "--sidecars", tmp_path / "out", "--out", page, "--pseudonymise")
    assert reports.data_of(page)["pseudonymised"] is True
    assert "no crop" in call("report", run, "--sidecars", tmp_path / "none", code=2).stderr


def test_one_scale_for_all_tiles_in_um_where_that_is_known() -> None:
    assert tile_zooms([72, 72, 36], [0.5, 0.5, 1.0]) == pytest.approx([1, 1, 2])
    assert tile_zooms([144, 144, 72], [None, None, None]) == pytest.approx([0.5, 0.5, 0.5])
    assert tile_zooms([], []) == []


def test_bright_field_is_shown_alike_whatever_exposure_and_depth() -> None:
    dim = bright_field(cell(30, background=60, contrast=30))
    bright = bright_field(cell(30, background=30000, contrast=15000, dtype=np.uint16))
    assert abs(dim.astype(int) - bright).max() <= 3
    assert bright_field(cell(0)).std() < 1
    assert bright_field(np.zeros((8, 8), np.uint8)).shape == (8, 8)


def test_stains_of_a_sample_share_one_scale() -> None:
    faint, strong = cell(20, background=10, contrast=-20), cell(20, background=10, contrast=-200)
    scale = common_scale([faint, strong])
    assert scale.apply(faint).max() < scale.apply(strong).max() / 4
    empty = common_scale([np.full((16, 16), 7, np.uint8)])
    assert empty.apply(np.full((16, 16), 7, np.uint8)).max() == 0


def test_strips_of_unequal_and_large_pictures() -> None:
    one, other = np.zeros((600, 300), np.uint8), np.full((50, 50), 255, np.uint8)
    line, width, height, pitch = strip([one, other])
    assert (width, height, pitch) == (128, 256, 128)
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(line), np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels.shape == (256, 256)
    assert pixels[:, :128].max() < 20
    assert pixels[:, 128:].min() > 235
    assert strip([np.zeros((33, 42), np.uint8)])[1:] == (42, 33, 48)


def test_corrections_schema_is_valid() -> None:
    path = Path(reports.write_report.__globals__["__file__"]).parents[1]
    schema = json.loads((path / "sidecars" / "schemas" / "corrections-1.json").read_bytes())
    Draft202012Validator.check_schema(schema)
