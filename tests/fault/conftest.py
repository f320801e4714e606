from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.service import Service
from tests.fault.workbench import Workbench
from tests.helpers.cli_runner import Process


@pytest.fixture
def service(tmp_path: Path, model_folder: Path) -> Service:
    return Service(tmp_path, model_folder)


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path
) -> Iterator[tuple[Service, Process]]:
    """A watch for the whole module; at its end the invariant holds, also after a restart."""
    service = Service(tmp_path_factory.mktemp("files"), model_folder)
    words = ("--rescan-interval", 0.5, "--decode-timeout", 3600)
    with service.watching(*words) as running:
        yield service, running
        service.wait_until_done(running)
        service.stop(running)
    service.check_after_restart(*words)


@pytest.fixture
def bench(watched: tuple[Service, Process], request: pytest.FixtureRequest) -> Workbench:
    service, running = watched
    return Workbench(service, running, f"{len(list(service.folder.iterdir()))} {request.node.name}")
