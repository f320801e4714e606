from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import report_data


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder of crops with sidecars."""
    return report_data.run_of(tmp_path / "run")
