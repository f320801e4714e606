"""Every network, seen as maps and one linear layer."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from train.fit.networks import NETWORKS, VIEWS, Classifier, memory_format, stack_views


def quick(**options):
    torch.manual_seed(1)
    return Classifier("resnet10", 0.125, **options).eval()


@pytest.fixture
def images():
    return torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_logit_is_linear_in_the_mean_of_the_last_maps(images, name):
    torch.manual_seed(1)
    network = Classifier(name).eval()
    with torch.inference_mode():
        middle, last = network.stages(images)
        features = last.mean((2, 3))
        expected = features @ network.head.weight[0] + network.head.bias
        logits = network(images)
    assert middle.shape[2:] == (4, 4)
    assert last.shape[2:] == (2, 2)
    assert logits.shape == (3,)
    assert torch.allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_logit_is_that_of_the_network_as_monai_has_it(images, name):
    torch.manual_seed(1)
    network = Classifier(name).eval()
    with torch.inference_mode():
        assert torch.allclose(network(images), network.body(images).squeeze(1), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fit_begins_with_moderate_logits(name):
    torch.manual_seed(1)
    network = Classifier(name).train()
    images = torch.randn(16, 1, 64, 64)
    with torch.no_grad():
        assert network(images).abs().max() < 5


@pytest.mark.parametrize("views", VIEWS)
def test_views_are_all_different(images, views):
    copies = stack_views(images, views).unflatten(0, (views, -1))
    assert torch.equal(copies[0], images)
    for one in range(views):
        for other in range(one):
            assert not torch.equal(copies[one], copies[other])


def test_views_are_averaged(images):
    with torch.inference_mode():
        one, two = quick(), quick(views=2)
        assert torch.allclose(two(images), (one(images) + one(images.flip(3))) / 2, atol=1e-6)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_eight_views_answer_alike_however_a_cell_lies(images, turn):
    network = quick(views=8)
    with torch.inference_mode():
        assert torch.allclose(network(images.rot90(turn, (2, 3))), network(images), atol=1e-5)
        assert not torch.allclose(quick()(images.rot90(turn, (2, 3))), quick()(images), atol=1e-5)


def test_in_training_there_is_one_view(images):
    network, plain = quick(views=8).train(), quick().train()
    assert torch.equal(network(images), plain(images))


def test_what_is_unknown_is_named():
    with pytest.raises(ValueError, match="unknown network 'vgg'"):
        Classifier("vgg")
    with pytest.raises(ValueError, match="one of 1, 2, 4, 8, not 3"):
        Classifier("resnet10", views=3)
    with pytest.raises(ValueError, match="densenet121 has no width but 1"):
        Classifier("densenet121", 0.5)


def test_only_narrow_networks_are_trained_contiguous():
    assert memory_format(Classifier("resnet10", 0.125)) == torch.contiguous_format
    assert memory_format(Classifier("resnet10", 0.25)) == torch.channels_last
    assert memory_format(Classifier("efficientnet-b4")) == torch.channels_last


FLOAT32_STEPS = """
import torch
from train.fit.networks import Classifier, memory_format
torch.manual_seed(1)
torch.set_num_threads(2)
network = Classifier("resnet10", 0.125, views=2)
layout = memory_format(network)
network.to(memory_format=layout)
for step in range(12):
    images = torch.randn(32 - step % 5, 1, 64, 64).contiguous(memory_format=layout)
    network.train()(images).square().mean().backward()
    with torch.inference_mode():
        network.eval()(torch.randn(77, 1, 64, 64))
print("done")
"""


def test_a_narrow_network_trains_in_float32_on_two_threads():
    """PyTorch 2.13.0 crashes here where the memory format is channels last."""
    result = subprocess.run(
        [sys.executable, "-c", FLOAT32_STEPS], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
