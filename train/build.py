"""The whole way, in order: simulate, preprocess, fit, export, calibrate, evaluate, write."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from ctcedge.model import (
    Golden,
    Labels,
    Model,
    ModelSpec,
)
from ctcedge.preprocess import InputSpec
from train import export
from train.calibrate import PRIOR, calibrate, choose_decision
from train.card import Facts, card
from train.dataset import BRIGHT_FIELD, Images, draw_by_sample, prepare, split, thin
from train.evaluate import evaluate
from train.fit import FitSettings, fit
from train.graphs import Logits, probabilities, run_graph
from train.network import predict
from train.package import (
    CARD_NAME,
    GOLDEN_NAME,
    GOLDEN_TOLERANCE,
    graph_name,
    pin,
    publish,
    refuse_foreign,
    write_golden,
    write_spec,
)
from train.parity import REFERENCE, ParityLimits, agreement, check_parity
from train.progress import progress
from train.simulate import simulate_cells

NUCLEUS = "DAPI"
CHANNELS = (BRIGHT_FIELD, NUCLEUS)

INPUT = InputSpec(
    size=64, um_per_px=0.5, border=0.1, disk=0.5, contrast=(90.0, 99.0), floor=0.01, gain=48.0
)


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """All that decides a simulated model, besides its name and version.

    Attributes:
        training_hospitals: simulated hospitals to train on.
        validation_hospitals: others, for the probability calibration and the review band.
        test_hospitals: others again, for the figures on the card.
        samples: of each hospital.
        cells: of each sample.
        dapi_share: share of the training cells whose DAPI image is a further training sample;
            validation and test see bright field alone.
        calibration_images: whose range sets the INT8 graph's activations.
        input: what the network sees.
        fit: how it learns.
        parity: what differences the export may bring.
        seed: of everything.
    """

    training_hospitals: int = 64
    validation_hospitals: int = 8
    test_hospitals: int = 12
    samples: int = 4
    cells: int = 40
    dapi_share: float = 0.25
    calibration_images: int = 512
    input: InputSpec = INPUT
    fit: FitSettings = field(default_factory=FitSettings)
    parity: ParityLimits = field(default_factory=ParityLimits)
    seed: int = 1

    @property
    def hospitals(self) -> int:
        """Their number in all."""
        return self.training_hospitals + self.validation_hospitals + self.test_hospitals


TINY = BuildSettings(
    training_hospitals=4,
    validation_hospitals=2,
    test_hospitals=2,
    samples=2,
    cells=40,
    calibration_images=64,
    fit=FitSettings(network="resnet10", width=0.125, epochs=4, batch_size=32, bf16=False),
    parity=ParityLimits(int8_auc=0.03),
)
"""Half a minute on two cores: proves the path, not the model."""


def build(
    name: str, version: str, settings: BuildSettings, *, command: str, out: Path, runs: Path
) -> Model:
    """Make a model folder from nothing but settings.

    Args:
        name: of the model and its folder.
        version: of the model.
        settings: what decides the weights.
        command: that makes this model, for its card.
        out: parent of the model folder.
        runs: parent of the run folder `<name>-<version>`, which keeps what is not shipped: the
            PyTorch weights, the log and the FP32 graph.

    Returns:
        The model, in the run folder; a copy of it is at `out/name`.

    Raises:
        ParityError: an exported graph differs too much from the network.
        FileExistsError: `out/name` is no model folder.
    """
    run = runs / f"{name}-{version}"
    folder = run / "model"
    refuse_foreign(out / name)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    spec = settings.input

    images = simulate(settings)
    training, validation, test = split(
        images,
        by="hospital",
        validation=settings.validation_hospitals,
        test=settings.test_hospitals,
    )
    training = thin(training, NUCLEUS, settings.dapi_share, settings.seed)
    network = fit(training, validation, replace(settings.fit, seed=settings.seed), spec.gain, run)
    bright = training.of(BRIGHT_FIELD)
    validation, test = validation.of(BRIGHT_FIELD), test.of(BRIGHT_FIELD)

    ranges = draw_by_sample(bright, settings.calibration_images, settings.seed)
    body = export.float_graph(network, spec)
    graphs = {
        "int8": export.int8_graph(body, spec, ranges.inputs),
        "fp16": export.fp16_graph(body, spec),
        "fp32": export.fp32_graph(body, spec),
    }

    def logits(side: Images) -> dict[str, Logits]:
        answers = {variant: run_graph(graph, side.inputs) for variant, graph in graphs.items()}
        return answers | {REFERENCE: predict(network, side.inputs, spec.gain)}

    held_out = logits(validation)
    check_parity(held_out, validation.positive, settings.parity)
    calibration = calibrate(held_out["int8"], validation.positive)
    decision = choose_decision(probabilities(held_out["int8"], calibration))

    answers = {key: probabilities(z, calibration) for key, z in logits(test).items()}
    report = evaluate(
        test, answers["int8"], decision, training=bright, spec=spec, seed=settings.seed
    )
    agreements = {
        variant: agreement(p, answers[REFERENCE], test.positive, decision)
        for variant, p in answers.items()
    }

    fp32 = graphs.pop("fp32")
    (run / graph_name("fp32")).write_bytes(fp32)
    for variant, graph in graphs.items():
        (folder / graph_name(variant)).write_bytes(graph)
    write_golden(folder / GOLDEN_NAME, graphs, spec, calibration, settings.seed)
    facts = Facts(name, version, command, settings, training, validation, report, agreements)
    (folder / CARD_NAME).write_text(card(facts, calibration, decision), encoding="utf-8")
    model = write_spec(
        folder,
        ModelSpec(
            schema="ctcedge/model/1",
            name=name,
            version=version,
            training=(
                f"simulated images only: {len(bright):,} cells of"
                f" {settings.training_hospitals} simulated hospitals, seed {settings.seed}"
            ),
            demonstration=True,
            labels=Labels(positive="CTC", negative="leukocyte"),
            input=spec,
            calibration=calibration,
            prior=PRIOR,
            decision=decision,
            opset=export.OPSET,
            graphs={variant: pin(folder / graph_name(variant)) for variant in graphs},
            golden=Golden(pin(folder / GOLDEN_NAME), GOLDEN_TOLERANCE),
            card=pin(folder / CARD_NAME),
        ),
    )
    publish(model, out / name)
    return model


def simulate(settings: BuildSettings) -> Images:
    """Simulate all hospitals and bring their cells to the network's input."""
    total = settings.hospitals * settings.samples * settings.cells
    cells = simulate_cells(
        hospitals=settings.hospitals,
        samples=settings.samples,
        cells=settings.cells,
        seed=settings.seed,
        channels=CHANNELS,
        workers=os.cpu_count() or 1,
    )
    with progress("Simulate", total) as advance:
        return prepare(cells, settings.input, CHANNELS, each=advance)
