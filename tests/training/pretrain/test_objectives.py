"""Each objective rewards what it is for, and trains the features alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from train.fit.distributed import ProcessGroup
from train.pretrain.objectives import (
    Aligned,
    Contrastive,
    Masked,
    Pretraining,
    Seen,
    StainPrediction,
    VicReg,
)
from train.pretrain.settings import OBJECTIVES, PretrainSettings
from train.pretrain.views import ViewBatch, ViewLoader

SETTINGS = PretrainSettings(network="resnet10", width=0.0625, batch_size=16, bf16=False)
ONE = ProcessGroup(0, 1, torch.device("cpu"))


def batch_of(crops, settings):
    made = ViewLoader(crops, settings, 32.0, ONE, torch.contiguous_format)
    return made.batch(made.order(0)[0], 0)


@pytest.mark.parametrize("names", [(name,) for name in OBJECTIVES] + [("contrastive", "stains")])
def test_the_loss_reaches_all_but_the_head(simulated, names):
    settings = replace(SETTINGS, objectives=names)
    torch.manual_seed(1)
    model = Pretraining(settings, stains=3).train()
    loss = model(batch_of(simulated.crops, settings))
    assert loss.shape == () and torch.isfinite(loss)
    loss.backward()
    for name, parameter in model.network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.abs().sum() > 0, name
    assert model.network.head.weight.grad is None


def seen(features, sample=None, **stains):
    n = len(features) // 2
    empty = torch.zeros(2 * n, 0, 8, 8)
    batch = ViewBatch(
        bright=torch.zeros(2 * n, 1, 8, 8),
        whole=torch.zeros(2 * n, 1, 8, 8),
        hidden=None,
        stains=stains.get("stains", empty),
        has_stain=stains.get("has_stain", torch.zeros(2 * n, 0, dtype=torch.bool)),
        sample=torch.arange(n) if sample is None else sample,
    )
    return Seen(batch, features[..., None, None])


@pytest.fixture
def features():
    torch.manual_seed(2)
    one = torch.randn(12, 8)
    return torch.cat((one, one + 0.01 * torch.randn(12, 8)))


def plain(objective):
    objective.project = torch.nn.Identity()
    return objective


def test_contrastive_wants_the_partner_near(features):
    objective = plain(Contrastive(8, SETTINGS, 0))
    shuffled = torch.cat((features[:12], features[12:].roll(1, 0)))
    assert objective(seen(features)) < 0.5 < objective(seen(shuffled))


def test_negatives_of_other_samples_do_not_count(features):
    objective = plain(Contrastive(8, replace(SETTINGS, negatives="sample"), 0))
    alone = objective(seen(features))
    assert alone == pytest.approx(0.0, abs=1e-6)  # no two of a sample
    together = objective(seen(features, torch.zeros(12, dtype=torch.long)))
    assert together == pytest.approx(float(plain(Contrastive(8, SETTINGS, 0))(seen(features))))


def test_vicreg_punishes_collapse_and_redundancy(features):
    objective = plain(VicReg(8, SETTINGS, 0))
    good = objective(seen(features))
    assert objective(seen(torch.zeros_like(features))) > good + 10
    copied = features[:, :1].expand(-1, 8)
    assert objective(seen(copied)) > good + 3


def test_aligned_wants_a_cells_own_stain():
    objective = Aligned(8, SETTINGS, 1)
    torch.manual_seed(3)
    codes = torch.randn(12, 8).repeat(2, 1)
    objective.project, objective.project_stains = torch.nn.Identity(), torch.nn.Identity()
    objective.network = _FirstPixels()
    stains = torch.zeros(24, 1, 8, 8)
    stains[:, 0, 0] = codes
    has = torch.ones(24, 1, dtype=torch.bool)
    own = objective(seen(codes, stains=stains, has_stain=has))
    assert own < 1.0 < objective(seen(codes, stains=stains.roll(1, 0), has_stain=has))
    assert objective(seen(codes, stains=stains, has_stain=~has)) == 0


def test_a_reconstruction_costs_one_where_nothing_is_learnt(simulated):
    settings = replace(SETTINGS, objectives=("masked",))
    batch = batch_of(simulated.crops, settings)
    objective = Masked(4, settings, 0)
    whole = torch.nn.functional.interpolate(batch.whole, size=(32, 32), mode="area")
    hidden = torch.nn.functional.interpolate(batch.hidden.float(), size=(32, 32), mode="area")
    for decoded, loss in ((whole, 0.0), ((whole * hidden).sum() / hidden.sum(), 1.0)):
        objective.decode = _Fixed(decoded.expand_as(whole))
        assert objective(Seen(batch, torch.zeros(1))) == pytest.approx(loss, abs=0.01)


class _Fixed(torch.nn.Module):
    def __init__(self, decoded):
        super().__init__()
        self.decoded = decoded

    def forward(self, maps):
        return self.decoded


class _FirstPixels(torch.nn.Module):
    def maps(self, stains):
        return stains[:, 0, 0, :, None, None]


def test_a_stain_that_is_not_there_does_not_count(simulated):
    settings = replace(SETTINGS, objectives=("stains",))
    batch = batch_of(simulated.crops, settings)
    objective = StainPrediction(4, settings, 3)
    maps = torch.randn(len(batch.bright), 4, 2, 2)
    absent = replace(batch, has_stain=torch.zeros_like(batch.has_stain))
    assert objective(Seen(absent, maps)) == 0
    some = batch.has_stain.clone()
    some[:, 1:] = False
    spoilt = batch.stains.clone()
    spoilt[:, 1:] = 99.0
    one = objective(Seen(replace(batch, has_stain=some), maps))
    assert one > 0
    assert one == objective(Seen(replace(batch, has_stain=some, stains=spoilt), maps))
