"""Console output of `ctcedge models`, and facts on models that other commands print too."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import shorten
from typing import TYPE_CHECKING

from rich.table import Table

from ctcedge.cli.console import output, printable

if TYPE_CHECKING:
    from ctcedge.model.folder import Model
    from ctcedge.model.spec import ModelSpec, Parity

UM_PER_PX_UNKNOWN = (
    "model has no um/px: crops must come from the instrument and magnification of its training data"
)
_TRAINING_WIDTH = 36


def print_models(models: Iterable[Model]) -> None:
    """Print a table of models."""
    table = Table("name", "version", "trained on", "SHA-256")
    for model in models:
        spec = model.spec
        training = shorten(spec.training, _TRAINING_WIDTH, placeholder=" ...")
        names = (spec.name, spec.version, training)
        table.add_row(*map(printable, names), model.sha256[:12])
    output.print(table)


def print_model(model: Model) -> None:
    """Print the properties of a model and its card."""
    from ctcedge.model.spec import OPERATING_POINTS

    spec = model.spec
    for name, value in model_facts(model).items():
        if name not in ("parity", "operating_points"):
            output.print(f"{name}: {printable(_text(value))}")
    if spec.input.um_per_px is None:
        output.print(f"The {UM_PER_PX_UNKNOWN}.")
    for variant, parity in spec.parity.items():
        output.print(f"{variant} compared with the trained network: {_parity(parity)}")
    for name in OPERATING_POINTS:
        output.print(f"operating point {name}: {_operating_point(name, spec)}")
    output.print()
    for line in model.read(spec.card).decode("utf-8", "replace").splitlines():
        output.print(printable(line))


def print_verified_model(model: Model, difference: float) -> None:
    """Print that a model is intact."""
    spec = model.spec
    output.print(
        f"[green]ok[/] {printable(spec.name)} {printable(spec.version)}: file hashes match, golden"
        f" outputs within {difference:.6f} (tolerance {spec.golden.tolerance:g})"
    )


def model_facts(model: Model) -> dict[str, object]:
    """Return the properties of a model for `--json`."""
    from ctcedge.records import plain

    spec = model.spec
    return {
        "name": spec.name,
        "version": spec.version,
        "folder": str(model.folder),
        "sha256": model.sha256,
        "graphs": list(spec.graphs),
        "training": spec.training,
        "demonstration": spec.demonstration,
        "input_px": spec.input.size,
        "um_per_px": spec.input.um_per_px,
        "prior": spec.prior,
        "threshold": spec.decision.threshold,
        "review": list(spec.decision.review),
        "parity": {name: plain(parity) for name, parity in spec.parity.items()},
        "operating_points": {
            name: point and plain(point) for name, point in spec.operating_points.items()
        },
    }


def measured_rates(name: str, spec: ModelSpec) -> str:
    """Return the measured sensitivity and false positives of an operating point of the model."""
    point = spec.operating_points[name]
    assert point is not None  # only points that the model has are chosen or shown
    simulated = "simulated " if spec.demonstration else ""
    sensitivity, false_positives = point.sensitivity, point.false_positives_per_10000
    return (
        f"sensitivity {sensitivity.value:.1%} ({sensitivity.low:.1%} to {sensitivity.high:.1%}),"
        f" false positives per 10,000 negatives {false_positives.value:.0f}"
        f" ({false_positives.low:.0f} to {false_positives.high:.0f}), measured on"
        f" {point.ctcs:,} {simulated}CTCs and {point.negatives:,} negatives of {point.samples:,}"
        " samples"
    )


def _text(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _parity(parity: Parity) -> str:
    return (
        f"AUC {parity.auc:.4f} ({-parity.auc_loss:+z.4f}), {parity.changed_calls:.2%} of calls"
        f" changed, {parity.flips:.2%} between CTC and leukocyte, on {parity.cells:,} cells"
    )


def _operating_point(name: str, spec: ModelSpec) -> str:
    point = spec.operating_points.get(name)
    if point is None:
        tried = name in spec.operating_points
        return "none: " + ("the test cells could not support it" if tried else "not measured")
    return f"threshold {point.threshold:g} ({point.aim}); {measured_rates(name, spec)}"
