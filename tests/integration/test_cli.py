from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ctcedge
from ctcedge.classification.ood import DomainShift, OodScore, RunFeatures
from ctcedge.model.session import Engine, nvidia_driver_problem
from ctcedge.quality.checks import Quality
from tests.helpers.disk_model import EditableModel
from tests.helpers.support import (
    DATA,
    call,
    cell,
    command,
    encoded,
    process,
    run,
    save,
    sidecar,
    sidecars,
    state,
    stray,
)

MODEL_CALLS = {"CTC": 2, "leukocyte": 1, "review": 1}


def test_version() -> None:
    assert run("--version").stdout == f"ctcedge {ctcedge.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        "classify",
        "watch",
        "inspect",
        "doctor",
        "models",
        "models list",
        "models show",
        "models verify",
    ],
)
def test_every_commands_help_shows_an_example(words: str) -> None:
    assert "Example: ctcedge " + words.split()[0] in call(*words.split(), "--help").stdout


def test_help_names_commands_and_exit_codes() -> None:
    text = run("--help").stdout
    for word in ("classify", "watch", "inspect", "models", "doctor", "status", "Exit codes", "130"):
        assert word in text


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, ctcedge.cli.app\n"
        "try: ctcedge.cli.app.app(['classify', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'cv2', 'onnxruntime', 'watchdog', 'torch'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_classify_writes_sidecars_and_the_second_run_does_nothing(
    crops: Path, model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    before = state(crops)
    first = run("classify", crops, "--out", out, "--model", model_folder)
    assert set(sidecars(out)) == {
        "S1/00001_BF.png",
        "S1/00002_BF.png",
        "S1/00003_BF.png",
        "S2/Cell_00034_Brightfield.tif",
    }
    assert {r["cell"] for r in sidecars(out).values()} == {"00001", "00002", "00003", "00034"}
    assert {r["sample"] for r in sidecars(out).values()} == {"S1", "S2"}
    assert len([path for path in out.rglob("*") if path.is_file()]) == 4
    assert state(crops) == before
    assert "Nothing to do" not in first.stdout
    for word in ("Demonstration model", "um/px not given", "disks 1.0.0 (int8) on CPU"):
        assert word in first.stderr

    written = state(out)
    second = run("classify", crops, "--out", out, "--model", model_folder, "--batch-size", 1)
    assert "Nothing to do" in second.stdout
    assert state(out) == written

    forced = run("classify", crops, "--out", out, "--model", model_folder, "--force", "--json")
    assert json.loads(forced.stdout)["written"] == 4
    assert [len(record["history"]) for record in sidecars(out).values()] == [1] * 4


def test_classify_beside_the_images(crops: Path, model_folder: Path) -> None:
    call("classify", crops, "--model", model_folder, "--provider", "cpu")
    assert len(sidecars(crops)) == 4
    assert sidecar(crops / "S1" / "00001_BF.png").exists()


