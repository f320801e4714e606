"""The simulator gives nothing away: without signal, a trained network knows nothing.

Each cell of the test is of a hospital that the network has not seen.
"""

from __future__ import annotations

import pytest

from train.baselines.size import measured_diameters, size_score
from train.build import INPUT, BuildSettings, hospital_splits
from train.data.dataset import cells_from_simulation
from train.fit.fit import fit
from train.fit.networks import predict
from train.fit.run import FitSettings
from train.metrics.roc import roc_auc
from train.simulate import simulate_cells

TRAINING_HOSPITALS, VALIDATION_HOSPITALS = 16, 2
SETTINGS = FitSettings(
    network="resnet10", width=0.25, views=1, epochs=12, batch_size=64, ema=0.9, bf16=False
)


def trained_and_tested(folder, *, signal, test_hospitals):
    """Return the AUC of a network, of true and of measured size."""
    cells = simulate_cells(
        hospitals=TRAINING_HOSPITALS + VALIDATION_HOSPITALS + test_hospitals,
        samples=1,
        cells=100,
        ctc_fraction=0.5,
        seed=11,
        signal=signal,
        channels=("BF",),
        workers=2,
    )
    seen = cells_from_simulation(cells, INPUT)
    hospitals = BuildSettings(TRAINING_HOSPITALS, VALIDATION_HOSPITALS, test_hospitals)
    side = hospital_splits(seen, hospitals)
    network = fit(seen, side, SETTINGS, INPUT, folder / "run")
    training, test = (seen.select(side == name) for name in ("training", "test"))
    measured = (measured_diameters(part.bright, INPUT) for part in (training, test))
    scores = (
        predict(network, test.bright, INPUT.gain),
        size_score(training.diameter_um, training.positive, test.diameter_um),
        size_score(next(measured), training.positive, next(measured)),
    )
    return [roc_auc(test.positive, score) for score in scores]


@pytest.mark.timeout(300)
def test_without_signal_nothing_can_be_learnt(tmp_path):
    # 6,000 cells: the AUC of pure chance has a standard deviation of 0.0075.
    aucs = trained_and_tested(tmp_path, signal=False, test_hospitals=60)
    assert aucs == pytest.approx([0.5, 0.5, 0.5], abs=0.02)


@pytest.mark.timeout(300)
def test_with_signal_the_network_sees_more_than_size(tmp_path):
    network, true_size, measured_size = trained_and_tested(tmp_path, signal=True, test_hospitals=10)
    # The true diameter is not in the picture: a network this small need not beat it.
    assert network > measured_size + 0.08
    assert max(true_size, measured_size) < 0.75
