"""Score cells through the runtime's code, each by a model that was not trained on its sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctcedge.classification.classifier import Classifier, PreparedCrop
from ctcedge.classification.decision import Prediction
from ctcedge.classification.fingerprints import known_pixel_size
from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.errors import BadImage, ModelError
from ctcedge.images.decode import Decoded
from ctcedge.model.folder import Model
from ctcedge.model.spec import SPEC_NAME, ModelSpec
from ctcedge.quality.checks import Quality, assess
from ctcedge.settings import ImageSettings

from ..baselines.baselines import (
    TRAINING,
    UNLABELLED,
    TrainingTable,
    baseline_scores,
    read_table,
    training_table,
)
from ..data.dataset import Cells, TrainingProvenance, read_cells
from ..data.manifest import POSITIVE, ManifestError, Row, choose
from ..data.splits import LeakageError
from ..metrics.roc import Floats, Labels
from ..util.progress import progress
from .scores import Scores

HELD_OUT = "test"
"""The split of a training table whose cells its model was not trained on."""

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may score cells.

    Attributes:
        classifier: on the CPU, whose INT8 graph every machine can run.
        table: of its training cells; None where its folder has none.
    """

    classifier: Classifier
    table: TrainingTable | None

    @property
    def model(self) -> Model:
        """Its folder and spec."""
        return self.classifier.model

    def saw_images(self, digests: NDArray[np.str_]) -> Labels:
        """Return which images it was trained or calibrated on, (n,)."""
        return np.isin(digests, self._provenance().digest)

    def matching_groups(self, groups: Iterable[str]) -> list[str]:
        """Return the groups with the name of one that it was trained or calibrated on."""
        return self._provenance().matching_groups(groups)

    def groups_without_labels(self, cells: Cells) -> list[str]:
        """Return the groups of cells that its pretraining used without labels."""
        if self.table is None:
            return []
        return self.table.provenance(self.table.split == UNLABELLED).used_groups(cells)

    def _provenance(self) -> TrainingProvenance:
        assert self.table is not None
        return self.table.provenance(~np.isin(self.table.split, (HELD_OUT, UNLABELLED)))


def open_candidates(folder: Path) -> list[Candidate]:
    """Open a model folder, or each of a folder of model folders.

    Raises:
        ModelError: there is none, one cannot be used, or several do not belong together.
        TableError: a training table cannot be read.
    """
    inside = [] if (folder / SPEC_NAME).exists() else sorted(folder.glob(f"*/{SPEC_NAME}"))
    opened = [_open(path.parent) for path in inside] or [_open(folder)]
    first = opened[0].model.spec
    for other in opened[1:]:
        spec = other.model.spec
        if (spec.input, spec.prior) != (first.input, first.prior):
            raise ModelError(
                f"{other.model.folder} has another input or prior than"
                f" {opened[0].model.folder}; give one model, or the folds of one run"
            )
    if len(opened) > 1 and any(one.table is None for one in opened):
        raise ModelError(
            f"{folder} holds {len(opened)} models without training tables; give one of"
            f" them, such as {opened[0].model.folder}"
        )
    return opened


def _open(folder: Path) -> Candidate:
    classifier = Classifier.load(folder, provider="cpu")
    model = classifier.model
    pinned = model.spec.training_table
    return Candidate(classifier, read_table(model.read(pinned)) if pinned else None)


def labelled(
    rows: Sequence[Row], positive: Sequence[str], negative: Sequence[str], *, trust_gates: bool
) -> list[Row]:
    """Return all rows, with a label only where it may be used as reference.

    Args:
        rows: of manifests.
        positive: strata to count as CTC, see `train.data.manifest.choose`.
        negative: strata to count as no CTC.
        trust_gates: accept CTCs that are labelled by their stains alone.

    Raises:
        ManifestError: the strata cannot be chosen so, or a CTC is labelled by its stains alone.
    """
    chosen = {(row.sample_id, row.cell): row for row in choose(rows, positive, negative)}
    gated = [r for r in chosen.values() if r.label == POSITIVE and r.source == "gated"]
    if gated and not trust_gates:
        raise ManifestError(
            f"{len(gated):,} CTCs, such as cell {gated[0].cell} of sample {gated[0].sample_id}, are"
            " labelled by their stains alone; have a person confirm them (source 'reviewed'), or"
            " accept them with --trust-gates"
        )
    return [chosen.get((row.sample_id, row.cell), replace(row, label="")) for row in rows]


@dataclass(frozen=True, slots=True)
class ScoredCells:
    """Cells with their scores.

    Attributes:
        rows: of the manifests, n.
        cells: n.
        known: (n,) whether the label is used.
        by: (n,) index of the candidate that scored each cell.
        scores: n.
        verdicts: n, of the runtime at the model's own decision.
        namesakes: samples with the name of one that their model was made from.
        unlabelled: patients or samples that their model's pretraining used without labels.
        baselines: by name, (n,) scores; None where a model has no training table.
    """

    rows: list[Row]
    cells: Cells
    known: Labels
    by: NDArray[np.intp]
    scores: Scores
    verdicts: list[Prediction]
    namesakes: list[str]
    unlabelled: list[str]
    baselines: dict[str, Floats] | None


def score(candidates: Sequence[Candidate], rows: Sequence[Row], seed: int) -> ScoredCells:
    """Read and score every row, and fit the baselines on the scoring models' training cells.

    Raises:
        ManifestError: an image cannot be read or scored.
        LeakageError: every candidate was trained on a patient or sample, or several were not
            trained on a labelled one.
    """
    cells, quality = _read(rows, candidates[0].model.spec)
    known = np.array([bool(row.label) for row in rows])
    by = assign(candidates, cells, known)
    namesakes = _namesakes(candidates, cells, by)
    _check_patients_unseen(rows, namesakes)
    scores, verdicts = _apply_models(candidates, cells, quality, by)
    baselines = _baselines(candidates, cells, by, seed)
    unlabelled = [
        group
        for index, candidate in enumerate(candidates)
        for group in candidate.groups_without_labels(cells.select(by == index))
    ]
    return ScoredCells(
        list(rows), cells, known, by, scores, verdicts, namesakes, unlabelled, baselines
    )


