from __future__ import annotations

from pathlib import Path

import pytest

from ctcedge import cpus


def quota(root: Path, membership: str) -> float | None:
    (root / "membership").write_text(membership)
    return cpus._cgroup_quota(root / "membership", root / "hierarchy")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    group = tmp_path / "hierarchy" / "system.slice" / "ctcedge.service"
    group.mkdir(parents=True)
    (group.parent / "cpu.max").write_text("max 100000\n")
    return tmp_path


@pytest.mark.parametrize(
    ("limit", "cores"), [("250000 100000\n", 2.5), ("max 100000\n", None), ("", None)]
)
def test_the_quota_of_the_control_group(root: Path, limit: str, cores: float | None) -> None:
    (root / "hierarchy/system.slice/ctcedge.service/cpu.max").write_text(limit)
    assert quota(root, "0::/system.slice/ctcedge.service\n") == cores


def test_the_smallest_quota_of_all_groups_above_counts(root: Path) -> None:
    (root / "hierarchy/system.slice/ctcedge.service/cpu.max").write_text("400000 100000\n")
    (root / "hierarchy/system.slice/cpu.max").write_text("150000 100000\n")
    assert quota(root, "0::/system.slice/ctcedge.service\n") == 1.5


@pytest.mark.parametrize("membership", ["", "4:cpu:/docker\n", "0::/gone\n"])
def test_where_there_is_no_control_group(root: Path, membership: str) -> None:
    assert quota(root, membership) is None


@pytest.mark.parametrize(("limit", "expected"), [(None, 8), (2.5, 2), (0.5, 1), (64.0, 8)])
def test_cores_and_quota(
    monkeypatch: pytest.MonkeyPatch, limit: float | None, expected: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(cpus, "_cgroup_quota", lambda: limit)
    assert cpus.available_cpus() == expected
