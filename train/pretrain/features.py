"""Features of a network, without its head."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from ..fit.networks import Classifier, deviation, stack_views
from ..util.batching import batches


@torch.inference_mode()
def network_features(
    network: Classifier,
    inputs: NDArray[np.uint8],
    gain: float,
    views: int = 8,
    batch_size: int = 256,
) -> NDArray[np.float32]:
    """Return the features of cells, (n, c): means over the image and its mirrored, rotated views.

    Args:
        network: put into evaluation mode and left there.
        inputs: (n, side, side), as `network_input` makes them.
        gain: input levels of one contrast unit, as in the input's spec.
        views: number of mirrored and rotated copies of an image.
        batch_size: images at a time.
    """
    network.eval()
    device = next(network.parameters()).device
    parts = []
    for part in batches(inputs, max(1, batch_size // views)):
        maps = network.maps(stack_views(deviation(part, device) / gain, views))
        parts.append(maps.mean((2, 3)).view(views, len(part), -1).mean(0))
    features: NDArray[np.float32] = torch.cat(parts).float().cpu().numpy()
    return features


def feature_spread(features: NDArray[np.float32]) -> float:
    """Return how evenly features fill their space: 0 where all are equal, about 1 where even.

    The standard deviation of the features of length one, times the root of their number. A
    pretraining whose features have collapsed shows here.
    """
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(length, 1e-12)
    return float(unit.std(0).mean() * np.sqrt(features.shape[1]))


def fit_head(
    network: Classifier, features: NDArray[np.float32], positive: NDArray[np.bool_], c: float = 0.1
) -> None:
    """Fit the head of a network by logistic regression on its features, classes weighted equally.

    The result is a classifier whose features are as they were: the mean over views of its logits is
    the logit of the mean features.

    Args:
        network: receives the head.
        features: (n, c) by `network_features`.
        positive: (n,) bool.
        c: inverse strength of the penalty, for features of standard deviation one.
    """
    mean, deviations = features.mean(0), features.std(0) + 1e-6
    regression = LogisticRegression(C=c, class_weight="balanced", max_iter=2000)
    regression.fit((features - mean) / deviations, positive)
    weight = regression.coef_[0] / deviations
    bias = regression.intercept_[0] - weight @ mean
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(weight)[None])
        network.head.bias.fill_(float(bias))
