"""What a test of files needs: its own sub-folder in the watched folder."""

from __future__ import annotations

from pathlib import Path

from tests.fault.service import Service
from tests.helpers.cli_runner import Process


class Workbench:
    """A sub-folder in a watched folder, for one test."""

    def __init__(self, service: Service, running: Process, below: str) -> None:
        self.service, self.running, self.below = service, running, below
        self.folder = service.folder / below
        self.folder.mkdir()

    def name(self, name: str) -> str:
        return f"{self.below}/{name}"

    def put(self, name: str, data: bytes) -> Path:
        return self.service.put(self.name(name), data)

    def wait(self) -> None:
        """Wait until every crop here is done, and files that no longer change were checked."""
        self.service.wait_until_done(self.running, self.below)
        self.service.wait_for_unchanged_files(self.running)
        assert self.service.invariant.holds(self.below)

    def calls(self, name: str) -> list[str]:
        """Earlier calls of a crop and the present one; empty without a sidecar."""
        record = self.service.record(self.name(name))
        if record is None:
            return []
        return [entry["call"] for entry in record["history"]] + [record["call"]]
