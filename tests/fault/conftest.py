from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.service import Service


@pytest.fixture
def service(tmp_path: Path, model_folder: Path) -> Service:
    return Service(tmp_path, model_folder)
