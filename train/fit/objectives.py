"""Uses of DAPI images in training; the resulting network takes bright field alone.

A strategy is a module with the network that computes the loss of a batch. All strategies also use
cells without a DAPI image.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.dataset import Cells
from .batches import Batch
from .networks import Classifier, predict
from .run import FitSettings


class BrightField(nn.Module):
    """`none`: DAPI is not used. The base of the others.

    Attributes:
        channels: number of images of a cell in a batch: bright field, or also DAPI.
        network: the network to fit; it takes one view.
    """

    channels = 1

    def __init__(self, settings: FitSettings) -> None:
        """Initialise the network's weights."""
        super().__init__()
        self.network = Classifier(settings.network, settings.width)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        return _loss(self.network(batch.bright), batch.target, batch.positive_weight)

    def start_from(self, given: Classifier) -> None:
        """Take the weights of a bright-field network of the same kind."""
        self.network.load_state_dict(given.state_dict())

    def result(self, network: Classifier) -> Classifier:
        """Return the bright-field network of a fitted, or averaged, `network`."""
        return network

    def logits(self, network: Classifier, cells: Cells, gain: float) -> NDArray[np.float32]:
        """Return the logits, (n,), for monitoring."""
        return predict(self.result(network), cells.bright, gain)


class DapiAsExtraSamples(BrightField):
    """`samples`: as in the study, each DAPI image is a further image of its class."""

    channels = 2

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch and of its DAPI images."""
        assert batch.nucleus is not None
        stained = batch.has_nucleus
        images = torch.cat((batch.bright, batch.nucleus[stained]))
        target = torch.cat((batch.target, batch.target[stained]))
        return _loss(self.network(images), target, batch.positive_weight)


class DapiPrediction(BrightField):
    """`auxiliary`: a small decoder predicts the DAPI image from bright-field feature maps."""

    channels = 2

    def __init__(self, settings: FitSettings) -> None:
        """Initialise the weights of network and decoder."""
        super().__init__(settings)
        self.weight = settings.dapi_weight
        with torch.no_grad():
            middle, _ = self.network.eval().stages(torch.zeros(1, 1, 64, 64))
        self.network.train()
        self.decoder = nn.Sequential(
            nn.Conv2d(middle.shape[1], 64, 1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(64, 32, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(32, 1, 3, padding=1),
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, with that of the DAPI images at a quarter of their side."""
        assert batch.nucleus is not None
        middle, last = self.network.stages(batch.bright)
        classification = _loss(self.network.classify(last), batch.target, batch.positive_weight)
        predicted = self.decoder(middle).float()
        truth = F.interpolate(batch.nucleus, size=predicted.shape[-2:], mode="area")
        error = F.smooth_l1_loss(predicted, truth, reduction="none").mean((1, 2, 3))
        stained = batch.has_nucleus
        return classification + self.weight * (error * stained).sum() / stained.sum().clamp_min(1)


class DapiDropout(BrightField):
    """`dropout`: bright field and DAPI as two channels, DAPI dropped at random.

    Without DAPI the second channel is zero, which is background; the result has no second channel.
    """

    channels = 2
    kept = 0.5

    def __init__(self, settings: FitSettings) -> None:
        """Initialise the weights of a network with two input channels."""
        nn.Module.__init__(self)
        self.network = Classifier(settings.network, settings.width, channels=2)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, without DAPI in a random part of it."""
        assert batch.nucleus is not None
        kept = torch.rand(len(batch.nucleus), 1, 1, 1, device=batch.nucleus.device) < self.kept
        both = torch.cat((batch.bright, batch.nucleus * kept), 1)
        return _loss(self.network(both), batch.target, batch.positive_weight)

    def start_from(self, given: Classifier) -> None:
        """Take the weights of a bright-field network; those of the DAPI channel stay random."""
        weights = given.state_dict()
        stem = _stem(self.network)
        own = self.network.state_dict()[stem]
        weights[stem] = torch.cat((weights[stem], own[:, 1:]), 1)
        self.network.load_state_dict(weights)

    def result(self, network: Classifier) -> Classifier:
        """Return the network without its DAPI channel."""
        alone = Classifier(network.name, network.width)
        stem = _stem(network)
        weights = network.state_dict()
        alone.load_state_dict(weights | {stem: weights[stem][:, :1]})
        return alone.to(weights[stem].device)


class Teacher(DapiDropout):
    """Bright field and DAPI as two channels, for the teacher."""

    kept = 1.0

    def result(self, network: Classifier) -> Classifier:
        """Return the network with both channels."""
        return network

    def logits(self, network: Classifier, cells: Cells, gain: float) -> NDArray[np.float32]:
        """Return the logits, (n,), of bright field with DAPI."""
        return predict(network, np.stack((cells.bright, cells.nucleus), 1), gain)


class Student(BrightField):
    """`teacher`: learns from the labels and from the probabilities of a network with DAPI."""

    channels = 2

    def __init__(self, settings: FitSettings, teacher: Classifier) -> None:
        """Initialise the weights of the student."""
        super().__init__(settings)
        self.weight = settings.dapi_weight
        # In a tuple, so that the teacher is not a submodule and is not fitted.
        self._teacher = (copy.deepcopy(teacher).eval(),)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch with a mixture of labels and soft labels."""
        assert batch.nucleus is not None
        (teacher,) = self._teacher
        with torch.no_grad():
            soft = teacher(torch.cat((batch.bright, batch.nucleus), 1)).float().sigmoid()
        mixed = torch.lerp(batch.target, soft, self.weight)
        target = torch.where(batch.has_nucleus, mixed, batch.target)
        return _loss(self.network(batch.bright), target, batch.positive_weight)


STRATEGIES = {
    "none": BrightField,
    "samples": DapiAsExtraSamples,
    "auxiliary": DapiPrediction,
    "dropout": DapiDropout,
}
"""All but `teacher`, which needs two fits."""


def _loss(logits: Tensor, target: Tensor, positive_weight: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), target, pos_weight=positive_weight)


def _stem(network: Classifier) -> str:
    """Name of the first layer's weights, (out, channels, side, side)."""
    name: str = next(name for name, _ in network.named_parameters())
    return name
