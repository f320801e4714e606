"""Metrics: the text format, word for word, and a file that is always whole."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import stat
from pathlib import Path

import pytest

import ctcedge
from ctcedge.classification.ood import DomainShift, State
from ctcedge.service.prometheus import MetricsFile, render, write
from ctcedge.service.watch_state import WatchState
from tests.helpers.cli_runner import process
from tests.helpers.drawn_cells import cell, save
from tests.helpers.promtool import needs_promtool, promtool

SHA256 = "0123456789abcdef" * 4
_LABEL = re.compile(r'([a-z_][a-z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(?:,|$)')
_SAMPLE = re.compile(r"(?P<name>[a-z_]+)\{(?P<labels>.*)\} (?P<value>-?[0-9.e+-]+)")

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> tuple[dict[str, str], Series]:
    """Types by metric and values by name and labels; stricter than Prometheus is."""
    types: dict[str, str] = {}
    helped: list[str] = []
    series: Series = {}
    assert text.endswith("\n")
    for line in text.removesuffix("\n").split("\n"):
        assert line.isprintable()
        if line.startswith("# HELP "):
            _, _, name, meaning = line.split(" ", 3)
            assert name not in helped
            assert meaning
            helped.append(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert helped[-1] == name
            assert name not in types
            types[name] = kind
        else:
            match = _SAMPLE.fullmatch(line)
            assert match, line
            labels = _LABEL.findall(match["labels"])
            assert "".join(m.group() for m in _LABEL.finditer(match["labels"])) == match["labels"]
            assert len(dict(labels)) == len(labels)
            current = helped[-1]
            suffixes = ("_bucket", "_sum", "_count") if types[current] == "histogram" else ("",)
            assert match["name"] in {current + suffix for suffix in suffixes}
            assert current.endswith("_total") == (types[current] == "counter")
            key = match["name"], frozenset(labels)
            assert key not in series
            series[key] = float(match["value"])
    assert set(helped) == set(types)
    return types, series


def value(series: Series, name: str, **labels: str) -> float:
    return series[f"ctcedge_{name}", frozenset({"watch": "lab", **labels}.items())]


@pytest.fixture
def state() -> WatchState:
    state = WatchState("cpu", "sim-resnet18 0.1.0", SHA256, started=1_700_000_000.25)
    state.pending = 7
    state.tally.calls.update(CTC=2, leukocyte=40)
    state.statuses.update(classified=42, unreadable=3)
    state.done.update({"written": 45, "current": 5, "not-written": 1})
    state.last_success = 1_700_000_100.5
    for size in (1, 20, 24):
        state.batches.observe(size)
    for seconds in (0.01, 0.02, 500.0):
        state.latencies.observe(seconds)
    return state


@pytest.fixture
def fresh() -> WatchState:
    return WatchState("cuda", "m 1", SHA256, started=0.0)


def test_version_model_and_provider(state: WatchState) -> None:
    _, series = parse(render(state, "lab"))
    what = {"version": ctcedge.__version__, "model": "sim-resnet18 0.1.0", "model_sha256": SHA256}
    assert value(series, "info", provider="cpu", **what) == 1
    assert value(series, "start_time_seconds") == 1_700_000_000.25


def test_crops_are_counted_once_by_status_and_call(state: WatchState) -> None:
    _, series = parse(render(state, "lab"))
    crops = {
        (dict(labels)["status"], dict(labels)["call"]): count
        for (name, labels), count in series.items()
        if name == "ctcedge_crops_total"
    }
    assert crops == {
        ("classified", "CTC"): 2,
        ("classified", "leukocyte"): 40,
        ("classified", "review"): 0,
        ("unreadable", ""): 3,
        ("unsupported", ""): 0,
    }
    assert value(series, "outcomes_total", done="written") == sum(crops.values())
    assert value(series, "outcomes_total", done="not-written") == 1
    assert value(series, "outcomes_total", done="deferred") == 0


def test_images_that_are_not_understood_are_counted(state: WatchState) -> None:
    state.not_understood = 7
    _, series = parse(render(state, "lab"))
    assert value(series, "not_understood_images") == 7


def test_clusters_and_reasons_are_counted(state: WatchState) -> None:
    state.tally.clusters.update(CTC=1)
    state.tally.review_reasons.update({"near-threshold": 2, "empty": 1})
    _, series = parse(render(state, "lab"))
    assert value(series, "clusters_total", call="CTC") == 1
    assert value(series, "clusters_total", call="review") == 0
    assert value(series, "review_reasons_total", reason="near-threshold") == 2
    assert value(series, "review_reasons_total", reason="empty") == 1


@pytest.mark.parametrize(("kind", "shifted"), [("in-distribution", 0), ("shifted", 1)])
def test_domain_shift_of_the_latest_crops(state: WatchState, kind: State, shifted: int) -> None:
    state.domain_shift = DomainShift(kind, 500, 0.75)
    _, series = parse(render(state, "lab"))
    assert value(series, "domain_shift") == shifted
    assert value(series, "training_distance") == 0.75


@pytest.mark.parametrize("shift", [None, DomainShift("insufficient", 3, None)])
def test_an_unknown_domain_shift_is_not_exported(
    state: WatchState, shift: DomainShift | None
) -> None:
    state.domain_shift = shift
    assert "training" not in render(state, "lab")


def test_pending_problem_and_last_success(state: WatchState) -> None:
    _, series = parse(render(state, "lab"))
    assert value(series, "pending_crops") == 7
    assert value(series, "degraded") == 0
    assert value(series, "last_success_timestamp_seconds") == 1_700_000_100.5
    state.problem = "cannot write into /data/AnnaExample"
    text = render(state, "lab")
    assert value(parse(text)[1], "degraded") == 1
    assert "AnnaExample" not in text


def test_before_the_first_success_its_time_is_not_exported(fresh: WatchState) -> None:
    assert "last_success" not in render(fresh, "lab")


def test_buckets_are_cumulative_and_end_at_infinity(state: WatchState) -> None:
    types, series = parse(render(state, "lab").replace("+Inf", "1e999"))
    assert types["ctcedge_batch_crops"] == types["ctcedge_latency_seconds"] == "histogram"

    def buckets(name: str) -> dict[float, float]:
        return {
            float(dict(labels)["le"]): count
            for (key, labels), count in series.items()
            if key == f"ctcedge_{name}_bucket"
        }

    assert buckets("batch_crops") == {1: 1, 4: 1, 16: 1, 64: 3, 256: 3, float("inf"): 3}
    assert buckets("latency_seconds") == {
        bound: 1 if bound < 0.03 else 3 if bound > 60 else 2 for bound in buckets("latency_seconds")
    }
    assert value(series, "batch_crops_sum") == 45
    assert value(series, "batch_crops_count") == 3
    assert value(series, "latency_seconds_sum") == 500.03


@pytest.mark.parametrize(
    "name", ['a"b', "a\\b", "a\nb", "a\\nb", "Zoë {,}=", os.fsdecode(b"\xff"), ""]
)
def test_any_file_name_is_a_label(fresh: WatchState, name: str) -> None:
    _, series = parse(render(fresh, name))
    (label,) = {dict(labels)["watch"] for _, labels in series}
    unescaped = re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], label)
    assert unescaped == name.encode("utf-8", "backslashreplace").decode()


@needs_promtool
@pytest.mark.parametrize("which", ["state", "fresh"])
def test_promtool_reports_nothing(request: pytest.FixtureRequest, which: str) -> None:
    for watch in ("lab", 'a\\"b\n'):
        text = render(request.getfixturevalue(which), watch)
        done = promtool("check", "metrics", text=text)
        assert (done.returncode, done.stdout) == (0, "")


def test_the_file_is_complete_readable_by_all_and_alone(state: WatchState, tmp_path: Path) -> None:
    path = tmp_path / "lab.prom"
    before = os.umask(0o077)
    try:
        write(path, state)
    finally:
        os.umask(before)
    assert path.read_text(encoding="utf-8") == render(state, "lab")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_replaced_and_never_rewritten(state: WatchState, tmp_path: Path) -> None:
    path = tmp_path / "lab.prom"
    write(path, state)
    with open(path, encoding="utf-8") as reader:
        write(path, dataclasses.replace(state, pending=0))
        assert reader.read() == render(state, "lab")
    assert "ctcedge_pending_crops{" in path.read_text(encoding="utf-8")


def test_a_link_is_replaced_not_followed(state: WatchState, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept", encoding="utf-8")
    for name in (".lab.prom.tmp", "lab.prom"):
        (tmp_path / name).symlink_to(precious)
    write(tmp_path / "lab.prom", state)
    assert precious.read_text(encoding="utf-8") == "kept"
    assert not (tmp_path / "lab.prom").is_symlink()
    assert (tmp_path / "lab.prom").read_text(encoding="utf-8") == render(state, "lab")


def test_a_failure_to_write_and_its_end_are_logged_once(
    state: WatchState, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ctcedge")
    path = tmp_path / "missing" / "lab.prom"
    file = MetricsFile(path)
    for _ in range(3):
        file.update(state)
    path.parent.mkdir()
    for _ in range(3):
        file.update(state)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "No such file or directory" in caplog.records[0].getMessage()
    assert path.exists()


def test_a_failed_write_leaves_nothing(state: WatchState, tmp_path: Path) -> None:
    path = tmp_path / "lab.prom"
    path.mkdir()
    with pytest.raises(OSError):
        write(path, state)
    assert list(tmp_path.iterdir()) == [path]


def test_watch_keeps_the_file(model_folder: Path, tmp_path: Path) -> None:
    folder, path = tmp_path / "in", tmp_path / "lab.prom"
    save(folder / "AnnaExample" / "00077_BF.png", cell())
    words = ["watch", folder, "--out", tmp_path / "out", "--model", model_folder]
    with process(*words, "--metrics", path, log=tmp_path / "log") as running:
        running.until(path.exists)
        running.until(lambda: list((tmp_path / "out").rglob("*.ctc.json")))
        assert running.stop()[0] == 0
    text = path.read_text(encoding="utf-8")
    assert value(parse(text)[1], "crops_total", status="classified", call="CTC") == 1
    assert value(parse(text)[1], "pending_crops") == 0
    assert "AnnaExample" not in text
    assert "00077" not in text


def test_watch_works_without_its_metrics(model_folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "in" / "1_BF.png", cell())
    words = ["watch", tmp_path / "in", "--model", model_folder, "--metrics", tmp_path / "no" / "x"]
    with process(*words, log=tmp_path / "log") as running:
        running.until(lambda: list((tmp_path / "in").rglob("*.ctc.json")))
        assert running.stop()[0] == 0
    assert running.stderr.count("metrics cannot be written") == 1
