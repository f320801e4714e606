"""Error analysis: what limits the AUC on the benchmark.

`python -m train.research.error_analysis --help`. It uses the held-out scores of the trials
of `train.research.results`, and fits gradient boosting only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from ctcedge.discovery.channels import BRIGHT_FIELD
from ctcedge.fs.files import atomic_write
from ctcedge.images.decode import decode

from ..data.dataset import NUCLEUS, read_cells
from ..data.manifest import ManifestError, Row, choose, read_manifests
from ..evaluate.tables import format_estimate, markdown_table
from ..util.command_line import path_argument, path_option, run_program
from ..util.errors import exit_on
from ..util.progress import progress
from .boosting import Boosted, boost, of_training
from .cell_traits import Traits, traits_of
from .error_sources import by_acquisition, by_ensemble, by_traits, of_labels
from .markdown import put_sections, stamp
from .results import ERROR_ANALYSIS, ORDER
from .trial_figures import Measure, TrialScores, format_gain, read_trial_scores
from .trials import FOLDS, TRIALS

SHEET_NAME = "against-their-label.png"

_TILE, _ACROSS, _MOST = 100, 8, 48


def section(trials: TrialScores, traits: Traits, made: Boosted) -> tuple[str, NDArray[np.intp]]:
    """Write the section; also return the cells to show, as indices of the scores."""
    measure = Measure(trials)
    labels, doubted = of_labels(trials, made.nucleus, traits.contrast, measure)
    parts = [
        by_traits(trials, traits, measure),
        by_acquisition(trials, measure),
        labels,
        by_ensemble(trials, measure),
        of_training(made, measure),
    ]
    gains = {what: gain for part in parts for what, gain in part.gains.items()}
    order = sorted(gains, key=lambda what: -gains[what].value)
    rows = [[what[0].upper() + what[1:], format_gain(gains[what])] for what in order]
    found = measure({"auc": measure.auc(trials.reference)})["auc"]
    head = f"""\
{stamp("python -m train.research.error_analysis")}

Of {len(trials.rows):,} cells of {len(np.unique(trials.group))} acquisitions in
{len(np.unique(trials.fold))} of {FOLDS} folds. The reference, fitted for a few epochs, reaches an
AUC of {format_estimate("auc", found)} on them; the parts below show where it errs. Intervals are
over acquisitions.

{markdown_table(["Gain from", "AUC"], rows)}"""
    return "\n\n".join([head, *(part.text for part in parts)]), doubted


def contact_sheet(rows: Sequence[Row], captions: Sequence[str]) -> NDArray[np.uint8]:
    """Draw bright field and nucleus side by side, each with its contrast stretched by itself."""
    tiles = []
    for row, caption in zip(rows, captions, strict=True):
        pair = np.hstack([_stretched(row, channel) for channel in (BRIGHT_FIELD, NUCLEUS)])
        strip = np.zeros((14, pair.shape[1]), np.uint8)
        cv2.putText(strip, caption, (2, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.36, 255, 1, cv2.LINE_AA)
        tiles.append(np.pad(np.vstack([strip, pair]), 2))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % _ACROSS)
    lines = [np.hstack(tiles[start : start + _ACROSS]) for start in range(0, len(tiles), _ACROSS)]
    return np.vstack(lines)


def _stretched(row: Row, channel: str) -> NDArray[np.uint8]:
    pixels = decode(row.images[channel].read_bytes()).pixels.astype(np.float32)
    low, high = np.percentile(pixels, (0.5, 99.5))
    grey = np.clip((pixels - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
    tile: NDArray[np.uint8] = cv2.resize(grey, (_TILE, _TILE), interpolation=cv2.INTER_AREA)
    return tile


def main(
    manifest: Annotated[Path, path_argument("Manifest of the benchmark's cells.", "MANIFEST")],
    out: Annotated[
        Path, path_option("Folder for the picture of cells called against their label.")
    ],
    runs: Annotated[Path, path_option("Parent of the runs of the trials.")] = Path("runs/results"),
    write: Annotated[Path, path_option("Markdown file to update.", "FILE")] = Path(
        "train/RESULTS.md"
    ),
) -> None:
    """Write the error analysis of the trials run so far into the Markdown file.

    Example: python -m train.research.error_analysis breast.csv --out runs/ceiling
    """
    with exit_on(ValueError):
        rows = choose(read_manifests([manifest]))
        if any(NUCLEUS not in row.images for row in rows):
            raise ManifestError("every cell needs a DAPI image, which shows its position")
        spec = TRIALS[0].input()
        with progress("Read", len(rows)) as advance:
            cells = read_cells(rows, spec, advance)
        trials = read_trial_scores(cells, runs)
    chosen = [rows[index] for index in trials.rows]
    traits = _traits(chosen)
    text, doubted = section(trials, traits, boost(cells, trials, spec))
    out.mkdir(parents=True, exist_ok=True)
    if doubted.size:
        shown_cells = doubted[:_MOST]
        sheet = contact_sheet(
            [chosen[index] for index in shown_cells],
            [
                f"{row.sample_id} {row.cell} {row.stratum} {log_odds_of_mean:+.1f}"
                for row, log_odds_of_mean in (
                    (chosen[index], trials.ensemble[index]) for index in shown_cells
                )
            ],
        )
        atomic_write(out / SHEET_NAME, cv2.imencode(".png", sheet)[1].tobytes())
    put_sections(write, {ERROR_ANALYSIS: text}, ORDER)
    typer.echo(f"{write} written")


def _traits(rows: Sequence[Row]) -> Traits:
    found = []
    with progress("Measure", len(rows)) as advance:
        for row in rows:
            images = [row.images[channel].read_bytes() for channel in (BRIGHT_FIELD, NUCLEUS)]
            found.append(traits_of(*(decode(data).pixels for data in images)))
            advance()
    return Traits(*np.array(found).T)


if __name__ == "__main__":
    run_program(main)
