from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import report_data as reports


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder of crops with sidecars."""
    return reports.run_of(tmp_path / "run")
