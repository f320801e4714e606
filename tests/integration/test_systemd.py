"""The unit files: checked by systemd's own tools, and run by a real systemd where one boots."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import systemd_container
from tests.helpers.cli_runner import until
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, cell, save
from tests.helpers.sidecar_files import sidecars
from tests.helpers.systemd_container import Machine

UNITS = Path(__file__).parents[2] / "systemd"
TEMPLATE = UNITS / "ctcedge@.service"
DROP_INS = UNITS / "drop-ins"

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def analyze(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *map(str, words)], capture_output=True, text=True
    )


def version() -> int:
    match = re.match(r"systemd (\d+)", analyze("--version").stdout)
    assert match
    return int(match[1])


def laid_out(folder: Path, *drop_ins: str) -> Path:
    """The unit with drop-ins beside it, for a program that exists here."""
    program = folder / "ctcedge"
    program.touch(mode=0o755)
    text = TEMPLATE.read_text(encoding="utf-8").replace("/opt/ctcedge/bin/ctcedge", str(program))
    unit = folder / TEMPLATE.name
    unit.write_text(text, encoding="utf-8")
    for name in drop_ins:
        (folder / f"{TEMPLATE.name}.d").mkdir(exist_ok=True)
        shutil.copy(DROP_INS / name, folder / f"{TEMPLATE.name}.d")
    return unit


@needs_analyze
@pytest.mark.parametrize("drop_ins", [(), ("cpu-only.conf",), ("cpu-only.conf", "back-off.conf")])
def test_unit_is_valid(tmp_path: Path, drop_ins: tuple[str, ...]) -> None:
    if "back-off.conf" in drop_ins and version() < 254:
        pytest.skip("back-off.conf is for systemd 254 and newer")
    laid_out(tmp_path, *drop_ins)
    found = analyze("verify", tmp_path / "ctcedge@deparray-out.service")
    assert found.returncode == 0, found.stderr
    assert "ctcedge" not in found.stderr


@needs_analyze
@pytest.mark.parametrize(("drop_ins", "limit"), [((), 2.0), (("cpu-only.conf",), 1.5)])
def test_unit_is_hardened(tmp_path: Path, drop_ins: tuple[str, ...], limit: float) -> None:
    unit = laid_out(tmp_path, *drop_ins)
    found = analyze("security", "--offline=true", f"--threshold={limit * 10:.0f}", unit)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "Overall exposure level" in found.stdout


def test_unit_limits_memory_and_tasks() -> None:
    lines = TEMPLATE.read_text(encoding="utf-8").splitlines()
    assert "MemoryMax=75%" in lines
    assert "TasksMax=1024" in lines


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Machine]:
    """A booted machine with the tests' model in /opt/disks, where a hang shows within seconds."""
    if reason := systemd_container.missing():
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("machine") / "root"
    root.mkdir()
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(systemd_container.booted(root))
        except systemd_container.CannotBootError as error:
            pytest.skip(f"no container boots here: {error}")
        shutil.copytree(model_folder, root / "opt" / "disks")
        write(
            root / "etc" / "systemd" / "system" / "ctcedge@.service.d" / "tests.conf",
            "[Service]\nWatchdogSec=25\nTimeoutAbortSec=1\nTimeoutStartSec=60\nRestartSec=0.1\n",
        )
        yield made


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def start_by_hand(machine: Machine, folder: str) -> str:
    """Follow the instructions in the header of the unit; return the unit's name."""
    etc = machine.root / "etc"
    shutil.copy(TEMPLATE, etc / "systemd" / "system")
    write(etc / "sysusers.d" / "ctcedge.conf", (UNITS / "sysusers.d/ctcedge.conf").read_text())
    machine.run("systemd-sysusers")
    unit = machine.run("systemd-escape", "--path", "--template=ctcedge@.service", folder).strip()
    write(etc / "ctcedge" / f"{folder[1:]}.env", "CTCEDGE_OPTIONS=--model /opt/disks\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "enable", "--now", unit, check=False)
    return unit


def instance(unit: str) -> str:
    return unit.removeprefix("ctcedge@").removesuffix(".service")


def pid(machine: Machine, unit: str) -> str:
    return machine.show(unit, "MainPID")


@pytest.mark.systemd
@pytest.mark.parametrize("cpu_only", [False, True], ids=["as shipped", "cpu-only"])
def test_started_by_hand_it_classifies_and_stops(machine: Machine, cpu_only: bool) -> None:
    if cpu_only:
        drop_in = machine.root / "etc" / "systemd" / "system" / "ctcedge@.service.d"
        shutil.copy(DROP_INS / "cpu-only.conf", drop_in)
    folder = f"/deparray/a-b é {cpu_only:d}"
    export = machine.root / folder[1:]
    save(export / "S 1" / "00001_BF.png", cell(CTC))
    unit = start_by_hand(machine, folder)
    assert machine.show(unit, "ActiveState") == "active", machine.journal(unit)
    out = machine.root / "var" / "lib" / "ctcedge" / instance(unit)
    save(export / "S 1" / "00002_BF.tif", cell(CTC))
    until(lambda: len(sidecars(out)) == 2, "both sidecars")
    assert {record["call"] for record in sidecars(out).values()} == {"CTC"}

    main = pid(machine, unit)
    owner = machine.run("stat", "--format=%U:%G %a", f"/proc/{main}/root{out_of(machine, out)}")
    assert owner == "ctcedge:ctcedge 750\n"
    status = machine.run("cat", f"/proc/{main}/status")
    assert "Seccomp:\t2" in status
    assert "CapBnd:\t0000000000000000" in status
    inside = ("nsenter", "--mount", f"--target={main}")
    assert "Read-only file system" in machine.run(*inside, "touch", f"{folder}/x", check=False)
    assert machine.show(unit, "StatusText")
    assert "cpuinfo" not in machine.journal(unit)  # ONNX Runtime sees what the processor can do

    machine.run("systemctl", "disable", "--now", unit)
    assert machine.show(unit, "ActiveState") == "inactive"
    assert machine.show(unit, "Result") == "success", machine.journal(unit)
    assert len(sidecars(out)) == 2
    assert sorted(path.name for path in export.rglob("*.*")) == ["00001_BF.png", "00002_BF.tif"]


def out_of(machine: Machine, path: Path) -> str:
    """The machine's own name of a path."""
    return "/" + str(path.relative_to(machine.root))


@pytest.mark.systemd
def test_a_share_that_is_off_at_first_is_found_when_it_comes(machine: Machine) -> None:
    mount = machine.root / "etc" / "systemd" / "system" / "share.mount"
    write(mount, "[Mount]\nWhat=/no/such/device\nWhere=/share\nType=ext4\n")
    save(machine.root / "elsewhere" / "export" / "00001_BF.png", cell(CTC))
    unit = start_by_hand(machine, "/share/export")
    assert machine.show(unit, "ActiveState") == "activating"
    machine.run("mount", "--bind", "--mkdir", "/elsewhere", "/share")
    out = machine.root / "var" / "lib" / "ctcedge" / instance(unit)
    until(lambda: len(sidecars(out)) == 1, "a sidecar once the share is there")
    machine.run("systemctl", "disable", "--now", unit)


@pytest.mark.systemd
def test_what_root_adds_to_the_controls_counts_in_the_service(machine: Machine) -> None:
    for number in range(5):
        save(machine.root / "donor" / "D7" / f"{number}_BF.png", cell(LEUKOCYTE))
    as_root = ("env", "--unset=CTCEDGE_STATE", "/opt/ctcedge/bin/ctcedge")
    machine.run(*as_root, "classify", "/donor", "--model", "/opt/disks")
    machine.run(*as_root, "controls", "add", "/donor")
    save(machine.root / "export" / "00001_BF.png", cell(CTC))
    unit = start_by_hand(machine, "/export")
    out = machine.root / "var" / "lib" / "ctcedge" / instance(unit)
    until(lambda: len(sidecars(out)) == 1, "a sidecar")
    machine.run("systemctl", "disable", "--now", unit)
    journal = machine.journal(unit)
    assert "Expected false positives in a run of this size" in journal
    assert "from 1 healthy-donor sample of 5 cells" in journal


@pytest.mark.systemd
def test_installed_it_survives_crash_and_hang(machine: Machine) -> None:
    folder, out = '/lab data/50% "x" $HOME ${HOME} \\n é', "/data/calls;'%n"
    export = machine.root / folder[1:]
    save(export / "00001_BF.png", cell(CTC))
    program = "/opt/ctcedge/bin/ctcedge"
    words = (program, "service", "install", folder, "--out", out, "--model", "/opt/disks")
    before = sorted(os.listdir(machine.root / "etc" / "systemd" / "system"))
    assert "Dry run; nothing was changed" in machine.run(*words)
    assert sorted(os.listdir(machine.root / "etc" / "systemd" / "system")) == before

    assert "Done." in machine.run(*words, "--yes")
    unit = machine.run("systemd-escape", "--path", "--template=ctcedge@.service", folder).strip()
    assert "ActiveState: active" in machine.run(program, "service", "status", folder)
    seen = machine.root / out[1:]
    until(lambda: len(sidecars(seen)) == 1, "a sidecar")

    first = pid(machine, unit)
    machine.run("kill", "-KILL", first)
    save(export / "00002_BF.png", cell(CTC))
    until(lambda: len(sidecars(seen)) == 2, "a sidecar after the crash")
    assert int(machine.show(unit, "NRestarts")) >= 1

    until(lambda: machine.show(unit, "ActiveState") == "active", "ready after the crash")
    second = pid(machine, unit)
    assert second != first
    machine.run("kill", "-STOP", second)
    save(export / "00003_BF.png", cell(CTC))
    until(lambda: len(sidecars(seen)) == 3, "a sidecar after the hang")
    assert "Watchdog timeout" in machine.journal(unit)
    assert pid(machine, unit) != second

    assert "Done." in machine.run(program, "service", "uninstall", folder, "--yes")
    assert machine.show(unit, "ActiveState") == "inactive"
    assert not (machine.root / "etc" / "systemd" / "system" / f"{unit}.d").exists()
    assert "Service is not running" in machine.run(
        program, "service", "status", folder, check=False
    )
    assert len(sidecars(seen)) == 3


@pytest.mark.systemd
def test_a_service_that_cannot_start_is_an_error(machine: Machine) -> None:
    (machine.root / "empty").mkdir()
    program = "/opt/ctcedge/bin/ctcedge"
    words = (program, "service", "install", "/empty", "--model", "nothing", "--yes")
    assert "journalctl" in machine.run(*words, check=False)
    assert "no model" in machine.journal("ctcedge@empty.service")
    machine.run(program, "service", "uninstall", "/empty", "--yes")
