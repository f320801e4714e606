"""The shipped files for Prometheus and Grafana: alert rules and a dashboard."""

from __future__ import annotations

from pathlib import Path

from ctcedge.errors import OutputError
from ctcedge.fs.files import atomic_write
from ctcedge.service.systemd import shipped

ALERTS = "ctcedge-alerts.yml"
DASHBOARD = "ctcedge-dashboard.json"


def write_files(folder: Path) -> list[Path]:
    """Write the files into a folder, where earlier versions of them are replaced.

    Returns:
        Their paths.

    Raises:
        OutputError: the folder is missing, or a file cannot be written.
    """
    paths = [folder / name for name in (ALERTS, DASHBOARD)]
    for path in paths:
        text = shipped(f"monitoring/{path.name}")
        try:
            atomic_write(path, text.encode(), world_readable=True)
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be written ({error.strerror}); name a folder that exists and that"
                " you may write to"
            ) from None
    return paths
