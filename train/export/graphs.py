"""Make the ONNX graphs of a network and check each against the network.

The INT8 graph is quantized in several ways, in the order of `quantize.RECIPES`, until one makes
nearly the same calls as the network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from ctcedge.images.preprocess import InputSpec
from ctcedge.model.spec import Calibration, DecisionThresholds, Parity, Variant

from ..data.dataset import Cells, draw_by_sample
from ..metrics.onnx_scores import probabilities, run_graph
from .onnx import fp16_graph, fp32_graph
from .parity import ParityError, ParityLimits, measure_parity
from .quantize import RECIPES, Recipe, int8_graph

CALIBRATION_IMAGES = 512
CALIBRATION_DRAWS = 4

OnWarning = Callable[[str], object]
Quantize = Callable[[Recipe, NDArray[np.uint8]], bytes]


class Candidate(NamedTuple):
    """A graph with its probabilities of the validation cells and its parity with the network.

    Attributes:
        graph: ONNX bytes.
        probability: (n,) of the validation cells.
        parity: with the network.
        violations: of the parity limits, one text each.
        recipe: of an INT8 graph.
    """

    graph: bytes
    probability: NDArray[np.float64]
    parity: Parity
    violations: list[str]
    recipe: Recipe | None


@dataclass(slots=True)
class ParityCheck:
    """Compares graphs with the network on the validation cells.

    Attributes:
        cells: validation cells, n.
        expected: (n,) probabilities by the network.
        calibration: from logits to probabilities.
        decision: from probabilities to calls.
        limits: accepted differences.
    """

    cells: Cells
    expected: NDArray[np.float64]
    calibration: Calibration
    decision: DecisionThresholds
    limits: ParityLimits

    def __call__(self, variant: Variant, graph: bytes, recipe: Recipe | None = None) -> Candidate:
        """Run a graph and compare it with the network."""
        probability = probabilities(run_graph(graph, self.cells.bright), self.calibration)
        parity = measure_parity(probability, self.expected, self.cells.positive, self.decision)
        violations = self.limits.violations(variant, parity)
        return Candidate(graph, probability, parity, violations, recipe)


@dataclass(frozen=True, slots=True)
class Graphs:
    """The graphs to export.

    Attributes:
        by_variant: each accepted graph with its comparison.
        recipe: of the INT8 graph.
        calibration_images: number of training crops that set its ranges.
    """

    by_variant: dict[Variant, Candidate]
    recipe: Recipe
    calibration_images: int

    @property
    def parity(self) -> dict[str, Parity]:
        """Parity with the network by variant."""
        return {variant: candidate.parity for variant, candidate in self.by_variant.items()}


def make_graphs(
    body: onnx.ModelProto,
    spec: InputSpec,
    views: int,
    draws: list[NDArray[np.uint8]],
    check: ParityCheck,
    *,
    force: bool,
    on_warning: OnWarning,
) -> Graphs:
    """Make and check every graph.

    Args:
        body: from `onnx.float_graph`.
        spec: of the input.
        views: that the graphs average.
        draws: draws of calibration inputs, (m, size, size) each.
        check: compares a graph with the network.
        force: accept graphs that exceed the limits.
        on_warning: callback for user-facing warnings.

    Raises:
        ParityError: a graph differs too much from the network, whatever the recipe.
    """

    def quantize(recipe: Recipe, inputs: NDArray[np.uint8]) -> bytes:
        return int8_graph(body, spec, views, inputs, recipe)

    best = _best_quantization(quantize, draws, check, on_warning)
    if best.violations:
        if not force:
            raise ParityError(
                f"not exported; {'; '.join(best.violations)}; no other recipe is better: fit"
                " longer, or another network, or give --force"
            )
        on_warning(f"int8: exported all the same, quantized with {best.recipe}")
    accepted: dict[Variant, Candidate] = {"int8": best}
    accepted["fp16"] = check("fp16", fp16_graph(body, spec, views))
    accepted["fp32"] = check("fp32", fp32_graph(body, spec, views))
    for variant in ("fp16", "fp32"):
        violations = accepted[variant].violations
        if violations and not force:
            raise ParityError(f"not exported; {'; '.join(violations)}")
        if violations:
            on_warning(f"exported all the same; {'; '.join(violations)}")
    assert best.recipe is not None
    return Graphs(accepted, best.recipe, len(best.recipe.images(draws[0])))


def draw_calibration_inputs(training: Cells, seed: int) -> list[NDArray[np.uint8]]:
    """Draw the crops that set the ranges of INT8 graphs; several times where there are more."""
    draws = 1 if len(training) <= CALIBRATION_IMAGES else CALIBRATION_DRAWS
    return [
        draw_by_sample(training, CALIBRATION_IMAGES, seed + number).bright
        for number in range(draws)
    ]


def _best_quantization(
    quantize: Quantize,
    draws: list[NDArray[np.uint8]],
    check: ParityCheck,
    on_warning: OnWarning,
) -> Candidate:
    """Try recipes until a graph reaches the target; else return the closest accepted one.

    Where no graph is accepted, the closest is returned. Recipes with convolutions in float are
    slow at run time and are tried only where no other is accepted. Each recipe is tried on every
    draw of calibration inputs, and the closest graph counts: one or two unusual crops change the
    ranges more than the recipe does.
    """
    tried: list[Candidate] = []
    accepted: list[Candidate] = []
    for recipe in RECIPES:
        if recipe.float_ends and accepted:
            break
        candidates = [check("int8", quantize(recipe, inputs), recipe) for inputs in draws]
        tried.append(closest := _closest(candidates))
        if closest.violations:
            problems = "; ".join(closest.violations)
            on_warning(f"int8 with {recipe} is not good enough; {problems}")
            continue
        accepted.append(closest)
        if not check.limits.above_target(closest.parity):
            break
    best = _closest(accepted or tried)
    if best.recipe != RECIPES[0] and not best.violations:
        on_warning(f"int8: quantized with {best.recipe}")
    if accepted and (above := check.limits.above_target(best.parity)):
        on_warning(f"int8: {above}")
    return best


def _closest(candidates: list[Candidate]) -> Candidate:
    return min(candidates, key=lambda candidate: candidate.parity.mean_difference)
