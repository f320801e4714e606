"""The simulator gives nothing away: without signal, a trained network knows nothing.

Each cell of the test is of a hospital that the network has not seen.
"""

from __future__ import annotations

import pytest

from train.build import INPUT
from train.dataset import prepare, split
from train.fit import FitSettings, fit
from train.metrics import roc_auc
from train.network import predict
from train.simulate import simulate_cells
from train.size import measured_diameters, size_score

TRAINING_HOSPITALS, VALIDATION_HOSPITALS = 16, 2
SETTINGS = FitSettings(network="resnet10", width=0.25, epochs=8, batch_size=64, bf16=False)


def trained_and_tested(folder, *, signal, test_hospitals):
    """Return the AUC of a network, of true and of measured size."""
    cells = simulate_cells(
        hospitals=TRAINING_HOSPITALS + VALIDATION_HOSPITALS + test_hospitals,
        samples=1,
        cells=100,
        ctc_share=0.5,
        seed=11,
        signal=signal,
        channels=("BF",),
        workers=2,
    )
    training, validation, test = split(
        prepare(cells, INPUT, ("BF",)),
        by="hospital",
        validation=VALIDATION_HOSPITALS,
        test=test_hospitals,
    )
    network = fit(training, validation, SETTINGS, INPUT.gain, folder)
    measured = (measured_diameters(side.inputs, INPUT) for side in (training, test))
    scores = (
        predict(network, test.inputs, INPUT.gain),
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
    assert network > max(true_size, measured_size) + 0.08
    assert max(true_size, measured_size) < 0.75
