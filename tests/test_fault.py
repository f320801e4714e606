from __future__ import annotations

from pathlib import Path

import pytest
from support import Process, cell, process, run, save, sidecars, state, stray

COUNT = 300


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "S"
    for number in range(COUNT):
        save(folder / f"{number:05}_BF.png", cell())
    return folder


def until_more_than(count: int, out: Path, running: Process) -> None:
    running.until(lambda: len(list(out.glob("*.ctc.json"))) > count)


@pytest.mark.parametrize("command", ["classify", "watch"])
def test_after_kill_9_nothing_is_missing_doubled_or_left_over(
    many: Path, model_folder: Path, tmp_path: Path, command: str
) -> None:
    out = tmp_path / "out"
    words = (many, "--out", out, "--model", model_folder, "--batch-size", 2)
    kept: dict[str, tuple[int, int]] = {}
    for _ in range(3):
        with process(command, *words, log=tmp_path / "log", slowly=True) as running:
            until_more_than(len(kept), out, running)
            running.popen.kill()
            running.popen.wait()
        whole = {f"{name}.ctc.json": record for name, record in sidecars(out).items()}
        now = {name: state(out)[name] for name in whole}
        assert {name: now[name] for name in kept} == kept
        kept = now
    assert 0 < len(kept) < COUNT
    (out / ".ctcedge-4194304-0.tmp").write_bytes(b"{")

    run("classify", *words)
    assert set(sidecars(out)) == {f"{number:05}_BF.png" for number in range(COUNT)}
    assert all(record["history"] == [] for record in sidecars(out).values())
    assert {name: state(out)[name] for name in kept} == kept
    assert stray(out) == []
    assert len([path for path in out.rglob("*") if path.is_file()]) == COUNT


@pytest.mark.parametrize("torn", [b"", b"\0" * 400, b'{"schema": "ctcedge/sidecar/1", "sta'])
def test_a_sidecar_torn_by_a_power_cut_is_written_again(
    crops: Path, model_folder: Path, torn: bytes
) -> None:
    run("classify", crops, "--model", model_folder)
    path = crops / "S1" / "00001_BF.png.ctc.json"
    whole = state(crops)
    path.write_bytes(torn)
    run("classify", crops, "--model", model_folder)
    assert len(sidecars(crops)) == 4
    after = state(crops)
    changed = {name for name in after if after[name] != whole.get(name)}
    assert changed == {"S1/00001_BF.png.ctc.json"}
