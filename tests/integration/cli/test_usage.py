"""Wrong usage, settings files and providers: messages and exit code 2."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from ctcedge.model.session import nvidia_driver_problem
from tests.helpers.cli_runner import call, run
from tests.helpers.drawn_cells import cell, save
from tests.helpers.sidecar_files import sidecars, state


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
    "batch of none": (["export", "--batch-size", "0"], "--batch-size must be"),
    "no size": (["export", "--um-per-px", "0"], "--um-per-px must be a number"),
    "no number": (["export", "--um-per-px", "nan"], "--um-per-px must be a number"),
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
def test_a_gpu_that_is_not_there(crops: Path, model_folder: Path) -> None:
    done = run("classify", crops, "--model", model_folder, "--provider", "cuda", code=2)
    assert "NVIDIA" in done.stderr
    assert "--provider cpu" in done.stderr
    assert sidecars(crops) == {}


@pytest.mark.skipif(nvidia_driver_problem() is None, reason="this machine has an NVIDIA GPU")
def test_auto_says_in_one_line_why_it_is_the_cpu(crops: Path, model_folder: Path) -> None:
    done = call("classify", crops, "--model", model_folder)
    (line,) = [line for line in done.stderr.splitlines() if "on CPU" in line]
    assert "CUDA is not usable: " in line


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,5", "'0,5' is not a number; write 0.5 with a point"),
        ("0_5", "'0_5' is not a number"),
        ("half", "'half' is not a number"),
    ],
)
def test_a_number_that_could_be_misread_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "1_BF.png").touch()
    done = call("inspect", tmp_path, "--um-per-px", text, code=2)
    assert message in " ".join(done.stderr.split())
