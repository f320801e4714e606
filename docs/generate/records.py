"""References of settings, model folder, table columns, metrics and exit codes."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence

from .markdown import cell, fill, table
from .types import fields, records_in, type_name


def exit_codes() -> str:
    """Return the reference of exit codes."""
    from ctcedge.cli import exit_codes as cli

    rows = [
        ("0", "Every crop is classified. For `watch`: it was asked to stop."),
        (
            f"{cli.EXIT_CRASH}",
            "Internal error. One line names the place. There is no message where the program that"
            " reads standard output has ended.",
        ),
        (f"{cli.EXIT_SETUP}", "Wrong usage or set-up. The message contains the remedy."),
        (
            f"{cli.EXIT_UNCLASSIFIED}",
            "Finished, but incomplete. `classify`: some crops are unclassified; they are listed,"
            " also by the next run, or the names of images are not understood."
            " `status`: the same, or some crops are pending. Commands that"
            " read sidecars: a folder cannot be read, so its cells are missing from the result."
            " `review import`: some reviews were not applied. `verify`: something differs or could"
            " not be recomputed.",
        ),
        (
            f"{cli.EXIT_INTERRUPTED + 2}, {cli.EXIT_INTERRUPTED + 15}",
            "`classify` was interrupted by Ctrl-C (130) or SIGTERM (143). It finished and wrote the"
            " batch that was being processed. A second Ctrl-C ends it at once; so does a second"
            " Ctrl-C in `watch` (130).",
        ),
    ]
    return fill("exit-codes.md", codes=table(("code", "meaning"), rows))


def settings() -> str:
    """Return the reference of the settings file."""
    from ctcedge import settings as module

    return fill(
        "settings.md",
        folder_config=module.FOLDER_CONFIG,
        lab_config=str(module.LAB_CONFIG),
        lab_variable=module.LAB_VARIABLE,
        top=_keys(module.Settings, skip=("images", "decision", "watch")),
        images=_keys(module.ImageSettings),
        decision=_keys(module.DecisionSettings),
        watch=_keys(module.WatchSettings),
    )


def _keys(kind: type, skip: Sequence[str] = ()) -> str:
    rows = []
    for field in fields(kind):
        if field.key not in skip:
            default = "" if field.default in (None, {}) else f"`{json.dumps(field.default)}`"
            meaning = re.sub(r"\bNone\b", "left out", field.meaning)
            rows.append((f"`{field.key}`", type_name(field.kind), default, cell(meaning)))
    return table(("key", "value", "default", "meaning"), rows)


def table_columns() -> str:
    """Return the reference of the columns of `ctcedge export`."""
    from ctcedge.results import columns as module
    from ctcedge.results import sample_columns

    kinds = {
        "text": "text",
        "number": "number",
        "whole": "whole number",
        "flag": "true or false",
        "vector": "numbers",
    }
    rows = [(f"`{name}`", "text", cell(meaning)) for name, meaning in module.CROP_COLUMNS]
    rows += [(f"`{c.name}`", kinds[c.kind], cell(c.meaning)) for c in module.COLUMNS]
    stains = [(f"`DAPI_{name}`", "number", cell(text)) for name, text in module.STAIN_COLUMNS]
    features = module.FEATURES
    stains.append((f"`{features.name}`", kinds[features.kind], cell(features.meaning)))
    header = ("column", "type", "meaning")
    samples, patients = (
        table(header, [(f"`{name}`", kinds[kind], cell(text)) for name, kind, text in columns])
        for columns in (sample_columns.SAMPLE_COLUMNS, sample_columns.PATIENT_COLUMNS)
    )
    return fill(
        "table-columns.md",
        columns=table(header, rows),
        brief=", ".join(f"`{name}`" for name in module.BRIEF),
        more=table(header, stains),
        samples=samples,
        patients=patients,
    )


def metrics() -> str:
    """Return the reference of the Prometheus metrics, from a file that contains all of them."""
    text = _metrics_file()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    rows = []
    for name, meaning in re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE):
        labels: dict[str, None] = {}
        for braces in re.findall(rf"^{name}(?:_bucket)?\{{(.*?)\}} ", text, re.MULTILINE):
            labels.update(dict.fromkeys(re.findall(r'(\w+)="', braces)))
        names = ", ".join(f"`{label}`" for label in labels if label not in ("watch", "le"))
        rows.append((f"`{name}`", kinds[name], names, cell(meaning)))
    return fill("metrics.md", metrics=table(("metric", "type", "labels", "meaning"), rows))


def _metrics_file() -> str:
    from ctcedge.classification.ood import DomainShift
    from ctcedge.service.prometheus import render
    from ctcedge.service.watch_state import WatchState

    state = WatchState(provider="cpu", model="a model", model_sha256="0" * 64, started=1.0)
    state.last_success = 2.0
    state.domain_shift = DomainShift("in-distribution", 500, 0.1)
    state.tally.add("review", ["empty"])
    return render(state, watch="lab")


def model_folder() -> str:
    """Return the reference of a model folder and its `model.json`."""
    from ctcedge.model.spec import ModelSpec

    kinds: list[type] = [ModelSpec]
    for kind in kinds:  # grows while it is walked
        for field in fields(kind):
            kinds += [record for record in records_in(field.kind) if record not in kinds]
    return fill("model-folder.md", objects="\n\n".join(_object(kind) for kind in kinds))


def _object(kind: type) -> str:
    rows = [
        (f"`{field.key}`", type_name(field.kind), cell(re.sub(r"\bNone\b", "null", field.meaning)))
        for field in fields(kind)
    ]
    summary = cell((inspect.getdoc(kind) or "").partition("\n\n")[0])
    keys = table(("key", "value", "meaning"), rows)
    return f"### {kind.__name__}\n\n{summary}\n\n{keys}"