def _read(rows: Sequence[Row], spec: ModelSpec) -> tuple[Cells, list[Quality]]:
    """Read every row's bright field, and check its quality as the runtime does."""
    seen = [replace(row, images={BRIGHT_FIELD: row.images[BRIGHT_FIELD]}) for row in rows]
    quality: list[Quality] = []

    def look(row: Row, image: Decoded, window: NDArray[np.uint8]) -> None:
        um_per_px = known_pixel_size(ImageSettings(um_per_px=row.um_per_px), spec)
        bright = image.image
        quality.extend(assess([bright], window[None], um_per_px, spec.input))

    with progress("Read", len(seen)) as advance:
        return read_cells(seen, spec.input, advance, look), quality


def assign(candidates: Sequence[Candidate], cells: Cells, known: Labels) -> NDArray[np.intp]:
    """Choose for each cell the one candidate that was not trained on its group.

    Groups without a labelled cell are in no fold, so that no candidate was trained on them: they
    are scored by the first.

    Args:
        candidates: one model, or one per fold.
        cells: n.
        known: (n,) whether the label is used.

    Returns:
        (n,) index of the candidate.

    Raises:
        LeakageError: naming a group that every candidate was trained on, or one with labelled
            cells that several were not trained on.
    """
    if candidates[0].table is None:
        return np.zeros(len(cells), dtype=np.intp)
    names, member = np.unique(cells.group, return_inverse=True)
    saw = np.stack(
        [np.bincount(member, one.saw_images(cells.digest), len(names)) > 0 for one in candidates]
    )
    free = (~saw).sum(axis=0)
    if (free == 0).any():
        first, count = names[free == 0][0], int((free == 0).sum())
        raise LeakageError(
            f"{count:,} of {len(names):,} patients or samples, such as '{first}', have images that"
            f" {'the model' if len(candidates) == 1 else 'every model'} was made from; evaluate on"
            " other ones, or fit with --folds"
        )
    several = (free > 1) & (np.bincount(member, known) > 0)
    if several.any():
        raise LeakageError(
            f"{int(free[several][0])} of the models were not trained on '{names[several][0]}', so"
            f" that each could score it; give one of them, such as {candidates[0].model.folder},"
            " and a manifest of such patients or samples only"
        )
    chosen: NDArray[np.intp] = np.argmin(saw, axis=0)[member]
    return chosen


def _namesakes(candidates: Sequence[Candidate], cells: Cells, by: NDArray[np.intp]) -> list[str]:
    return [
        name
        for index, candidate in enumerate(candidates)
        if candidate.table is not None
        for name in candidate.matching_groups(np.unique(cells.group[by == index]).tolist())
    ]


def _check_patients_unseen(rows: Sequence[Row], namesakes: Sequence[str]) -> None:
    """Refuse other images of a patient; samples of the same name may be different samples."""
    known = sorted({row.patient for row in rows} & set(namesakes))
    if known:
        raise LeakageError(
            f"the model was made from other cells of {len(known):,} patients, such as '{known[0]}';"
            " evaluate on other patients, or rename these if they are different people"
        )


def _apply_models(
    candidates: Sequence[Candidate],
    cells: Cells,
    quality: Sequence[Quality],
    by: NDArray[np.intp],
) -> tuple[Scores, list[Prediction]]:
    parts, order = [], []
    verdicts: dict[int, Prediction] = {}
    with progress("Score", len(cells)) as advance:
        for index, candidate in enumerate(candidates):
            mine = np.flatnonzero(by == index)
            if not mine.size:
                continue
            for start in range(0, len(mine), _BATCH):
                batch = mine[start : start + _BATCH].tolist()
                crops = [PreparedCrop(cells.bright[row], quality[row]) for row in batch]
                for row, each in zip(batch, candidate.classifier.analyze(crops), strict=True):
                    if isinstance(each, BadImage):
                        raise ManifestError(
                            f"cell {cells.cell[row]} of sample {cells.sample[row]}: {each};"
                            " remove its row"
                        )
                    verdicts[row] = candidate.classifier.rule.decide(each)
                advance(len(batch))
            probability = np.array([verdicts[row].probability for row in mine.tolist()])
            parts.append(
                Scores.of(probability, candidate.model.spec.decision, _thresholds(candidate))
            )
            order.append(mine)
    scores = Scores.joined(parts).select(np.argsort(np.concatenate(order)))
    return scores, [verdicts[row] for row in range(len(cells))]


def _thresholds(candidate: Candidate) -> dict[str, float]:
    points = candidate.model.spec.operating_points or {}
    return {name: point.threshold for name, point in points.items() if point is not None}


def _baselines(
    candidates: Sequence[Candidate], cells: Cells, by: NDArray[np.intp], seed: int
) -> dict[str, Floats] | None:
    if candidates[0].table is None:
        return None
    with progress("Describe", len(cells)) as advance:
        test = training_table(cells, HELD_OUT, candidates[0].model.spec.input, advance)
    scores: dict[str, Floats] = {}
    for index, candidate in enumerate(candidates):
        mine = by == index
        if mine.any():
            training = candidate.table.select(candidate.table.split == TRAINING)  # type: ignore[union-attr]
            for name, answer in baseline_scores(training, test.select(mine), seed).items():
                scores.setdefault(name, np.zeros(len(cells)))[mine] = answer
    return scores
