"""Planning and carrying out a service; a real systemd runs one in test_systemd.py."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from ctcedge.errors import SetupError
from ctcedge.service import systemd as service
from ctcedge.service.systemd import Remove, Run, Service, Step, Write, apply, quoted, unit_name
from tests.helpers.cli_runner import call

ODD_NAMES = {
    "/": "-",
    "/deparray/out": "deparray-out",
    "/deparray//out/": "deparray-out",
    "/a-b/c d": r"a\x2db-c\x20d",
    "/.hidden/.x": r"\x2ehidden-.x",
    "/100%/é": r"100\x25-\xc3\xa9",
    "/a\"b'c\\d$e": r"a\x22b\x27c\x5cd\x24e",
    "/a\nb": r"a\x0ab",
    "/x_y:z.~": r"x_y:z.\x7e",
}


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for units, on a machine where everyone has access to everything."""
    folder = tmp_path / "units"
    monkeypatch.setattr(service, "UNITS", folder)
    monkeypatch.setattr(service, "SYSUSERS", tmp_path / "sysusers" / "ctcedge.conf")
    monkeypatch.setattr(service, "_require_access", lambda *_: None)
    monkeypatch.setattr(service, "_require_readable", lambda *_: None)
    return folder


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Root under systemd; commands are only noted."""
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(service, "RUNNING", Path("/"))
    monkeypatch.setattr(Run, "apply", lambda self: ran.append(self.words))
    return ran


def drop_in(steps: list[Step]) -> str:
    (text,) = [s.text for s in steps if isinstance(s, Write) and s.path.name == "machine.conf"]
    return text


@pytest.mark.parametrize(("path", "instance"), ODD_NAMES.items())
def test_a_unit_is_named_as_systemd_escapes(path: str, instance: str) -> None:
    assert unit_name(Path(path)) == f"ctcedge@{instance}.service"


@pytest.mark.skipif(shutil.which("systemd-escape") is None, reason="systemd-escape is missing")
@pytest.mark.parametrize("path", [*ODD_NAMES, os.fsdecode(b"/\xff/\x01")])
def test_the_name_is_that_of_systemd_escape(path: str) -> None:
    words = ["systemd-escape", "--path", "--template=ctcedge@.service", "--", path]
    printed = subprocess.run(words, capture_output=True, check=True).stdout
    assert printed.decode().strip() == unit_name(Path(path))


def test_a_path_too_long_for_a_unit_is_refused() -> None:
    assert len(unit_name(Path("/" + "x" * 239))) == 255
    with pytest.raises(SetupError, match="shorter path"):
        unit_name(Path("/" + "x" * 240))


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/deparray/out", "/deparray/out"),
        ("--um-per-px", "--um-per-px"),
        ("", '""'),
        ("a b", '"a b"'),
        ("50%h", '"50%%h"'),
        ("${HOME}", '"${HOME}"'),
        ("\\x", '"\\\\x"'),
        ('"', '"\\""'),
        ("'", '"\'"'),
        (";", '";"'),
        ("#é", '"#é"'),
    ],
)
def test_a_word_in_a_unit(word: str, written: str) -> None:
    assert quoted(word) == written


@pytest.mark.parametrize("word", ["a\nExecStartPre=/bin/evil", "a\x1b", "a\x85", "a\udcff"])
def test_a_word_that_no_unit_can_contain_is_refused(word: str) -> None:
    with pytest.raises(SetupError, match="cannot be written to a unit file"):
        quoted(word)


def test_a_folder_with_a_newline_is_refused(units: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a\nb"
    folder.mkdir()
    done = call("service", "install", folder, code=2)
    assert "rename it" in done.stderr
    assert not units.exists()


def test_a_dry_run_shows_all_and_does_nothing(units: Path, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    done = call("service", "install", folder, "--um-per-px", 0.5, "--verbose")
    unit = unit_name(folder)
    assert f"write {units}/ctcedge@.service\n" in done.stdout
    assert f"write {units}/{unit}.d/machine.conf\n" in done.stdout
    assert "    Type=notify\n" in done.stdout
    assert "--um-per-px 0.5\n" in done.stdout
    assert "run systemctl restart" in done.stdout
    assert "nothing was changed" in done.stdout
    assert not units.exists()


def test_the_plan_has_ten_lines(
    units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where most files are written, one is removed, and folders are created."""
    folder, out = tmp_path / "export", tmp_path / "calls"
    folder.mkdir()
    monkeypatch.setattr(service, "_systemd_version", lambda: 255)
    unit = unit_name(folder)
    (units / f"{unit}.d").mkdir(parents=True)
    (units / f"{unit}.d" / "cpu-only.conf").touch()
    words = ("--out", out, "--metrics", tmp_path / "m" / "x.prom", "--um-per-px", 0.5)
    lines = call("service", "install", folder, *words).stdout.splitlines()
    assert len(lines) <= 10
    assert lines[0] == f"{unit}, as account ctcedge:"
    assert f"watch {folder} --out {out} --um-per-px 0.5 --metrics {tmp_path}/m/x.prom" in lines[1]
    assert lines[2:] == [
        f"write {units}/ctcedge@.service",
        f"write machine.conf, back-off.conf in {units}/{unit}.d",
        f"write {tmp_path}/sysusers/ctcedge.conf",
        f"remove {units}/{unit}.d/cpu-only.conf",
        f"run systemd-sysusers {tmp_path}/sysusers/ctcedge.conf",
        f"create {out}, {tmp_path}/m",
        f"run systemctl daemon-reload, enable {unit}, restart {unit}",
        "Dry run; nothing was changed. Pass --yes, as root, to apply. --verbose shows the files.",
    ]


