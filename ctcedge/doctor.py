"""Checks of this machine for `ctcedge doctor`, each with a remedy."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ctcedge.dependencies import PACKAGES, damaged_package, problems, repair
from ctcedge.errors import SetupError
from ctcedge.records import plain
from ctcedge.version import __version__

if TYPE_CHECKING:
    from ctcedge.model.session import Provider
    from ctcedge.settings import SourcedSettings


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check.

    Attributes:
        name: subject of the check.
        state: `ok`, `note` (works, but not as well as it could) or `failed`.
        found: the result in words.
        fix: the remedy; empty if none is needed.
    """

    name: str
    state: Literal["ok", "note", "failed"]
    found: str
    fix: str = ""


def examine(
    settings_of: Callable[[Path | None], SourcedSettings], folder: Path | None
) -> Iterator[Check]:
    """Run all checks.

    Args:
        settings_of: returns the settings that apply to a folder, or to none.
        folder: folder of crops; sidecars will be written there, unless the settings name another.
    """
    yield Check("ctcedge", "ok", __version__)
    yield Check("Python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield from _packages()
    yield from _unless_damaged("GPU", _gpu)
    try:
        sourced = settings_of(folder)
    except SetupError as error:
        yield Check("settings", "failed", str(error), "correct the file, or give another --config")
        return
    yield from _settings(sourced)
    settings = sourced.settings
    yield from _unless_damaged("model", lambda: _model(settings.model))
    written = folder if settings.out is None else Path(settings.out)
    if written is not None:
        yield from _unless_damaged("write access", lambda: [_write_access(written)])


def _settings(sourced: SourcedSettings) -> Iterator[Check]:
    """One line per setting that is given, with its origin."""
    if not sourced.origins:
        yield Check("settings", "ok", "defaults; no settings file")
    content = plain(sourced.settings)
    for key, origin in sourced.origins.items():
        table, _, name = key.rpartition(".")
        value = (content[table] if table else content)[name]
        yield Check(f"setting {key}", "ok", f"{value} ({origin})")


def _unless_damaged(name: str, checks: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """Run checks that import packages, one of which may be damaged."""
    try:
        yield from checks()
    except Exception as error:
        if (problem := damaged_package(error)) is None:
            raise
        found, _, fix = problem.partition("; ")
        yield Check(name, "failed", f"not checked: {found}", fix)


def _packages() -> Iterator[Check]:
    damaged = problems()
    for module, name in PACKAGES.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Check(name, "failed", "not installed", f"pip install {name}")
            continue
        if module in damaged:
            yield Check(name, "failed", f"{version}: {damaged[module]}", repair(module))
        else:
            yield Check(name, "ok", version)
    others = [d.metadata["Name"] for d in metadata.distributions() if _overwrites(d)]
    if others:
        yield Check(
            "ONNX Runtime installed twice",
            "failed",
            f"{', '.join(others)} besides onnxruntime-gpu; they overwrite each other's files",
            f"pip uninstall -y {' '.join(others)} onnxruntime-gpu && pip install onnxruntime-gpu",
        )


def _overwrites(distribution: metadata.Distribution) -> bool:
    name = (distribution.metadata["Name"] or "").lower()
    return name.startswith("onnxruntime") and name not in (
        "onnxruntime-gpu",
        "onnxruntime-extensions",
    )


def _gpu() -> Iterator[Check]:
    from ctcedge.model.session import nvidia_driver_problem

    problem = nvidia_driver_problem()
    if problem:
        yield Check(
            "GPU", "note", problem, "nothing to do if this PC has no NVIDIA GPU: the CPU is used"
        )
    else:
        yield Check("GPU", "ok", "NVIDIA driver and device found")


def _model(name: str | None) -> Iterator[Check]:
    from ctcedge.classification.classifier import Classifier
    from ctcedge.classification.golden import max_difference
    from ctcedge.model.folder import load_model

    try:
        model = load_model(name)
    except SetupError as error:
        yield Check("model", "failed", str(error), "reinstall ctcedge, or give another --model")
        return
    spec = model.spec
    yield Check("model", "ok", f"{spec.name} {spec.version} in {model.folder}")
    if spec.input.um_per_px is None:
        fix = (
            "classify only crops of the instrument and magnification that it was trained on, or"
            " give a --model with um/px"
        )
        yield Check("um/px", "note", "the model has none", fix)
    providers: tuple[Provider, ...] = ("cpu", "cuda")
    for provider in providers:
        try:
            classifier = Classifier.open(model, provider)
            difference = max_difference(classifier)
        except SetupError as error:
            found, _, fix = str(error).partition("; ")
            state: Literal["note", "failed"] = "failed" if provider == "cpu" else "note"
            yield Check(f"runs on {provider}", state, found, fix)
            continue
        found = f"{classifier.engine.variant} graph, golden outputs within {difference:.6f}"
        if difference <= spec.golden.tolerance:
            yield Check(f"runs on {provider}", "ok", found)
        else:
            fix = "reinstall the model; if that does not help, report a bug with this output"
            yield Check(f"runs on {provider}", "failed", found, fix)


def _write_access(folder: Path) -> Check:
    from ctcedge.sidecars.store import try_writing

    try:
        try_writing(folder)
    except OSError as error:
        found = f"{folder}: {error.strerror}"
        fix = "create the folder and give the user that runs ctcedge write access, or use --out"
        return Check("write access", "failed", found, fix)
    return Check("write access", "ok", str(folder))
