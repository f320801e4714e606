"""What a network learns from crops without labels.

An objective is a module that computes a loss from the feature maps of two views of each crop.
Objectives can be combined: they share the views and the network's pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..fit.networks import Classifier
from .settings import PretrainSettings
from .views import ViewBatch

_EMBEDDING = 128
_EXPANDED = 512
_STAIN_NETWORK = ("resnet10", 0.25)


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch, and what the network makes of it.

    Attributes:
        batch: of views.
        maps: (2n, c, h, w) last feature maps, float32.
    """

    batch: ViewBatch
    maps: Tensor

    @property
    def features(self) -> Tensor:
        """(2n, c), the spatial means, which the head of a classifier takes."""
        return self.maps.mean((2, 3))


class Contrastive(nn.Module):
    """`contrastive`: the two views of a crop are nearer than views of other crops (SimCLR)."""

    def __init__(self, channels: int, settings: PretrainSettings, stains: int) -> None:
        """Initialise the weights of the projection."""
        super().__init__()
        self.project = _projection(channels, _EMBEDDING)
        self.temperature, self.of_sample = settings.temperature, settings.negatives == "sample"

    def forward(self, seen: Seen) -> Tensor:
        """Return the loss of a batch."""
        embedded = F.normalize(self.project(seen.features), dim=1)
        similar = embedded @ embedded.T / self.temperature
        n = len(embedded) // 2
        ignored = torch.eye(2 * n, dtype=torch.bool, device=embedded.device)
        if self.of_sample:
            sample = seen.batch.sample.repeat(2)
            ignored = ignored | (sample[:, None] != sample[None, :])
        partner = torch.arange(2 * n, device=embedded.device).roll(n)
        return F.cross_entropy(similar.masked_fill(ignored, float("-inf")), partner)


class VicReg(nn.Module):
    """`vicreg`: the two views agree, while embeddings vary and do not correlate; no negatives."""

    def __init__(self, channels: int, settings: PretrainSettings, stains: int) -> None:
        """Initialise the weights of the projection."""
        super().__init__()
        self.project = _projection(channels, _EXPANDED, layers=3)

    def forward(self, seen: Seen) -> Tensor:
        """Return the loss of a batch, with the weights of the publication."""
        embedded = self.project(seen.features)
        first, second = embedded.chunk(2)
        apart = F.mse_loss(first, second)
        varying, correlated = zip(*(_spread(part) for part in (first, second)), strict=True)
        return 25 * apart + 12.5 * torch.stack(varying).sum() + torch.stack(correlated).sum()


class Masked(nn.Module):
    """`masked`: hidden squares of a view are reconstructed from what is left."""

    def __init__(self, channels: int, settings: PretrainSettings, stains: int) -> None:
        """Initialise the weights of the decoder."""
        super().__init__()
        self.decode = _decoder(channels, 1, doublings=4)

    def forward(self, seen: Seen) -> Tensor:
        """Return the fraction of the variance within the hidden squares that is not explained."""
        batch = seen.batch
        assert batch.hidden is not None
        decoded = self.decode(seen.maps)
        truth = F.interpolate(batch.whole, size=decoded.shape[-2:], mode="area")
        hidden = F.interpolate(batch.hidden.float(), size=decoded.shape[-2:], mode="area")
        return _unexplained(decoded, truth, hidden).mean()


class StainPrediction(nn.Module):
    """`stains`: the images of the stains are predicted from bright field."""

    def __init__(self, channels: int, settings: PretrainSettings, stains: int) -> None:
        """Initialise the weights of the decoder."""
        super().__init__()
        self.decode = _decoder(channels, stains, doublings=3)

    def forward(self, seen: Seen) -> Tensor:
        """Return the fraction of the variance that is not explained, of the stains there are."""
        batch = seen.batch
        decoded = self.decode(seen.maps)
        truth = F.interpolate(batch.stains, size=decoded.shape[-2:], mode="area")
        return _unexplained(decoded, truth, batch.has_stain[..., None, None].float()).mean()


