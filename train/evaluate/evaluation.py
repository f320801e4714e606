"""Run an evaluation: from a model folder and manifests to the contents of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctcedge.model.folder import Model

from ..baselines.baselines import TRAINING
from ..data.manifest import ManifestError, abbreviate, read_manifests
from .bootstrap import DRAWS
from .calls import Calls, count_calls
from .figures import Figures, figures
from .scoring import Candidate, ScoredCells, labelled, open_candidates, score

_FEW_GROUPS = 10


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The contents of the report.

    Attributes:
        models: one, or one per fold.
        manifests: whose cells were scored.
        scored: the cells with their scores.
        figures: of the labelled cells.
        calls: of the runtime.
        leak_checked: whether it is certain that no cell's group was trained on, neither by image
            nor by name.
        fitted_on: number of training cells of the baselines, and of the models; zeros where
            unknown.
        warnings: to read before the figures, a sentence each.
        seed: of the bootstrap and the boosting.
        draws: of the bootstrap.
    """

    models: list[Model]
    manifests: list[Path]
    scored: ScoredCells
    figures: Figures
    calls: Calls
    leak_checked: bool
    fitted_on: tuple[int, int]
    warnings: list[str]
    seed: int
    draws: int = DRAWS


def evaluate(
    model: Path,
    manifests: Sequence[Path],
    *,
    positive: Sequence[str] = (),
    negative: Sequence[str] = (),
    trust_gates: bool = False,
    seed: int,
) -> Evaluation:
    """Score the cells of manifests and compute all figures.

    Args:
        model: a model folder, or a folder of the model folders of a run with folds, where each
            cell is scored by the one that was not trained on its sample.
        manifests: whose cells to score.
        positive: strata to count as CTC instead of the labels, see `train.data.manifest.choose`.
        negative: strata to count as no CTC.
        trust_gates: accept CTCs that are labelled by their stains alone.
        seed: of the bootstrap and the boosting.

    Raises:
        ManifestError: rows cannot be used, or their labels cannot be used as reference.
        LeakageError: a sample contains images that the model was made from.
        SetupError: the model cannot be used.
        TableError: its training table cannot be read.
    """
    candidates = open_candidates(model)
    rows = labelled(read_manifests(manifests), positive, negative, trust_gates=trust_gates)
    if len({row.label for row in rows} - {""}) < 2:
        raise ManifestError(
            "the manifests have labelled cells of one class only; CTCs and negatives are needed"
        )
    scored = score(candidates, rows, seed)
    measured = figures(
        scored.cells,
        scored.scores,
        prior=candidates[0].model.spec.prior,
        baselines=scored.baselines or {},
        seed=seed,
        known=scored.known,
    )
    return Evaluation(
        models=[candidate.model for candidate in candidates],
        manifests=list(manifests),
        scored=scored,
        figures=measured,
        calls=count_calls(
            scored.cells, scored.verdicts, scored.scores.called, known=scored.known, seed=seed
        ),
        leak_checked=candidates[0].table is not None and not scored.namesakes,
        fitted_on=_fitted_on(candidates),
        warnings=_warnings(candidates, scored, measured, trust_gates),
        seed=seed,
    )


def _fitted_on(candidates: Sequence[Candidate]) -> tuple[int, int]:
    tables = [
        one.table.select(one.table.split == TRAINING) for one in candidates if one.table is not None
    ]
    return sum(len(table.described) for table in tables), sum(len(table) for table in tables)


def _warnings(
    candidates: Sequence[Candidate], scored: ScoredCells, measured: Figures, trust_gates: bool
) -> list[str]:
    spec = candidates[0].model.spec
    rows = [row for row in scored.rows if row.label]
    gated = sum(row.label == "CTC" and row.source == "gated" for row in rows)
    warnings = []
    if trust_gates and gated:
        warnings.append(
            f"{gated:,} of {measured.ctcs:,} CTCs are labelled by their stains alone, without"
            " review by a person; errors of the gates count as errors of the model or hide them."
        )
    if spec.demonstration:
        warnings.append(
            "The model is a demonstration, trained on simulated images: these figures do not"
            " apply to a patient's cells."
        )
    if candidates[0].table is None:
        warnings.append(
            "The model folder has no training table: it cannot be checked that the model was not"
            " trained on these cells, and there are no baselines."
        )
    elif scored.namesakes:
        warnings.append(
            f"{len(scored.namesakes):,} samples, such as '{scored.namesakes[0]}', have the name of"
            " one that the model was made from, but other images; if they are the same samples, the"
            " figures are too good."
        )
    if scored.unlabelled:
        groups = len(np.unique(scored.cells.group))
        warnings.append(
            f"{len(scored.unlabelled):,} of {groups:,} patients or samples were used without labels"
            " by the model's pretraining, so that the figures may be too good for new ones:"
            f" {abbreviate(scored.unlabelled, ', ')}."
        )
    if spec.input.um_per_px is not None and scored.rows[0].um_per_px is None:
        warnings.append(
            "um/px of the images is unknown and was assumed to be the model's own,"
            f" {spec.input.um_per_px:g}; if it is not, sizes and figures are wrong."
        )
    if measured.groups < _FEW_GROUPS:
        warnings.append(
            f"Only {measured.groups} patients or samples: the intervals are too narrow."
        )
    return warnings
