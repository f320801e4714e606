"""Names from outside, progress and other output on a terminal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.cli_runner import call, command, run
from tests.helpers.drawn_cells import cell, encoded, save
from tests.helpers.real_data import DATA
from tests.helpers.sidecar_files import sidecars

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


def test_odd_images_do_not_make_the_libraries_chatter(model_folder: Path, tmp_path: Path) -> None:
    if not (DATA / "jurkat").is_dir():
        pytest.skip(f"the real images are not here: {DATA / 'jurkat'}")
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


def test_results_that_find_no_room_are_told_of(crops: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(command("status", crops, "--json"), stdout=full, stderr=-1, text=True)
    assert done.returncode == 2
    assert "standard output cannot be written: No space left" in done.stderr
