"""A watch in a process of its own, and what a watcher in this process needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ctcedge.pipeline.outcome import Outcome
from ctcedge.service.watcher import Watcher
from tests.helpers.cli_runner import Process, process
from tests.helpers.drawn_cells import cell, save
from tests.helpers.sidecar_files import load


class Place:
    """A watched folder with its sidecars elsewhere."""

    def __init__(self, root: Path, model: Path) -> None:
        self.folder, self.out, self.root, self.model = root / "in", root / "out", root, model
        self.folder.mkdir()

    @contextmanager
    def watching(self, *words: object, ready: bool = True) -> Iterator[Process]:
        arguments = ["watch", self.folder, "--out", self.out, "--model", self.model]
        arguments += ["--provider", "cpu", "--stability-delay", 0.2, *words]
        if ready:
            os.utime(save(self.folder / "ready_BF.png", cell()), (0, 0))
        with process(*arguments, log=self.root / "log") as running:
            if ready:
                self.waits_for(running, "ready_BF.png")
            yield running

    def record(self, name: str) -> dict[str, Any] | None:
        path = self.out / (name + ".ctc.json")
        return load(path) if path.exists() else None

    def waits_for(self, running: Process, *names: str, **fields: Any) -> None:
        def there() -> bool:
            found = [self.record(name) for name in names]
            return all(r and {k: r[k] for k in fields} == fields for r in found)

        running.until(there, f"{names} {fields}")


class Clock:
    """A clock that a test advances, and that advances a little with each reading."""

    now = 1000.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


def collected(watcher: Watcher, count: int) -> list[Outcome]:
    """A number of outcomes; then the watcher is stopped."""
    outcomes = []
    for outcome in watcher.outcomes():
        outcomes.append(outcome)
        if len(outcomes) == count:
            watcher.stop()
    return outcomes


def without_events(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_events(*arguments: object, **options: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("watchdog.observers.api.BaseObserver.schedule", no_events)
