"""The networks, all from MONAI, and their input.

ResNets have a stem with stride 2 and a max-pool, as in the original: on a CPU this is four times as
fast as MONAI's default.
"""

from __future__ import annotations

import numpy as np
import torch
from monai.networks.nets.densenet import DenseNet121
from monai.networks.nets.efficientnet import EfficientNetBN
from monai.networks.nets.resnet import ResNet
from numpy.typing import NDArray
from torch import Tensor, nn

from ctcedge.images.preprocess import BACKGROUND_LEVEL

from ..util.batching import batches

_RESNETS = {
    "resnet10": ("basic", [1, 1, 1, 1]),
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet34": ("basic", [3, 4, 6, 3]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
}

_STEM_CHANNELS = 64
_MIN_CHANNELS_LAST = 16

NETWORKS = (*_RESNETS, "densenet121", "efficientnet-b4")
VIEWS = (1, 2, 4, 8)


class Classifier(nn.Module):
    """A network whose only output is the logit of CTC.

    In every network, the logit is one linear layer on the spatial mean of the last feature maps, so
    that it can be mapped back to the image.
    """

    def __init__(self, name: str, width: float = 1.0, views: int = 1, channels: int = 1) -> None:
        """Initialise the weights from PyTorch's random state.

        Args:
            name: one of `NETWORKS`.
            width: factor on the number of channels inside; ResNets only.
            views: 1, 2, 4 or 8; in evaluation mode the logit is the mean over this number of
                mirrored and rotated copies of an image.
            channels: of the image.

        Raises:
            ValueError: unknown name, width or views.
        """
        super().__init__()
        if views not in VIEWS:
            raise ValueError(f"views must be one of {', '.join(map(str, VIEWS))}, not {views}")
        self.name, self.width, self.views = name, width, views
        self.body = _body(name, width, channels)
        self.drop = nn.Dropout(self.body.drop)

    @property
    def head(self) -> nn.Linear:
        """The last layer, from features to the logit."""
        return self.body.head

    def headless_state(self) -> dict[str, Tensor]:
        """Return the weights of all but the head."""
        head = {id(tensor) for tensor in self.head.state_dict(keep_vars=True).values()}
        state = self.state_dict(keep_vars=True)
        return {name: t.detach() for name, t in state.items() if id(t) not in head}

    def load_headless(self, state: dict[str, Tensor]) -> None:
        """Load weights of `headless_state`; those of the head stay.

        Raises:
            RuntimeError: they are of another network.
        """
        own = self.state_dict()
        head = own.keys() - self.headless_state().keys()
        self.load_state_dict({name: own[name] for name in head} | state)

    def stages(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        """Map (n, channels, side, side) contrast units to intermediate and last feature maps.

        Returns:
            Maps of 1/16 and of 1/32 of the image's side.
        """
        return self.body.stages(scaled)

    def maps(self, scaled: Tensor) -> Tensor:
        """Map (n, channels, side, side) contrast units to the last feature maps, (n, c, h, w)."""
        return self.stages(scaled)[1]

    def classify(self, maps: Tensor) -> Tensor:
        """Map the last feature maps, (n, c, h, w), to (n,) logits."""
        logit: Tensor = self.head(self.drop(maps.mean((2, 3)))).squeeze(1)
        return logit

    def forward(self, scaled: Tensor) -> Tensor:
        """Map (n, channels, side, side) contrast units to (n,) logits."""
        views = 1 if self.training else self.views
        logits = self.classify(self.maps(stack_views(scaled, views)))
        return logits.view(views, -1).mean(0)


class _ResNet(ResNet):
    drop = 0.0

    def __init__(self, name: str, width: float, channels: int) -> None:
        block, layers = _RESNETS[name]
        super().__init__(
            block,
            layers,
            block_inplanes=[_STEM_CHANNELS * factor for factor in (1, 2, 4, 8)],
            spatial_dims=2,
            n_input_channels=channels,
            conv1_t_stride=2,
            widen_factor=width,
            num_classes=1,
            bias_downsample=False,
        )

    @property
    def head(self) -> nn.Linear:
        assert self.fc is not None
        return self.fc

    def stages(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maxpool(self.act(self.bn1(self.conv1(scaled))))
        middle = self.layer3(self.layer2(self.layer1(maps)))
        return middle, self.layer4(middle)


class _DenseNet(DenseNet121):
    drop = 0.0

    def __init__(self, channels: int) -> None:
        super().__init__(spatial_dims=2, in_channels=channels, out_channels=1)

    @property
    def head(self) -> nn.Linear:
        head = self.class_layers.out
        assert isinstance(head, nn.Linear)
        return head

    def stages(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        maps = scaled
        for name, layer in self.features.named_children():
            maps = layer(maps)
            if name == "denseblock3":
                middle = maps
        return middle, self.class_layers.get_submodule("relu")(maps)


class _EfficientNet(EfficientNetBN):
    drop = 0.4
    """As published for B4."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            "efficientnet-b4", pretrained=False, spatial_dims=2, in_channels=channels, num_classes=1
        )
        # MONAI initialises it for a thousand classes: with one, initial logits reach a hundred.
        self._fc.reset_parameters()
        # The memory-efficient form cannot be exported.
        self.set_swish(memory_efficient=False)

    @property
    def head(self) -> nn.Linear:
        return self._fc

    def stages(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        maps = self._swish(self._bn0(self._conv_stem(self._conv_stem_padding(scaled))))
        middle = self._blocks[:5](maps)
        maps = self._conv_head(self._conv_head_padding(self._blocks[5:](middle)))
        return middle, self._swish(self._bn1(maps))


def _body(name: str, width: float, channels: int) -> _ResNet | _DenseNet | _EfficientNet:
    if name in _RESNETS:
        return _ResNet(name, width, channels)
    if name not in NETWORKS:
        raise ValueError(f"unknown network '{name}' (known: {', '.join(NETWORKS)})")
    if width != 1:
        raise ValueError(f"{name} has no width but 1; ResNets have")
    return _DenseNet(channels) if name == "densenet121" else _EfficientNet(channels)


def memory_format(network: Classifier) -> torch.memory_format:
    """Return the memory format to train a network in: channels last, which is the fastest.

    PyTorch 2.13.0 crashes on a CPU ('Segmentation fault', 'double free') where float32
    convolutions with 8 channels run channels last on two threads, so that narrow ResNets, such as
    the preset `tiny`, are trained contiguous.
    """
    channels = _STEM_CHANNELS * network.width
    return torch.channels_last if channels >= _MIN_CHANNELS_LAST else torch.contiguous_format


def stack_views(images: Tensor, views: int) -> Tensor:
    """Stack mirrored and rotated copies of (n, c, side, side) images along the batch.

    Args:
        images: any.
        views: 1: the images; 2: also mirrored left to right; 4: also top to bottom; 8: also
            transposed, which gives every mirroring and quarter turn.

    Returns:
        (views * n, c, side, side), one view after the other.
    """
    copies = [images]
    if views >= 2:
        copies += [copy.flip(3) for copy in copies]
    if views >= 4:
        copies += [copy.flip(2) for copy in copies]
    if views >= 8:
        copies += [copy.transpose(2, 3) for copy in copies]
    return torch.cat(copies)


def deviation(inputs: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Convert inputs to float32 levels above the background.

    Args:
        inputs: (n, side, side), or (n, channels, side, side).
        device: of the result.

    Returns:
        (n, channels, side, side).
    """
    levels = torch.from_numpy(inputs).to(device).float() - BACKGROUND_LEVEL
    return levels.view(len(inputs), -1, *inputs.shape[-2:])


@torch.inference_mode()
def predict(
    network: nn.Module, inputs: NDArray[np.uint8], gain: float, batch_size: int = 256
) -> NDArray[np.float32]:
    """Return the logits, (n,), in full precision.

    Args:
        network: put into evaluation mode and left there.
        inputs: (n, side, side) or (n, channels, side, side), as `network_input` makes them.
        gain: input levels of one contrast unit, as in the input's spec.
        batch_size: images at a time.
    """
    network.eval()
    device = next(network.parameters()).device
    parts = [network(deviation(part, device) / gain) for part in batches(inputs, batch_size)]
    logits: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
    return logits
