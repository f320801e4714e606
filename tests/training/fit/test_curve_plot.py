"""The picture of the learning curve."""

from __future__ import annotations

import cv2

from train.fit.curve_plot import draw_curve

LOG = [
    {"epoch": 1, "loss": 0.7, "validation_auc": 0.45},
    {"epoch": 2, "loss": 0.5, "validation_auc": 0.8},
]


def test_curves_are_drawn(tmp_path):
    path = tmp_path / "curve.png"
    draw_curve(path, "resnet18: 5 cells to train on, 2 to validate", LOG)
    image = cv2.imread(str(path))
    assert image.shape[0] > 500 and image.shape[1] > 700
    # Blue, green, red of the two curves.
    for colour in ([0xB2, 0x72, 0x00], [0x00, 0x5E, 0xD5]):
        assert (image == colour).all(axis=2).sum() > 200


def test_a_curve_of_one_epoch_is_drawn_and_one_of_none_is_not(tmp_path):
    draw_curve(tmp_path / "one.png", "one", LOG[:1])
    draw_curve(tmp_path / "none.png", "none", [])
    assert [path.name for path in tmp_path.iterdir()] == ["one.png"]