class Aligned(nn.Module):
    """`aligned`: bright field of a cell is nearer to its own stains than to those of others.

    The stains have a network of their own, which is not kept.
    """

    def __init__(self, channels: int, settings: PretrainSettings, stains: int) -> None:
        """Initialise the weights of the projections and of the network of the stains."""
        super().__init__()
        name, width = _STAIN_NETWORK
        self.network = Classifier(name, width, channels=stains)
        self.network.head.requires_grad_(False)
        self.project = _projection(channels, _EMBEDDING)
        self.project_stains = _projection(self.network.head.in_features, _EMBEDDING)
        self.temperature = settings.temperature

    def forward(self, seen: Seen) -> Tensor:
        """Return the loss of the cells that have a stain; each view meets that of the other."""
        batch = seen.batch
        stained = batch.stains * batch.has_stain[..., None, None]
        described = self.network.maps(stained).float().mean((2, 3))
        bright = F.normalize(self.project(seen.features), dim=1)
        others = F.normalize(self.project_stains(described), dim=1)
        having = batch.has_stain.any(1)
        total = bright.sum() * 0
        for one, other, has in zip(
            bright.chunk(2), reversed(others.chunk(2)), having.chunk(2), strict=True
        ):
            similar = (one[has] @ other[has].T) / self.temperature
            if len(similar):
                own = torch.arange(len(similar), device=similar.device)
                total = total + F.cross_entropy(similar, own) + F.cross_entropy(similar.T, own)
        return total / 4


_KINDS = {
    "contrastive": Contrastive,
    "vicreg": VicReg,
    "masked": Masked,
    "stains": StainPrediction,
    "aligned": Aligned,
}


class Pretraining(nn.Module):
    """A network and the objectives that it is trained by.

    Attributes:
        network: whose features are trained; its head is not.
        objectives: by name.
    """

    def __init__(self, settings: PretrainSettings, stains: int) -> None:
        """Initialise all weights from PyTorch's random state.

        Args:
            settings: of the pretraining.
            stains: number of stains.
        """
        super().__init__()
        self.network = Classifier(settings.network, settings.width)
        self.network.head.requires_grad_(False)
        channels = self.network.head.in_features
        self.objectives = nn.ModuleDict(
            {name: _KINDS[name](channels, settings, stains) for name in settings.objectives}
        )

    def forward(self, batch: ViewBatch) -> Tensor:
        """Return the sum of the objectives' losses."""
        maps = self.network.maps(batch.bright).float()
        # The sums of a loss need the precision, and are no work.
        with torch.autocast(maps.device.type, enabled=False):
            seen = Seen(batch, maps)
            losses = [objective(seen) for objective in self.objectives.values()]
        return torch.stack(losses).sum()


def _projection(channels: int, size: int, layers: int = 2) -> nn.Sequential:
    inside: list[nn.Module] = []
    for _ in range(layers - 1):
        inside += [nn.Linear(channels, size, bias=False), nn.BatchNorm1d(size), nn.ReLU()]
        channels = size
    return nn.Sequential(*inside, nn.Linear(channels, size))


def _decoder(channels: int, outputs: int, doublings: int) -> nn.Sequential:
    """Make a decoder of feature maps to images of 2 ** `doublings` times their side."""
    inside: list[nn.Module] = []
    for number in range(doublings):
        fewer = max(16, 128 >> number)
        kernel = 1 if number == 0 else 3
        inside += [nn.Conv2d(channels, fewer, kernel, padding=kernel // 2), nn.ReLU()]
        inside += [nn.Upsample(scale_factor=2, mode="bilinear")]
        channels = fewer
    return nn.Sequential(*inside, nn.Conv2d(channels, outputs, 3, padding=1))


def _unexplained(decoded: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Return the squared error over the variance of the truth, (k,), of k channels; weighted.

    Losses of other kinds can be added to it: it is about one where nothing is learnt.
    """
    weight = weight.expand_as(truth)
    total = weight.sum((0, 2, 3)).clamp_min(1e-6)
    mean = (truth * weight).sum((0, 2, 3)) / total
    variance = (weight * (truth - mean[:, None, None]).square()).sum((0, 2, 3)) / total
    error = (weight * (decoded - truth).square()).sum((0, 2, 3)) / total
    return error / (variance + 1e-4)


def _spread(embedded: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far the variance is below one, and the mean square of the covariances."""
    centred = embedded - embedded.mean(0)
    deviation = (centred.square().sum(0) / max(1, len(centred) - 1) + 1e-4).sqrt()
    covariance = centred.T @ centred / max(1, len(centred) - 1)
    size = embedded.shape[1]
    off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
    return F.relu(1 - deviation).mean(), off_diagonal / size
