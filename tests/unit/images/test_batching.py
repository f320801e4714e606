from __future__ import annotations

import numpy as np
import pytest

from ctcedge.images.batching import map_same_shape, take_pixels


def test_images_of_a_shape_and_dtype_are_one_batch_and_results_stay_in_order() -> None:
    shapes = [((2, 3), np.uint8), ((3, 2), np.uint8), ((2, 3), np.uint16), ((2, 3), np.uint8)]
    images = [np.full(shape, number, dtype) for number, (shape, dtype) in enumerate(shapes)]
    batches: list[tuple[int, ...]] = []

    def first_pixels(batch: np.ndarray) -> list[int]:
        batches.append(batch.shape)
        return batch[:, 0, 0].tolist()

    assert map_same_shape(first_pixels, images) == [0, 1, 2, 3]
    assert sorted(batches) == [(1, 2, 3), (1, 3, 2), (2, 2, 3)]
    assert map_same_shape(first_pixels, []) == []


def test_a_result_too_few_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        map_same_shape(lambda batch: [], [np.zeros((2, 2))])


def test_pixels_are_taken_of_each_image() -> None:
    images = np.arange(12).reshape(2, 2, 3)
    assert take_pixels(images, np.array([0, 5])).tolist() == [[0, 5], [6, 11]]