def test_options_of_watch_are_passed_on_with_absolute_paths(
    units: Path, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my export").mkdir()
    Path("lab.toml").write_text("batch_size = 8\n")
    shutil.copytree(model_folder, "model")
    words = "--out calls --config lab.toml --model model --metrics m/x.prom --provider cuda --json"
    words += " --index cells.csv --verbose"
    done = call("service", "install", *words.split(), "my export", "--pattern", r"(?P<cell>\d+)%")
    (line,) = [s for s in done.stdout.splitlines() if s.startswith("    ExecStart=:")]
    assert line.partition(" watch ")[2] == (
        f'"{tmp_path}/my export" --out {tmp_path}/calls --model {tmp_path}/model --provider cuda'
        rf' --config {tmp_path}/lab.toml --pattern "(?P<cell>\\d+)%%"'
        f" --index {tmp_path}/cells.csv --metrics {tmp_path}/m/x.prom --json"
    )
    written = [s.strip() for s in done.stdout.splitlines() if s.startswith("    ReadWrite")]
    assert written == [f"ReadWritePaths={tmp_path}/calls", f"ReadWritePaths={tmp_path}/m"]
    assert f"--mode=0750 {tmp_path}/calls\n" in done.stdout
    assert "PrivateTmp=no" in done.stdout or not str(tmp_path).startswith("/tmp")
    assert "cpu-only" not in done.stdout


def test_the_settings_files_choice_of_out_and_provider_is_kept(units: Path, tmp_path: Path) -> None:
    config = tmp_path / "lab.toml"
    config.write_text('out = "/data/calls"\nprovider = "cpu"\n')
    done = call("service", "install", tmp_path, "--config", config, "--verbose")
    assert " --out /data/calls " in done.stdout
    assert "    ReadWritePaths=/data/calls\n" in done.stdout
    assert "cpu-only.conf\n" in done.stdout
    assert "    PrivateDevices=yes\n" in done.stdout


def test_sidecars_go_to_the_services_own_folder(units: Path) -> None:
    text = drop_in(Service(Path("/deparray/a-b")).install())
    assert 'watch /deparray/a-b --out "/var/lib/ctcedge/deparray-a\\\\x2db"\n' in text
    assert "ReadWritePaths" not in text


def test_a_folder_below_a_home_is_not_hidden(units: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_HOMES", ("/homes",))
    assert "ProtectHome" not in drop_in(Service(Path("/deparray")).install())
    assert "ProtectHome=read-only\n" in drop_in(Service(Path("/homes/lab/export")).install())


def test_another_account(units: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    steps = Service(Path("/deparray"), user=nobody.pw_name).install()
    assert "User=nobody\n" in drop_in(steps)
    assert not any("sysusers" in word for s in steps if isinstance(s, Run) for word in s.words)


WRONG_USE = {
    "no folder": ([], "Missing argument"),
    "not there": (["nowhere"], "does not exist"),
    "unknown option": ([".", "--colour"], "--colour"),
    "bad value": ([".", "--um-per-px", "0"], "--um-per-px must be a number between"),
    "force": ([".", "--force"], "at each start"),
    "mount": ([".", "--out", "/proc"], "give a folder below it"),
    "root": ([".", "--user", "root"], "must not run as root"),
    "no account": ([".", "--user", "no-such-one"], "there is no account"),
}


@pytest.mark.parametrize(("words", "message"), WRONG_USE.values(), ids=WRONG_USE)
def test_wrong_use(
    units: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("service", "install", *words, "--yes", code=2)
    assert message in done.stderr
    assert done.stdout == ""
    assert not units.exists()


def test_ctcedge_where_the_account_cannot_reach_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    (closed / "bin").mkdir(parents=True)
    for name in ("python", "ctcedge"):
        (closed / "bin" / name).touch()
    closed.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(closed / "bin" / "python"))
    with pytest.raises(SetupError, match="/opt/ctcedge"):
        Service(Path("/deparray")).install()


def test_without_systemd_nothing_is_done(
    units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "RUNNING", tmp_path / "nothing")
    for words in (("install", "--yes"), ("uninstall", "--yes"), ("status",)):
        done = call("service", words[0], tmp_path, *words[1:], code=2)
        assert "systemd does not run" in done.stderr
    assert not units.exists()


def test_without_root_nothing_is_done(
    units: Path,
    tmp_path: Path,
    as_root: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = call("service", "install", tmp_path, "--yes", code=2)
    assert "sudo " in done.stderr
    assert not units.exists()
    assert as_root == []


def test_installing_and_uninstalling(
    units: Path, tmp_path: Path, as_root: list[tuple[str, ...]]
) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        assert "Done." in call("service", "install", folder, "--yes").stdout
    first, second = map(unit_name, folders)
    assert as_root[-1] == ("systemctl", "restart", second)
    assert sorted(path.name for path in units.iterdir()) == sorted(
        ["ctcedge@.service", f"{first}.d", f"{second}.d"]
    )
    as_root.clear()
    call("service", "uninstall", folders[0], "--yes")
    assert as_root[0] == ("systemctl", "disable", "--now", first)
    assert sorted(path.name for path in units.iterdir()) == ["ctcedge@.service", f"{second}.d"]
    call("service", "uninstall", folders[1], "--yes")
    assert list(units.iterdir()) == []
    assert not service.SYSUSERS.exists()


def test_installing_again_follows_the_options(
    units: Path, tmp_path: Path, as_root: list[tuple[str, ...]]
) -> None:
    cpu_only = units / f"{unit_name(tmp_path)}.d" / "cpu-only.conf"
    call("service", "install", tmp_path, "--provider", "cpu", "--yes")
    assert cpu_only.exists()
    call("service", "install", tmp_path, "--yes")
    assert not cpu_only.exists()


def test_a_link_at_the_place_of_a_unit_file_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    unit = tmp_path / "unit"
    unit.symlink_to("precious/file")
    Write(unit, "[Service]\n").apply()
    assert not unit.is_symlink()
    assert (unit.read_text(), stat.S_IMODE(unit.stat().st_mode)) == ("[Service]\n", 0o644)
    folder = tmp_path / "unit.d"
    folder.symlink_to("precious")
    Remove(folder).apply()
    assert not folder.is_symlink()
    assert (tmp_path / "precious" / "file").read_text() == "kept"


def test_a_failed_step_prevents_the_following_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(service, "RUNNING", Path("/"))
    later = Write(tmp_path / "later", "")
    with pytest.raises(SetupError, match=r"sh -c 'echo why >&2; false' failed: why"):
        apply([Run(("sh", "-c", "echo why >&2; false")), later])
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="File exists"):
        apply([Write(tmp_path / "file" / "x", ""), later])
    with pytest.raises(SetupError, match="no-such-command: No such file"):
        apply([Run(("no-such-command",)), later])
    apply([Remove(tmp_path / "file"), Remove(tmp_path / "nothing")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
def test_what_is_written_is_valid(units: Path, tmp_path: Path) -> None:
    out = tmp_path / '50% "x" é\\'
    made = Service(tmp_path, out=out, options=("--pattern", r"(?P<cell>\d+) $x"), cpu_only=True)
    for step in made.install():
        if isinstance(step, Write):
            step.apply()
    template = units / "ctcedge@.service"
    text = template.read_text().replace("/opt/ctcedge/bin/ctcedge", "/bin/true")
    template.write_text(text)
    words = ["systemd-analyze", "verify", str(units / unit_name(tmp_path))]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ctcedge" not in done.stderr


def test_the_lab_file_of_the_variable_goes_into_the_unit(
    units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = tmp_path / "my lab.toml"
    lab.write_text(f'out = "{tmp_path}/calls"\n', encoding="utf-8")
    monkeypatch.setenv("CTCEDGE_CONFIG", str(lab))
    assert f'"CTCEDGE_CONFIG={lab}" ' in call("service", "install", tmp_path).stdout
    text = call("service", "install", tmp_path, "--verbose").stdout
    assert f'Environment="CTCEDGE_CONFIG={lab}"' in text
    assert f"ReadWritePaths={tmp_path}/calls" in text
    assert f"--config {lab}" not in text


def test_a_lab_file_that_the_account_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = tmp_path / "lab.toml"
    lab.touch(mode=0o600)
    account = service._Account("x", None, "x", frozenset())
    monkeypatch.setattr(service._Account, "has_access", lambda *_: False)
    with pytest.raises(SetupError, match=r"account 'x' cannot read .*lab.toml.*sudo chmod o\+x /"):
        service._require_readable(account, lab)
    monkeypatch.setattr(
        service._Account, "has_access", lambda _, path, bit=1: path.is_dir() and bit == 1
    )
    with pytest.raises(SetupError, match=r"sudo chmod o\+r .*lab.toml"):
        service._require_readable(account, lab)
