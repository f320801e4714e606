"""The head alone, fitted on features that stay as they are; and these features."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from ..metrics.roc import roc_auc
from ..util.batching import batches
from .folder import LOG_NAME, WEIGHTS_NAME, save_tensors, write_json
from .networks import Classifier, deviation, predict, stack_views
from .run import Run

_PENALTY = 0.1
"""Inverse strength of the penalty, for features of standard deviation one."""


def train_head(network: Classifier, run: Run) -> None:
    """Fit the head of a run's network on the training cells, and write the run's result.

    Args:
        network: with initial weights; its head is replaced.
        run: with cells and settings.
    """
    gain, training, validation = run.input.gain, run.subset("training"), run.subset("validation")
    features = network_features(network, training.bright, gain, run.settings.views)
    fit_head(network, features, training.positive)
    auc = roc_auc(validation.positive, predict(network, validation.bright, gain))
    write_json(
        run.folder / LOG_NAME,
        {"cells_per_epoch": len(training), "epochs": [{"epoch": 1, "validation_auc": auc}]},
    )
    save_tensors(run.folder / WEIGHTS_NAME, network.state_dict())


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


def fit_head(
    network: Classifier, features: NDArray[np.float32], positive: NDArray[np.bool_]
) -> None:
    """Fit the head of a network by logistic regression on its features, classes weighted equally.

    The result is a classifier whose features are as they were: the mean over views of its logits is
    the logit of the mean features.

    Args:
        network: receives the head.
        features: (n, c) by `network_features`.
        positive: (n,) bool.
    """
    mean, deviations = features.mean(0), features.std(0) + 1e-6
    regression = LogisticRegression(C=_PENALTY, class_weight="balanced", max_iter=2000)
    regression.fit((features - mean) / deviations, positive)
    weight = regression.coef_[0] / deviations
    bias = regression.intercept_[0] - weight @ mean
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(weight)[None])
        network.head.bias.fill_(float(bias))