def test_json_is_all_of_standard_output(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    save(crops / "S1" / "00009_BF.png", cell()).write_bytes(b"broken")
    done = run(
        "classify", crops, "--out", tmp_path / "o", "--model", model_folder, "--json", code=3
    )
    summary = json.loads(done.stdout)
    assert summary["finished"] is True
    assert summary["calls"] == MODEL_CALLS
    assert (summary["crops"], summary["written"], summary["current"]) == (5, 5, 0)
    assert summary["provider"] == "cpu"
    assert summary["um_per_px_assumed"] is True
    ((path, error),) = [each.values() for each in summary["unclassified"]]
    assert path == "S1/00009_BF.png"
    assert error.startswith("unreadable: ")


def test_an_unclassified_crop_is_listed_with_exit_3_each_time(
    crops: Path, model_folder: Path
) -> None:
    (crops / "S1" / "00009_BF.png").write_bytes(b"")
    for again in (False, True):
        done = run("classify", crops, "--model", model_folder, code=3)
        assert "1 unclassified" in done.stderr
        assert "S1/00009_BF.png: unreadable: empty file" in done.stderr
        assert ("Nothing to do" in done.stdout) == again
    assert len(sidecars(crops)) == 5


def test_a_forbidden_image_is_told_of(crops: Path, model_folder: Path) -> None:
    path = crops / "S1" / "00001_BF.png"
    path.chmod(0)
    under: tuple[str, ...] = ()
    if os.access(path, os.R_OK):
        if not shutil.which("setpriv"):
            pytest.skip("this user reads whatever it likes, and setpriv is missing")
        caps = "-dac_override,-dac_read_search"
        under = ("setpriv", "--bounding-set", caps, "--inh-caps", caps)
    try:
        done = run("classify", crops, "--model", model_folder, code=3, under=under)
        assert "00001_BF.png: unreadable: cannot be read: Permission denied" in done.stderr
    finally:
        path.chmod(0o600)
    record = sidecars(crops)["S1/00001_BF.png"]
    assert (record["status"], record["image"]["sha256"]) == ("unreadable", None)
    run("classify", crops, "--model", model_folder)


def test_a_fifo_does_not_block_and_odd_entries_get_no_sidecar(
    crops: Path, model_folder: Path
) -> None:
    os.mkfifo(crops / "S1" / "1_BF.png")
    (crops / "S1" / "2_BF.png").symlink_to(crops / "S1" / "00001_BF.png")
    (crops / "3_BF.png").mkdir()
    call("classify", crops, "--model", model_folder)
    assert len(sidecars(crops)) == 4


NAMES = [
    'a b\'s "c"_BF.png',
    "a\nb_BF.png",
    "[red]x[_BF.png",
    "[/]_BF.png",
    "\x1b[31mx\a_BF.png",
    ":warning: x_BF.png",
    "Zoë_BF.png",
    os.fsdecode(b"\xff\xfe_BF.png"),
    "back\\slash\\_BF.png",
]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_from_outside_are_shown_harmlessly(
    model_folder: Path, tmp_path: Path, encoding: str
) -> None:
    folder = tmp_path / "[bold]S\x1b[1m"
    for name in NAMES:
        try:
            save(folder / name, cell())
            (folder / name.replace("_BF", "x_BF")).write_bytes(b"")
        except OSError as error:
            pytest.skip(f"this file system refuses such names: {error}")
    env = {"PYTHONIOENCODING": encoding}
    for words in (["classify", "--model", model_folder], ["inspect"]):
        code = 3 if words[0] == "classify" else 0
        done = run(words[0], folder, *words[1:], code=code, env=env)
        text = done.stdout + done.stderr
        assert "\x1b" not in text
        assert "\a" not in text
        assert ":warning: xx_BF.png" in text
        assert "[red]x[x_BF.png" in text
    assert len(sidecars(folder)) == 2 * len(NAMES)
    done = run("classify", folder, "--model", model_folder, "--json", code=3, env=env)
    assert {each["path"] for each in json.loads(done.stdout)["unclassified"]} == {
        name.replace("_BF", "x_BF") for name in NAMES
    }


def test_an_error_message_shows_names_harmlessly(tmp_path: Path) -> None:
    done = call("classify", tmp_path / "[red]\x1b[31m:warning:", code=2)
    assert "\x1b" not in done.stderr
    assert "[red]" in done.stderr
    assert ":warning:" in done.stderr


def test_nothing_matched_says_what_was_found_and_what_to_do(tmp_path: Path) -> None:
    for number in range(9):
        save(tmp_path / f"scan{number}.png", cell())
    done = run("classify", tmp_path, code=2)
    assert "scan0.png" in done.stderr
    assert "scan8.png" not in done.stderr
    assert "--pattern" in done.stderr
    assert done.stdout == ""


def test_only_other_channels_is_told_apart(tmp_path: Path) -> None:
    save(tmp_path / "1_DAPI.png", cell())
    assert "DAPI but none of bright field" in call("classify", tmp_path, code=2).stderr


def test_an_own_pattern(model_folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "in" / "P1" / "scan007.png", cell())
    pattern = r"(?P<sample>P\d)/scan(?P<cell>\d+)\.png"
    call("classify", tmp_path / "in", "--model", model_folder, "--pattern", pattern)
    (record,) = sidecars(tmp_path / "in").values()
    assert (record["sample"], record["cell"]) == ("P1", "007")


WRONG_USE: dict[str, tuple[list[str], str]] = {
    "no such folder": (["nowhere"], "does not exist"),
    "a file": (["export/labels.csv"], "is a file"),
    "unknown flag": (["export", "--colour"], "--colour"),
    "unknown provider": (["export", "--provider", "gpu"], "gpu"),
    "unknown model": (["export", "--model", "nothing"], "no model folder or shipped model"),
    "batch of none": (["export", "--batch-size", "0"], "batch_size"),
    "no size": (["export", "--um-per-px", "0"], "um_per_px' must be a number"),
    "no number": (["export", "--um-per-px", "nan"], "um_per_px' must be a number"),
    "bad pattern": (["export", "--pattern", "("], "--pattern"),
    "no cell": (["export", "--pattern", "(.*)"], "group named cell"),
    "no settings": (["export", "--config", "nowhere.toml"], "nowhere.toml: cannot be read"),
    "settings": (["export", "--config", "bad.toml"], "unknown key 'modle'"),
    "out is a file": (["export", "--out", "export/labels.csv"], "labels.csv"),
}


@pytest.mark.parametrize(("words", "message"), WRONG_USE.values(), ids=WRONG_USE)
def test_wrong_use_is_exit_2_and_says_what_is_wrong(
    crops: Path,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(crops.parent)
    Path("bad.toml").write_text("modle = 'x'")
    model = [] if "--model" in words else ["--model", model_folder]
    done = call("classify", *words, *model, code=2)
    assert message in done.stderr
    assert done.stdout == ""
    assert sidecars(crops) == {}


def test_settings_of_the_folder_and_of_flags(crops: Path, model_folder: Path) -> None:
    (crops / "ctcedge.toml").write_text("[images]\num_per_px = 0.25\n")
    call("classify", crops, "--model", model_folder)
    assert {r["image"]["um_per_px"] for r in sidecars(crops).values()} == {0.25}
    call("classify", crops, "--model", model_folder, "--um-per-px", "0.75")
    assert {r["image"]["um_per_px"] for r in sidecars(crops).values()} == {0.75}


def test_the_folders_settings_may_not_choose_model_or_output(
    crops: Path, model_folder: Path, tmp_path: Path
) -> None:
    (crops / "ctcedge.toml").write_text(f'out = "{tmp_path}/elsewhere"\n')
    done = call("classify", crops, "--model", model_folder, code=2)
    assert "unknown key 'out'" in done.stderr
    assert not (tmp_path / "elsewhere").exists()


def test_a_settings_file_may_hold_all(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "lab.toml"
    config.write_text(f'model = "{model_folder}"\nout = "{tmp_path}/o"\n[images]\num_per_px = 0.5')
    call("classify", crops, "--config", config)
    assert len(sidecars(tmp_path / "o")) == 4


@pytest.mark.parametrize("words", ["classify", "watch"])
def test_another_samples_sidecar_is_exit_2_and_untouched(
    model_folder: Path, tmp_path: Path, words: str
) -> None:
    for sample in ("A", "B"):
        save(tmp_path / sample / "1_BF.png", cell())
        save(tmp_path / sample / f"0{sample}_BF.png", cell())
    out = tmp_path / "out"
    call("classify", tmp_path / "A", "--out", out, "--model", model_folder)
    before = state(out)
    done = call(words, tmp_path / "B", "--out", out, "--model", model_folder, code=2)
    assert "belongs to sample 'A', not 'B'" in done.stderr
    assert state(out) == before


@pytest.mark.skipif(nvidia_driver_problem() is None, reason="this machine has an NVIDIA GPU")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there(crops: Path, model_folder: Path, provider: str) -> None:
    done = run("classify", crops, "--model", model_folder, "--provider", provider, code=2)
    assert "NVIDIA" in done.stderr
    assert "--provider cpu" in done.stderr
    assert sidecars(crops) == {}


@pytest.mark.skipif(nvidia_driver_problem() is None, reason="this machine has an NVIDIA GPU")
def test_auto_says_in_one_line_why_it_is_the_cpu(crops: Path, model_folder: Path) -> None:
    done = call("classify", crops, "--model", model_folder)
    (line,) = [line for line in done.stderr.splitlines() if "on CPU" in line]
    assert "CUDA is not usable here: " in line


def test_a_second_writer_is_refused(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    descriptor = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        done = call("classify", crops, "--out", out, "--model", model_folder, code=2)
        assert "another ctcedge is writing" in done.stderr
        assert list(out.iterdir()) == []
    finally:
        os.close(descriptor)
    call("classify", crops, "--out", out, "--model", model_folder)


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_an_interrupted_run_keeps_what_it_did_and_goes_on_later(
    model_folder: Path, tmp_path: Path, signum: int, code: int
) -> None:
    folder, out = tmp_path / "S", tmp_path / "out"
    for number in range(300):
        save(folder / f"{number:03}_BF.png", cell())
    words = ("classify", folder, "--out", out, "--model", model_folder, "--batch-size", 2)
    with process(*words, "--json", log=tmp_path / "log", slowly=True) as running:
        running.until(lambda: any(out.glob("*.ctc.json")))
        exit_code, output = running.stop(signum)
    summary: dict[str, Any] = json.loads(output)
    assert (exit_code, summary["finished"]) == (code, False)
    kept = state(out)
    assert len(sidecars(out)) == summary["written"] == len(kept) < 300
    assert stray(out) == []
    run(*words)
    assert len(sidecars(out)) == 300
    assert {name: state(out)[name] for name in kept} == kept


def test_models_list_names_the_shipped() -> None:
    listed = json.loads(call("models", "list", "--json").stdout)
    call("models", "list")
    assert [each["name"] for each in listed] == sorted(each["name"] for each in listed)


def test_models_show_tells_facts_and_card(model_folder: Path) -> None:
    text = call("models", "show", model_folder).stdout
    for word in ("name: disks", "threshold: 0.5", "prior: 0.5", "For tests: sees disks."):
        assert word in text
    facts = json.loads(call("models", "show", model_folder, "--json").stdout)
    assert (facts["name"], facts["demonstration"]) == ("disks", True)


def test_models_verify(model_folder: Path) -> None:
    assert "file hashes match" in call("models", "verify", model_folder).stdout
    result = json.loads(call("models", "verify", model_folder, "--json").stdout)
    assert result["verified"] is True
    assert result["largest_difference"] <= 0.001


POINTS = {
    "screening": {
        "aim": "sensitivity of at least 95%",
        "threshold": 0.31,
        "sensitivity": {"value": 0.962, "low": 0.93, "high": 0.98},
        "false_calls_per_10000": {"value": 812, "low": 700, "high": 950},
        "false_calls_upper": 921,
        "ctcs": 300,
        "others": 2000,
        "samples": 19,
    },
    "balanced": None,
    "confirm": None,
}


def test_an_operating_point_and_a_prevalence(crops: Path, model_copy: EditableModel) -> None:
    model_copy.edit(lambda spec: spec.update(operating_points=POINTS))
    plain = call("classify", crops, "--model", model_copy.folder)
    for words in (
        "Decision: the model's own: CTC from 0.6, review from 0.4",
        "assume a CTC fraction of 0.5, as in training",
        "0.9 at one in 2 is 0.0018 at one in 5,000",
    ):
        assert words in plain.stderr
    before = sidecars(crops)
    told = call(
        *("classify", crops, "--model", model_copy.folder, "--json"),
        *("--operating-point", "screening", "--prevalence", 0.0002),
    )
    summary = json.loads(told.stdout)
    for words in (
        f"Operating point screening: CTC from {summary['threshold']:g}, review from",
        "sensitivity 96.2% (93.0% to 98.0%), false positives per 10,000 negatives 812 (700 to 950)",
        "a CTC fraction of 0.0002 (one in 5,000), as given: 0.9 at the training fraction of 0.5",
        "is 0.0018 here; calls do not change",
    ):
        assert words in told.stderr
    assert (summary["operating_point"], summary["prior"]) == ("screening", 0.0002)
    assert summary["threshold"] == pytest.approx(0.31 / 0.69 / 4999, rel=1e-3)
    assert summary["written"] == summary["rescored"] == 4
    for name, record in sidecars(crops).items():
        assert record["operating_point"] == "screening"
        assert record["score"] == before[name]["score"]
        assert record["history"][0]["call"] == before[name]["call"]


def test_a_decision_in_the_settings_file(
    crops: Path, model_copy: EditableModel, tmp_path: Path
) -> None:
    model_copy.edit(lambda spec: spec.update(operating_points=POINTS))
    config = tmp_path / "c.toml"
    config.write_text('[decision]\noperating_point = "screening"\nprevalence = 0.001\n')
    call("classify", crops, "--model", model_copy.folder, "--config", config)
    assert {(r["operating_point"], r["prior"]) for r in sidecars(crops).values()} == {
        ("screening", 0.001)
    }


def test_an_operating_point_that_is_not_there_is_exit_2_and_says_what_is(
    crops: Path, model_copy: EditableModel
) -> None:
    words = ("classify", crops, "--model", model_copy.folder, "--operating-point", "confirm")
    assert "nobody measured any" in call(*words, code=2).stderr
    model_copy.edit(lambda spec: spec.update(operating_points=POINTS))
    told = call(*words, code=2).stderr
    assert "could not support it" in told
    assert "it has screening" in told
    assert sidecars(crops) == {}
    assert "'best' is not one of" in call(*words[:-1], "best", code=2).stderr


def test_the_summary_tells_why_review_and_clusters_and_what_is_unknown(
    crops: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = iter([Quality((), True, {}), Quality(("debris",), False, {}), Quality((), True, {})])
    monkeypatch.setattr(
        "ctcedge.classification.classifier.assess",
        lambda images, *_: [next(looked, Quality((), False, {})) for _ in images],
    )
    told = call("classify", crops, "--model", model_folder).stdout
    assert "clusters (1 CTC, 1 leukocyte, 0 review)" in told
    assert "Review reasons: debris (1), near-threshold (1)" in told
    assert "False CTC calls to expect at this size, were there no CTC: unknown here" in told
    assert "Domain shift: unknown, as the model has no feature statistics" in told
    summary = json.loads(call("classify", crops, "--model", model_folder, "--json").stdout)
    assert summary["clusters"] == {"CTC": 1, "leukocyte": 1, "review": 0}
    assert summary["review_reasons"] == {"debris": 1, "near-threshold": 1}
    assert summary["expected_false_positives"] is None
    assert (summary["likeness"], summary["likeness_together"]) == ({}, None)
    told = call("status", crops).stdout
    assert "clusters (1 CTC, 1 leukocyte, 0 review)" in told
    assert "Review reasons: debris (1), near-threshold (1)" in told


@pytest.mark.parametrize("least", [1, 2, 4, 9])
def test_what_is_unlike_the_training_data_is_warned_of(
    crops: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    class Stranger:
        def score(self, inputs: np.ndarray, features: object) -> list[OodScore]:
            return [OodScore(9.0, 0.5, (1.0,)) for _ in inputs]

        def domain_shift(self, run: RunFeatures) -> DomainShift:
            if run.crops < least:
                return DomainShift("insufficient", run.crops, None)
            return DomainShift("unlike", run.crops, 3.5)

    answer = Engine.answer
    monkeypatch.setattr(
        "ctcedge.classification.classifier.OodDetector.load", lambda model: Stranger()
    )
    monkeypatch.setattr(
        Engine,
        "answer",
        lambda self, inputs: replace(answer(self, inputs), features=np.zeros((len(inputs), 1))),
    )
    told = call("classify", crops, "--model", model_folder)
    summary = json.loads(call("classify", crops, "--model", model_folder, "--json").stdout)
    states = {sample: each["state"] for sample, each in summary["likeness"].items()}
    warned = " from the model's training images (domain shift, distance 3.5"
    if least == 2:  # S1 holds three crops, S2 one
        assert f"Sample S1 differs{warned}" in told.stderr
        assert states == {"S1": "unlike", "S2": "insufficient"}
    elif least == 1:
        assert "2 samples differ from the model's training images" in told.stderr
        assert "\n  S1: 3.5\n  S2: 3.5\n" in told.stderr
    elif least == 4:
        assert f"All crops together differ{warned}" in told.stderr
        assert summary["likeness_together"] == {"state": "unlike", "crops": 4, "distance": 3.5}
    else:
        assert "training images" not in told.stderr
    assert summary["calls"] == MODEL_CALLS


def test_models_show_tells_operating_points(model_copy: EditableModel) -> None:
    before = call("models", "show", model_copy.folder).stdout
    for name in ("screening", "balanced", "confirm"):
        assert f"operating point {name}: none: not measured" in before
    model_copy.edit(lambda spec: spec.update(operating_points=POINTS))
    text = call("models", "show", model_copy.folder).stdout
    for words in (
        "operating point screening: threshold 0.31 (sensitivity of at least 95%)",
        "sensitivity 96.2% (93.0% to 98.0%)",
        "per 10,000 negatives 812 (700 to 950)",
        "300 simulated CTCs and 2,000 negatives of 19 samples",
        "operating point confirm: none: the test cells could not support it",
    ):
        assert words in text
    facts = json.loads(call("models", "show", model_copy.folder, "--json").stdout)
    assert facts["operating_points"]["screening"]["threshold"] == 0.31
    assert facts["operating_points"]["confirm"] is None


@pytest.mark.parametrize("words", [["models", "verify"], ["models", "show"], ["classify"]])
def test_a_bad_model_folder_is_exit_2(
    model_copy: EditableModel, crops: Path, words: list[str]
) -> None:
    model_copy.edit(lambda spec: spec.update(colour="red"))
    words = [*words, str(crops), "--model"] if words == ["classify"] else words
    assert "unknown key 'colour'" in call(*words, model_copy.folder, code=2).stderr


def test_a_changed_graph_is_exit_2(model_copy: EditableModel, crops: Path) -> None:
    with (model_copy.folder / "model.int8.onnx").open("ab") as file:
        file.write(b"\0")
    for words in (["models", "verify"], ["classify", crops, "--model"]):
        assert "SHA-256 differs" in call(*words, model_copy.folder, code=2).stderr
    assert sidecars(crops) == {}


def test_odd_images_do_not_make_the_libraries_chatter(model_folder: Path, tmp_path: Path) -> None:
    if not (DATA / "jurkat").is_dir():
        pytest.skip("../shared/data/jurkat is missing")
    folder = tmp_path / "S"
    folder.mkdir()
    for path in sorted((DATA / "jurkat" / "Experiment_2").glob("*_Brightfield.tif"))[:5]:
        shutil.copy(path, folder)
    (folder / "1_BF.tif").write_bytes(encoded(cell(), ".tif")[:-20])
    done = run("classify", folder, "--model", model_folder, code=3)
    for word in ("TIFF:", "libpng", "OpenCV", "warning:", "tags"):
        assert word not in done.stderr


def test_a_progress_bar_on_a_terminal_only(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    assert "Classifying" not in call("classify", crops, "--model", model_folder).stderr
    if not shutil.which("script"):
        pytest.skip("script(1) is missing, which gives a terminal")
    import shlex

    line = shlex.join([*command("classify", crops, "--model", model_folder, "--force")])
    done = subprocess.run(
        ["script", "-qec", line, "/dev/null"],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm"},
    )
    assert done.returncode == 0
    assert "Classifying" in done.stdout


def test_an_empty_path_is_refused_rather_than_taken_for_this_folder(tmp_path: Path) -> None:
    for words in (
        ("classify", ""),
        ("classify", tmp_path, "--out", ""),
        ("inspect", ""),
        ("doctor", ""),
        ("watch", tmp_path, "--metrics", ""),
    ):
        assert "must not be empty" in call(*words, code=2).stderr
    (tmp_path / "ctcedge.toml").write_text('out = ""')
    config = ("--config", tmp_path / "ctcedge.toml")
    assert "must not be empty" in call("classify", tmp_path, *config, code=2).stderr


def test_results_that_find_no_room_are_told_of(crops: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(command("status", crops, "--json"), stdout=full, stderr=-1, text=True)
    assert done.returncode == 2
    assert "standard output cannot be written: No space left" in done.stderr


def close_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no folder be read whose name begins with "closed"."""
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if Path(path).name.startswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)


def test_a_sub_folder_that_cannot_be_read_is_told_and_is_exit_3(
    crops: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (crops / "closed").mkdir()
    close_folders(monkeypatch)
    done = call("classify", crops, "--model", model_folder, "--json", code=3)
    assert json.loads(done.stdout)["unclassified"] == [
        {"path": "closed", "error": "folder cannot be read: Permission denied"}
    ]
    found = json.loads(call("inspect", crops, "--json", code=0).stdout)
    assert [each["path"] for each in found["unreadable_folders"]] == ["closed"]


@pytest.mark.parametrize(
    "words",
    [["status"], ["verify"], ["export"], ["report"], ["controls", "add"]],
    ids=" ".join,
)
def test_cells_of_a_folder_that_cannot_be_read_are_not_left_out_in_silence(
    crops: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    save(crops / "closed" / "1_BF.png", cell())
    call("classify", crops, "--model", model_folder, code=0)
    model = ["--model", model_folder] if words[0] in ("status", "verify") else []
    call(*words, crops, *model, code=0)
    close_folders(monkeypatch)
    done = call(*words, crops, *model, code=3)
    assert "1 folder cannot be read; its cells are left out:" in done.stderr
    assert "closed: folder cannot be read: Permission denied" in done.stderr
    assert "without an image" not in done.stdout


def test_of_many_folders_that_cannot_be_read_some_are_named_and_the_rest_counted(
    crops: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("classify", crops, "--model", model_folder, code=0)
    for number in range(25):
        (crops / f"closed-{number}").mkdir()
    close_folders(monkeypatch)
    told = call("status", crops, "--model", model_folder, code=3).stderr
    assert "25 folders cannot be read; their cells are left out:" in told
    assert told.count("Permission denied") == 20
    assert "and 5 more" in told


@pytest.mark.parametrize("name", ["README.md", "golden.npz"])
def test_a_model_file_that_is_not_used_is_checked_all_the_same(
    crops: Path, model_folder: Path, tmp_path: Path, name: str
) -> None:
    changed = shutil.copytree(model_folder, tmp_path / "changed")
    with open(changed / name, "ab") as file:
        file.write(b"x")
    assert name in run("classify", crops, "--model", changed, code=2).stderr
    assert sidecars(crops) == {}
