"""The Containerfile: what it copies exists; built and run where tools and base image are there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.sidecar_files import sidecars

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Containerfile").read_text(encoding="utf-8")
IMAGE = "localhost/ctcedge-test"
BASE = os.environ.get("CTCEDGE_CONTAINER_BASE")
"""Base image in the storage of buildah; None for the Containerfile's own, from its registry."""

COPIED = [
    word
    for line in re.findall(r"^COPY (?!--from)(.*)$", TEXT, re.MULTILINE)
    for word in line.split()[:-1]
]


@pytest.mark.parametrize("name", COPIED)
def test_what_is_copied_exists_and_is_not_ignored(name: str) -> None:
    assert (ROOT / name).exists()
    assert f"\n!{name}\n" in (ROOT / ".containerignore").read_text(encoding="utf-8")


def test_docker_and_podman_ignore_the_same() -> None:
    assert (ROOT / ".dockerignore").read_bytes() == (ROOT / ".containerignore").read_bytes()


def test_all_that_the_wheel_needs_is_copied() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wheel = project.partition("[tool.hatch.build.targets.wheel]")[2].partition("sdist]")[0]
    needed = set(re.findall(r'^(\w+) = "ctcedge/', wheel, re.MULTILINE)) | {"ctcedge", "train"}
    assert needed <= set(COPIED)


def test_it_does_not_run_as_root() -> None:
    (user,) = re.findall(r"^USER (\d+):\d+$", TEXT, re.MULTILINE)
    assert int(user) >= 10_000


def buildah(*words: object) -> subprocess.CompletedProcess[str]:
    command = ["buildah", "--storage-driver", "vfs", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def done(*words: object) -> str:
    ended = buildah(*words)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.strip()


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    """A container of the built image; skips where it cannot be built here."""
    if shutil.which("buildah") is None or os.geteuid() != 0:
        pytest.skip("buildah (Debian package buildah) is not installed, or this is not root")
    base = BASE or re.findall(r"^ARG BASE=(.*)$", TEXT, re.MULTILINE)[0]
    if BASE is None and (pulled := buildah("pull", base)).returncode:
        pytest.skip(f"{base} cannot be pulled here: {pulled.stderr.strip()[-200:]}")
    certificates = "/etc/ssl/certs:/etc/ssl/certs:ro"
    arguments = ("--build-arg", f"BASE={base}", "--volume", certificates, "--tag", IMAGE, ROOT)
    done("build", "--isolation", "chroot", "--layers=false", *arguments)
    name = done("from", IMAGE)
    try:
        yield name
    finally:
        buildah("rm", name)
        buildah("rmi", IMAGE)


@pytest.mark.container
@pytest.mark.timeout(1800)
def test_it_classifies_without_rights(container: str, tmp_path: Path) -> None:
    """As its own account; the export is mounted read-only."""
    out = tmp_path / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    export = ROOT / "tests" / "sample"
    volumes = ("--volume", f"{export}:/data/export:ro", "--volume", f"{out}:/data/calls")
    run = ("run", "--isolation", "chroot", *volumes, container, "--")
    done(*run, "sh", "-c", "id -u > /data/calls/account")  # what it prints is not always passed on
    assert (out / "account").read_text(encoding="utf-8") == "10001\n"
    done(*run, "ctcedge", "models", "verify")
    done(*run, "ctcedge", "classify", "/data/export", "--out", "/data/calls", "--um-per-px", "0.5")
    assert len(sidecars(out)) == 36
