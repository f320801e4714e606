from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from ctcedge.errors import SettingsError
from ctcedge.results.pattern_file import write_pattern
from ctcedge.settings import FOLDER_CONFIG


@pytest.mark.parametrize("pattern", ["{cell}.png", "x'{cell}.png", '{cell}"\\.png', "明{cell}.png"])
@pytest.mark.parametrize(
    "before",
    [
        None,
        "",
        "# the lab's\nprovider = 'cpu'",
        "[images]\num_per_px = 0.5\n",
        " [ images ] # names\num_per_px = 0.5\n\n[watch]\nstability_delay = 2\n",
        "[watch]\nstability_delay = 2\n\n[images]",
        "[images.channels]\nBF = ['Vis']\n",
    ],
)
def test_the_pattern_is_added_and_all_else_stays(
    tmp_path: Path, before: str | None, pattern: str
) -> None:
    if before is not None:
        (tmp_path / FOLDER_CONFIG).write_text(before)
    path = write_pattern(tmp_path, pattern)
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    assert content["images"].pop("pattern") == pattern
    assert content == {"images": {}, **tomllib.loads(before or "")}
    assert all(line in path.read_text().splitlines() for line in (before or "").splitlines())


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("[images]\npattern = '{cell}'\n", "has a pattern already.*pattern = '{cell}.png'"),
        ("images.um_per_px = 0.5\n", "write this line into the images of"),
        ("images = {um_per_px = 0.5}\n", "write this line into the images of"),
        ("text = '''\n[images]\n'''\n", "write this line into the images of"),
        ("[images\n", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_changed_stays(tmp_path: Path, before: str, message: str) -> None:
    (tmp_path / FOLDER_CONFIG).write_text(before)
    with pytest.raises(SettingsError, match=message):
        write_pattern(tmp_path, "{cell}.png")
    assert (tmp_path / FOLDER_CONFIG).read_text() == before
