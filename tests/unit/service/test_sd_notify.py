"""The protocol between a service and systemd, over real datagram sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctcedge.service.sd_notify import Notifier


class Manager:
    """A service manager's end of the protocol."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096, socket.MSG_DONTWAIT).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    here = tmp_path / "notify é"
    made = Manager(str(here) if request.param == "path" else f"@ctcedge-test-{os.getpid()}")
    yield made
    made.close()


def test_a_service_from_start_to_end(manager: Manager) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.address})
    notifier.ready("0 done, 3 pending, on CPU")
    notifier.status("3 done, 0 pending, on CPU")
    notifier.stopping()
    assert manager.heard() == [
        "READY=1\nSTATUS=0 done, 3 pending, on CPU",
        "STATUS=3 done, 0 pending, on CPU",
        "STOPPING=1",
    ]


def test_three_pings_are_sent_per_interval(manager: Manager) -> None:
    clock = Clock()
    env = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000"}
    notifier = Notifier.from_environment(env, clock)
    assert notifier.ping_interval == 10.0
    sent = []
    for _ in range(7):
        notifier.watchdog_ping()
        sent.append(len(manager.heard()))
        clock.now += 5
    assert sent == [1, 0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("pid", "expected"),
    [
        pytest.param(None, 1, id="not set"),
        pytest.param(str(os.getpid()), 1, id="this process"),
        pytest.param(str(os.getppid()), 0, id="another process"),
        pytest.param("", 0, id="empty"),
    ],
)
def test_the_watchdog_of_another_process_is_not_pinged(
    manager: Manager, pid: str | None, expected: int
) -> None:
    env = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000"}
    Notifier.from_environment(env if pid is None else {**env, "WATCHDOG_PID": pid}).watchdog_ping()
    assert manager.heard() == ["WATCHDOG=1"] * expected


@pytest.mark.parametrize("microseconds", ["", "0", "-1", "1.5", "soon", "٣x"])
def test_an_invalid_watchdog_interval_is_ignored(manager: Manager, microseconds: str) -> None:
    env = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": microseconds}
    notifier = Notifier.from_environment(env)
    notifier.watchdog_ping()
    assert notifier.ping_interval is None
    assert manager.heard() == []


def test_a_status_is_one_line_and_sent_once(manager: Manager) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.address})
    for _ in range(2):
        notifier.status("cannot read\nSTOPPING=1\r\n \udce9")
    assert manager.heard() == ["STATUS=cannot read STOPPING=1 \\udce9"]


def test_a_message_that_was_not_received_is_sent_again(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"}
    notifier = Notifier.from_environment(env, Clock())
    notifier.ready("starting")
    for _ in range(2):
        notifier.status("working")
        notifier.watchdog_ping()
    manager = Manager(address)
    notifier.status("working")
    notifier.watchdog_ping()
    assert manager.heard() == ["STATUS=working", "WATCHDOG=1"]
    manager.close()


@pytest.mark.parametrize("address", [None, "", "relative", "vsock:2:9999", "/" + "x" * 200, "/"])
def test_without_a_service_manager_nothing_happens(address: str | None) -> None:
    env = {"WATCHDOG_USEC": "1"} | ({} if address is None else {"NOTIFY_SOCKET": address})
    before = dict(env)
    notifier = Notifier.from_environment(env)
    notifier.ready("")
    notifier.status("x")
    notifier.watchdog_ping()
    notifier.stopping()
    assert env == before


def test_a_number_without_end_is_no_interval() -> None:
    for digits in (21, 400, 5000):
        env = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "9" * digits}
        assert Notifier.from_environment(env).ping_interval is None
