from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import run, seeds, text_seeds
from tests.fuzz.targets import Targets

KEPT = sorted((Path(__file__).parent / "kept").iterdir())
INPUTS = 3000


def test_mutated_files_get_a_documented_answer(tmp_path: Path) -> None:
    counts, found = run.fuzz(INPUTS, seed=1, findings=tmp_path)
    assert found == []
    assert counts.total() == INPUTS
    assert len(counts) == len(run.mutate.TARGETS)


def test_the_same_number_makes_the_same_input() -> None:
    made = [run.mutate.make(1, index) for index in range(50)]
    assert [run.mutate.make(1, index) for index in range(50)] == made
    assert len({data for _, data in made}) > 40


@pytest.fixture
def targets(tmp_path: Path) -> Targets:
    return Targets(tmp_path)


@pytest.mark.parametrize("path", KEPT, ids=[path.name for path in KEPT])
def test_what_was_once_a_finding_is_none_any_more(
    path: Path, targets: Targets, capfd: pytest.CaptureFixture[str]
) -> None:
    targets.feed(path.name.partition("-")[0], path.read_bytes())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["png", "tiff", "sidecar", "settings"])
def test_what_mutations_start_from_is_sound(name: str, targets: Targets) -> None:
    for data in getattr(seeds, name)():
        targets.feed(name, data)


@pytest.mark.parametrize("name", ["table", "corrections", "controls", "pattern"])
def test_texts_that_mutations_start_from_are_sound(name: str, targets: Targets) -> None:
    for data in getattr(text_seeds, name)():
        targets.feed(name, data)


# The real run, but its inputs are replaced by one that goes wrong in a child process.
_FAULTY = """
import os, sys, time
from tests.fuzz import mutate, run
from tests.fuzz.targets import Targets

def feed(self, name, data):
    {what}

Targets.feed = feed
run.main()
"""


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("os.abort()", "crash: SIGABRT"),
        ("raise ZeroDivisionError('odd')", "ZeroDivisionError: odd"),
        ("os.write(2, b'libpng warning')", "chatter: libpng warning"),
        ("os._exit(3)", "ended early, with code 3"),
        ("bytes(1) * 2**30", "memory"),
        ("time.sleep(999)", "hang"),
    ],
)
def test_what_goes_wrong_is_a_finding(
    what: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = tmp_path / "faulty.py"
    faulty.write_text(_FAULTY.format(what=what))
    monkeypatch.setattr(run, "CHILD", str(faulty))
    monkeypatch.setenv("PYTHONPATH", str(Path(run.__file__).parents[2]))
    monkeypatch.setattr(run, "HANG", 2.0 if "sleep" in what else run.HANG)
    _, (found,) = run.fuzz(1, seed=1, findings=tmp_path / "findings")
    assert words in found
    kept, text = sorted((tmp_path / "findings").iterdir())
    assert kept.read_bytes() == run.mutate.make(1, 0)[1]
    assert f"--replay {kept}" in text.read_text()
