from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ctcedge.pipeline.run import open_run
from ctcedge.service.watcher import Watcher
from ctcedge.settings import ImageSettings, Settings, WatchSettings
from tests.unit.service.watches import Place


@pytest.fixture
def place(tmp_path: Path, model_folder: Path) -> Place:
    return Place(tmp_path, model_folder)


@pytest.fixture
def watcher(tmp_path: Path, model_folder: Path) -> Iterator[Callable[..., Watcher]]:
    folder = tmp_path / "S"
    folder.mkdir()
    settings = Settings(ImageSettings(), WatchSettings(1.0, 0.001, 30.0), str(model_folder), "cpu")
    with open_run(folder, settings) as opened:
        yield lambda **options: Watcher(opened, **options)
