from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ctcedge.classification.classifier import Classifier
from ctcedge.errors import ModelError
from ctcedge.model.cam import activation_maps


class Fields:
    """A network whose maps are the mean level above the background of each field of 32 px."""

    def activation(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
        n, size, _ = inputs.shape
        fields = inputs.reshape(n, size // 32, 32, size // 32, 32).astype(np.float32)
        means: NDArray[np.float32] = fields.mean(axis=(2, 4)) - 128
        return means


@pytest.mark.parametrize("size", [64, 96])
def test_each_value_is_of_the_field_whose_centre_lies_there(size: int) -> None:
    inputs = np.random.default_rng(1).integers(0, 256, (3, size, size), dtype=np.uint8)
    maps = activation_maps(Fields(), inputs)
    side = size // 8
    assert maps.shape == (3, side, side)
    assert maps.dtype == np.float32
    wide = np.pad(inputs, ((0, 0), (16, 16), (16, 16)), constant_values=128).astype(np.float32)
    for row in range(side):
        for column in range(side):
            top, left = 8 * row + 4, 8 * column + 4  # less half a field, plus the padding
            field = wide[:, top : top + 32, left : left + 32]
            np.testing.assert_allclose(maps[:, row, column], field.mean((1, 2)) - 128, atol=1e-3)


def test_a_spot_shows_where_it_is() -> None:
    inputs = np.full((1, 64, 64), 128, np.uint8)
    inputs[0, 48:64, 0:16] = 255
    (found,) = activation_maps(Fields(), inputs)
    assert np.unravel_index(found.argmax(), found.shape)[0] >= 5
    assert found[:3].max() == 0
    assert found[:, 4:].max() == 0


def test_a_model_that_does_not_explain_itself_says_what_to_do(classifier: Classifier) -> None:
    with pytest.raises(ModelError, match="train export"):
        activation_maps(classifier.engine, np.full((1, 64, 64), 128, np.uint8))
