"""um/px from the image files: used where nobody gives it, a warning where it contradicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.helpers.cli_runner import call, run
from tests.helpers.drawn_cells import cell
from tests.helpers.sidecar_files import sidecars
from tests.helpers.tiff_writer import write_tiff

OWN = 0.5
"""um/px of the model."""


def resolution(um_per_px: float) -> dict[int, Any]:
    return {282: (round(1e7 / um_per_px), 1000), 283: (round(1e7 / um_per_px), 1000), 296: (3,)}


def write(folder: Path, stated: dict[str, float | None]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, (name, um_per_px) in enumerate(stated.items()):
        tags = {} if um_per_px is None else resolution(um_per_px)
        data = write_tiff(cell(24 + number, 64), tags=tags)
        (folder / f"{name}_BF.tif").write_bytes(data)
    return folder


def classified(folder: Path, model: Path, *options: object) -> tuple[dict[str, Any], str]:
    done = run("classify", folder, "--model", model, "--json", *options)
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary, " ".join(done.stderr.split())


def images(folder: Path) -> dict[str, tuple[float, str | None, float | None]]:
    return {
        name.partition("_")[0]: (
            record["image"]["um_per_px"],
            record["image"].get("um_per_px_source"),
            record["image"].get("um_per_px_file"),
        )
        for name, record in sidecars(folder).items()
    }


def test_what_the_files_state_is_used_where_nobody_gives_it(
    tmp_path: Path, model_folder: Path
) -> None:
    folder = write(tmp_path / "S1", {"a": 0.25, "b": 0.4, "c": 0.25})
    summary, text = classified(folder, model_folder)
    assert images(folder) == {
        "a": (0.25, "file", 0.25),
        "b": (0.4, "file", 0.4),
        "c": (0.25, "file", 0.25),
    }
    assert summary["um_per_px_assumed"] is False
    assert summary["warnings"] == []
    assert "um/px 0.25, as the images state it" in text
    # Each crop has the score that it has where its um/px is given.
    scores = {name: record["score"] for name, record in sidecars(folder).items()}
    for um_per_px, names in ((0.25, "ac"), (0.4, "b")):
        out = tmp_path / f"out{um_per_px}"
        call("classify", folder, "--model", model_folder, "--um-per-px", um_per_px, "--out", out)
        for name in names:
            assert sidecars(out)[f"{name}_BF.tif"]["score"] == scores[f"{name}_BF.tif"]
    assert (
        json.loads(run("verify", folder, "--model", model_folder, "--json").stdout)["different"]
        == []
    )
    again, _ = classified(folder, model_folder)
    assert (again["current"], again["um_per_px_assumed"]) == (3, False)


def test_a_contradiction_is_a_warning_everywhere(tmp_path: Path, model_folder: Path) -> None:
    folder = write(tmp_path / "S1", {"a": 0.25, "b": 0.25})
    summary, text = classified(folder, model_folder, "--um-per-px", "0.5")
    assert images(folder)["a"] == (0.5, None, 0.25)
    (warning,) = summary["warnings"]
    assert "0.5 was given" in warning and "2 crops" in warning and "0.25" in warning
    assert text.count("um/px contradiction") == 2  # before the run, and after it
    page = folder / "ctcedge-report.html"
    call("report", folder, "--model", model_folder, "--out", page)
    assert "um/px contradiction" in page.read_text()
    shown = run("inspect", folder, "--um-per-px", "0.5")
    assert "um/px that the images state: 0.25 (2)" in shown.stdout
    assert "um/px contradiction" in shown.stderr
    summary, text = classified(folder, model_folder, "--um-per-px", "0.2501", "--force")
    assert (summary["warnings"], "contradiction" in text) == ([], False)


def test_a_missing_um_per_px_is_a_warning_everywhere(tmp_path: Path, model_folder: Path) -> None:
    folder = write(tmp_path / "S1", {"a": None, "b": 254.0})  # 100 dots per inch
    summary, text = classified(folder, model_folder)
    assert images(folder) == {"a": (OWN, None, None), "b": (OWN, None, None)}
    assert summary["um_per_px_assumed"] is True
    (warning,) = summary["warnings"]
    assert "The um/px of 2 crops was not given" in warning
    assert "um/px not given, and no image found that states it" in text
    again, text = classified(folder, model_folder)
    assert (again["current"], again["um_per_px_assumed"]) == (2, True)
    assert "um/px not given" in text
    assert "none (2)" in run("inspect", folder).stdout


def test_inspect_lists_what_the_files_state(tmp_path: Path) -> None:
    folder = write(tmp_path / "S1", {"a": 0.25, "b": None})
    shown = json.loads(run("inspect", folder, "--json").stdout)
    assert shown["um_per_px_in_files"] == {"0.25": 1, "none": 1}
    assert shown["um_per_px"] is None
