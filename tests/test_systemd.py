"""The unit file, checked by systemd's own tools where the machine has them."""

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1] / "systemd" / "ctcedge@.service"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@needs_systemd
def test_unit_is_valid(tmp_path: Path) -> None:
    installed = tmp_path / "ctcedge"
    installed.touch(mode=0o755)
    text = UNIT.read_text(encoding="utf-8").replace("/opt/ctcedge/bin/ctcedge", str(installed))
    (tmp_path / UNIT.name).write_text(text, encoding="utf-8")
    instance = str(tmp_path / "ctcedge@deparray-out.service")
    found = subprocess.run(["systemd-analyze", "verify", instance], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert tmp_path.name not in found.stderr


@needs_systemd
def test_unit_is_hardened(tmp_path: Path) -> None:
    copy = shutil.copy(UNIT, tmp_path)
    found = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=30", copy],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr
