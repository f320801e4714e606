"""The shipped dashboard and alert rules: they fit the metrics that the code really exports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctcedge.classification.ood import DomainShift
from ctcedge.service.monitoring import ALERTS, DASHBOARD
from ctcedge.service.prometheus import render
from ctcedge.service.watch_state import WatchState
from tests.helpers.cli_runner import call
from tests.helpers.promtool import needs_promtool, promtool

ROOT = Path(__file__).parents[3]
FILES = ROOT / "systemd" / "monitoring"
RULES = (FILES / ALERTS).read_text(encoding="utf-8")
RULE_TESTS = Path(__file__).with_name("alerts_test.yml")

OF_THE_COLLECTOR = {"node_textfile_mtime_seconds": {"file"}}
OF_THE_SCRAPE = {"job", "instance"}
_SAMPLE = re.compile(r"^(\w+)\{(.*)\} (.*)$", re.MULTILINE)
_SELECTOR = re.compile(r"\b((?:ctcedge|node)_\w+)(?:\{([^}]*)\})?")
_GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")


def exported() -> dict[str, set[str]]:
    """Labels by the name of every metric, for a watch that has counted everything."""
    state = WatchState("cpu", "m 1", "0" * 64, started=0.0)
    state.last_success = 1.0
    state.domain_shift = DomainShift("shifted", 500, 1.5)
    state.tally.review_reasons.update(empty=1)
    labels: dict[str, set[str]] = {}
    for name, braces, _ in _SAMPLE.findall(render(state, "lab")):
        labels.setdefault(name, set()).update(re.findall(r"(\w+)=", braces))
    return labels


def series() -> Iterator[tuple[str, str]]:
    """Series that grow, as promtool takes them, of the same metrics."""
    state = WatchState("cpu", "m 1", "0" * 64, started=0.0)
    state.last_success = 1.0
    state.domain_shift = DomainShift("shifted", 500, 1.5)
    state.tally.review_reasons.update(empty=1)
    for name, braces, _ in _SAMPLE.findall(render(state, "lab")):
        yield f'{name}{{{braces},job="node",instance="pc"}}', "1+1x60"
    yield 'node_textfile_mtime_seconds{job="node",instance="pc",file="/x/lab.prom"}', "1+1x60"


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FILES / DASHBOARD).read_text(encoding="utf-8"))
    return content


def queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def rules() -> list[str]:
    """Queries of the alert rules, on one line each."""
    found = re.findall(r"^        expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)", RULES, re.MULTILINE)
    return [" ".join((folded or plain).split()) for folded, plain in found]


@pytest.mark.parametrize("query", [*queries(), *rules()])
def test_queries_use_metrics_and_labels_that_exist(query: str) -> None:
    known = exported() | OF_THE_COLLECTOR
    used = set()
    for name, braces in _SELECTOR.findall(query):
        assert name in known, f"no such metric: {name}"
        matched = set(re.findall(r"(\w+)(?:=~|!=|!~|=)", braces))
        assert matched <= known[name] | OF_THE_SCRAPE, f"no such label of {name}"
        used |= known[name]
    assert used
    for names in _GROUPING.findall(query):
        assert set(names.split(", ")) <= used | OF_THE_SCRAPE


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for query in queries() for name, _ in _SELECTOR.findall(query)}
    whole = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()} <= whole


def test_every_rule_has_a_case_in_which_it_fires() -> None:
    names = re.findall(r"^      - alert: (\w+)$", RULES, re.MULTILINE)
    assert len(names) == len(set(names)) == len(rules())
    cases = RULE_TESTS.read_text(encoding="utf-8")
    fires = set(re.findall(r"alertname: (\w+)\n +exp_alerts:", cases))
    assert fires == set(names)
    for name, braces in re.findall(r"series: '(\w+)\{(.*)\}'", cases):
        labels = set(re.findall(r"(\w+)=", braces)) - OF_THE_SCRAPE
        assert labels <= (exported() | OF_THE_COLLECTOR)[name], name


@needs_promtool
def test_rules_fire_when_they_should(tmp_path: Path) -> None:
    """Takes promtool about a second: it evaluates eight hours of each case."""
    (tmp_path / ALERTS).write_text(RULES, encoding="utf-8")
    cases = tmp_path / RULE_TESTS.name
    cases.write_bytes(RULE_TESTS.read_bytes())
    for words in (("check", "rules", tmp_path / ALERTS), ("test", "rules", cases)):
        done = promtool(*words)
        assert done.returncode == 0, done.stdout


@needs_promtool
def test_each_query_of_the_dashboard_has_a_result(tmp_path: Path) -> None:
    """A name, label or value that no longer exists would leave a panel empty."""
    variables = {"$__rate_interval": "5m", "$__range": "1h", "$watch": ".*"}
    cases = []
    for query in queries():
        for variable, value in variables.items():
            query = query.replace(variable, value)
        assert "$" not in query.replace('"$1"', "")
        cases.append(
            {
                "expr": f"count({query}) > bool 0",
                "eval_time": "30m",
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
        )
    inputs = [{"series": name, "values": values} for name, values in series()]
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": cases}
    path = tmp_path / "dashboard_test.yml"
    path.write_text(json.dumps({"tests": [test]}), encoding="utf-8")  # JSON is YAML
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout


def test_the_dashboard_is_whole() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"] and panel["description"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (column, row)
            for column in range(place["x"], place["x"] + place["w"])
            for row in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} covers another panel"
        taken |= cells
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"


def test_a_command_writes_both(tmp_path: Path) -> None:
    (tmp_path / ALERTS).write_text("of an earlier version", encoding="utf-8")
    printed = call("service", "monitoring", tmp_path).stdout
    assert printed.split() == [str(tmp_path / ALERTS), str(tmp_path / DASHBOARD)]
    for name in (ALERTS, DASHBOARD):
        assert (tmp_path / name).read_bytes() == (FILES / name).read_bytes()


def test_a_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    refused = call("service", "monitoring", tmp_path / "no", code=2).stderr
    assert str(tmp_path / "no" / ALERTS) in refused
    assert "name a folder that exists" in refused
