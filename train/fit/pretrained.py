"""Initial weights from an earlier run, from a pretraining or from a model folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from ctcedge.images.preprocess import InputSpec
from ctcedge.model.folder import Model, load_model
from ctcedge.model.spec import SPEC_NAME
from ctcedge.records import convert

from ..baselines.baselines import EARLIER, TRAINING, UNLABELLED, read_table
from ..data.dataset import TrainingProvenance, draw_by_sample
from .folder import (
    CELLS_NAME,
    PRETRAINING_NAME,
    RUN_NAME,
    WEIGHTS_NAME,
    RunError,
    load_weights,
    read_json,
)
from .networks import Classifier, deviation
from .run import Run, open_runs

_NORM_CELLS = 256


class InitialWeightsError(ValueError):
    """Initial weights cannot be taken from a folder."""


@dataclass(frozen=True, slots=True)
class Pretraining:
    """What a fit needs to know of a pretraining; `train.pretrain.run` writes it.

    Attributes:
        input: network input that the features are made for.
        provenance: of the unlabelled cells.
    """

    input: InputSpec
    provenance: TrainingProvenance

    @classmethod
    def of(cls, folder: Path) -> Pretraining:
        """Read the record of a pretraining.

        Raises:
            RunError: it is damaged or of another version.
        """
        record = read_json(folder / PRETRAINING_NAME)
        names = [column.name for column in fields(TrainingProvenance)]
        try:
            with np.load(folder / CELLS_NAME, allow_pickle=False) as arrays:
                columns = {name: arrays[f"provenance_{name}"] for name in names}
            return cls(convert(record["input"], InputSpec), TrainingProvenance(**columns))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{folder} is damaged or of another version: {error}") from None


@dataclass(frozen=True, slots=True)
class InitialWeights:
    """Weights to start from.

    Attributes:
        file: a run's weights, or a model's floating-point graph.
        sha256: of the file.
        provenance: all cells that the weights were trained on with their labels.
        unlabelled: all cells that they were pretrained on without labels.
        pretraining: record of the pretraining that made them, whose weights are without a head;
            None for a fitted network.
    """

    file: Path
    sha256: str
    provenance: TrainingProvenance
    unlabelled: TrainingProvenance = field(default_factory=TrainingProvenance.empty)
    pretraining: Pretraining | None = None

    @classmethod
    def of(cls, folder: Path) -> InitialWeights:
        """Find the weights of a finished run or pretraining, or of a model folder.

        Raises:
            InitialWeightsError: there are none, or the model has no training table.
            RunError: the run is damaged.
            ModelError: the model folder is damaged.
        """
        model = load_model(folder) if (folder / SPEC_NAME).is_file() else None
        if model is not None:
            graphs = model.spec.graphs
            name = next((graphs[kind].file for kind in ("fp32", "fp16") if kind in graphs), "")
            if not name:
                raise InitialWeightsError(f"{folder} has no floating-point graph to start from")
        elif (folder / RUN_NAME).is_file() or (folder / PRETRAINING_NAME).is_file():
            name = WEIGHTS_NAME
        else:
            raise InitialWeightsError(
                f"{folder} is neither a model folder nor a run (or fold of one)"
            )
        file = folder / name
        if not file.is_file():
            raise InitialWeightsError(f"{file} is missing; is the run finished?")
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        if model is not None:
            return cls(file, sha256, *_provenance_of_model(model))
        if (folder / RUN_NAME).is_file():
            return cls(file, sha256, *_provenance_of_run(folder))
        none = TrainingProvenance.empty()
        pretraining = Pretraining.of(folder)
        return cls(file, sha256, none, pretraining.provenance, pretraining)

    def network(self, run: Run) -> Classifier:
        """Return a run's network with these weights.

        Raises:
            InitialWeightsError: the weights are of another network.
        """
        network = run.settings.classifier()
        try:
            if self.pretraining is not None:
                network.load_headless(load_weights(self.file))
            elif self.file.name == WEIGHTS_NAME:
                network.load_state_dict(load_weights(self.file))
            else:
                cells = draw_by_sample(run.subset("training"), _NORM_CELLS, run.settings.seed)
                scaled = deviation(cells.bright) / run.input.gain
                unfold_batch_norms(network, graph_weights(onnx.load(self.file).graph), scaled)
        except (KeyError, RuntimeError) as error:
            settings = run.settings
            raise InitialWeightsError(
                f"{self.file} has the weights of another network than {settings.network} of"
                f" width {settings.width:g} ({str(error).strip().splitlines()[-1].strip()})"
            ) from None
        return network


def _provenance_of_run(folder: Path) -> tuple[TrainingProvenance, TrainingProvenance]:
    """Return the cells that a run used with, and without, their labels."""
    (run,) = open_runs(folder)
    return run.earlier.concat(TrainingProvenance.of(run.subset("training"))), run.unlabelled


def _provenance_of_model(model: Model) -> tuple[TrainingProvenance, TrainingProvenance]:
    """Return the cells that a model was made from with, and without, their labels."""
    pinned = model.spec.training_table
    if pinned is None:
        raise InitialWeightsError(f"{model.folder} has no training table; export it again")
    table = read_table(model.read(pinned))
    unlabelled = table.provenance(table.split == UNLABELLED)
    return table.provenance(np.isin(table.split, (TRAINING, EARLIER))), unlabelled


def unfold_batch_norms(network: Classifier, weights: dict[str, Tensor], scaled: Tensor) -> None:
    """Load the weights of an exported graph, whose batch norms are folded into the convolutions.

    Each of these batch norms gets the mean and the variance of its input for a few cells, and the
    scale and shift that cancel them: the network computes the same logits as the graph, and can be
    trained further.

    Args:
        network: receives the weights.
        weights: of the graph, by the network's own names.
        scaled: (n, 1, side, side) cells, contrast units.

    Raises:
        KeyError: a weight is missing.
        RuntimeError: a weight has another shape.
    """
    folded: list[Tensor] = []
    hooks = []

    def keep_bias(conv: nn.Module, bias: Tensor) -> None:
        hooks.append(conv.register_forward_hook(lambda *_: folded.append(bias)))

    def cancel(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None and norm.running_var is not None
        mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3), unbiased=False)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean + folded.pop())

    with torch.no_grad():
        for name, module in network.body.named_modules():
            if isinstance(module, nn.BatchNorm2d) and f"{name}.weight" not in weights:
                hooks.append(module.register_forward_pre_hook(cancel))
                continue
            own = dict(module.named_parameters(recurse=False))
            if isinstance(module, nn.BatchNorm2d):
                own |= {key: getattr(module, key) for key in ("running_mean", "running_var")}
            for key, parameter in own.items():
                given = weights[f"{name}.{key}"]
                if given.shape != parameter.shape:
                    raise RuntimeError(
                        f"{name}.{key} is {tuple(given.shape)}, not {tuple(parameter.shape)}"
                    )
                parameter.copy_(given)
            if isinstance(module, nn.Conv2d) and module.bias is None and f"{name}.bias" in weights:
                keep_bias(module, weights[f"{name}.bias"])
        network.eval().maps(scaled)
    for hook in hooks:
        hook.remove()


_PARAMETERS = {
    "Conv": ("weight", "bias"),
    "Gemm": ("weight", "bias"),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
}


def graph_weights(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """Return the weights of an exported graph, float32, by the network's own names.

    A layer is named after its weights; its other parameters are taken by their position, since the
    exporter merges equal ones, such as zeros.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    weights: dict[str, Tensor] = {}
    for node in graph.node:
        for key, name in zip(_PARAMETERS.get(node.op_type, ()), node.input[1:], strict=False):
            layer = node.input[1].removesuffix(".weight")
            values = np.array(numpy_helper.to_array(tensors[name]), dtype=np.float32)
            weights[f"{layer}.{key}"] = torch.from_numpy(values)
    return weights
