from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from ctcedge.cli.classify import classify
from ctcedge.cli.options import OperatingPointName, ProviderName, RunOptions
from ctcedge.cli.service import service_install
from ctcedge.cli.watch import watch


def test_options_become_words_with_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    options = RunOptions(
        out=Path("out"),
        model="model",
        provider=ProviderName.cpu,
        operating_point=OperatingPointName.screening,
        um_per_px=0.5,
        decode_timeout=0.0,
    )
    assert options.arguments(without=("out",)) == [
        *("--model", f"{tmp_path}/model", "--provider", "cpu", "--um-per-px", "0.5"),
        *("--operating-point", "screening", "--decode-timeout", "0.0"),
    ]
    assert RunOptions(model="sim-resnet18").arguments() == ["--model", "sim-resnet18"]


def test_options_become_settings(tmp_path: Path) -> None:
    options = RunOptions(
        out=Path("calls"), provider=ProviderName.cpu, prevalence=0.001, report_idle=5
    )
    settings = options.settings(tmp_path)
    assert (settings.out, settings.provider) == ("calls", "cpu")
    assert settings.decision.prevalence == 0.001
    assert (settings.watch.report_idle, settings.watch.rescan_interval) == (5, 60)


def test_a_service_has_every_option_of_watch() -> None:
    options = list(inspect.signature(watch).parameters)
    assert list(inspect.signature(service_install).parameters) == [
        *options,
        "user",
        "yes",
        "verbose",
    ]
    assert set(RunOptions.__dataclass_fields__) <= set(options)
    assert set(inspect.signature(classify).parameters) - set(options) == {"with_report"}
