"""The table of facts at the end of a report's summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ctcedge.model.folder import Model
from ctcedge.report.cells import FolderContents
from ctcedge.report.pseudonyms import Names
from ctcedge.report.texts import counts_text, decision_text, plural, prior_text
from ctcedge.results.agreement import Assessment, Kappa
from ctcedge.times import now
from ctcedge.version import __version__

_MAX_PENDING = 5  # reasons

Fact = tuple[str, str]


def facts(
    contents: FolderContents,
    models: Mapping[str, Model],
    assessment: Assessment,
    names: Names,
    folder: str,
) -> list[Fact]:
    """Return names and values.

    Args:
        contents: contents of the sidecars.
        models: the available models, by hash.
        assessment: statistics of the reviews.
        names: names, or pseudonyms.
        folder: the folder's own name.
    """
    priors = Counter(cell.prior for cell in contents.cells)
    return [
        ("Folder", names.folder(folder)),
        ("Crops", f"{contents.crops:,}"),
        *_models(contents, models),
        *_decisions(contents),
        *(("Probabilities", prior_text(prior)) for prior, _ in priors.most_common()),
        ("Ran on", counts_text(contents.providers)),
        ("ctcedge", f"calls by {counts_text(contents.versions)}; this page by {__version__}"),
        ("Newest call", contents.newest or "none"),
        ("Page made", now()),
        *(_agreement(kappa, names) for kappa in assessment.kappas),
        *(
            ("No call yet", f"{count:,}: {reason}")
            for reason, count in contents.pending.most_common(_MAX_PENDING)
        ),
    ]


def _models(contents: FolderContents, models: Mapping[str, Model]) -> list[Fact]:
    rows = []
    for name, count in contents.models.most_common():
        crops = f" ({plural(count, 'crop')})" if len(contents.models) > 1 else ""
        rows.append(("Model", f"{name.name} {name.version}, SHA-256 {name.sha256}{crops}"))
        model = models.get(name.sha256)
        rows.append(("Trained on", "unknown here" if model is None else model.spec.training))
    return rows


def _decisions(contents: FolderContents) -> list[Fact]:
    rows = []
    for thresholds, count in contents.decisions.most_common():
        crops = f" ({plural(count, 'crop')})" if len(contents.decisions) > 1 else ""
        rows.append(("Decision", f"{decision_text(thresholds)}{crops}"))
    return rows


def _agreement(agreement: Kappa, names: Names) -> Fact:
    kappa = "unknown"
    if agreement.kappa is not None:
        kappa = f"{agreement.kappa:.2f} ({agreement.low:.2f} to {agreement.high:.2f})"
    first, second = map(names.reviewer, agreement.readers)
    text = f"same call on {agreement.same:,} of {plural(agreement.cells, 'cell')}; kappa {kappa}"
    return f"{first} and {second}", text
