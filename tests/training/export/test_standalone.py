"""The graph of a package: the same probability as the runtime's, from grey levels alone."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs

from ctcedge.images.preprocess import network_inputs
from ctcedge.model.folder import load_model
from train.export.bioimageio import test_crops as packed_crops
from train.export.standalone import run_standalone, standalone_graph
from train.metrics.onnx_scores import probabilities, run_graph

MODEL = load_model()


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_probabilities_are_those_of_the_runtime(variant):
    spec = MODEL.spec
    graph = MODEL.read_graph(variant)
    rng = np.random.default_rng(1)
    cells = packed_crops(MODEL)
    noise = rng.integers(0, 65_536, (4, *cells.shape[1:])).astype(np.uint16)
    flat = np.full((1, *cells.shape[1:]), 7, np.uint8)
    crops = [*cells, *(cells.astype(np.uint16) * 16 + 300), *noise, *flat, *np.zeros_like(flat)]
    inputs = network_inputs(crops, spec.input.um_per_px, spec.input)
    expected = probabilities(run_graph(graph, inputs), spec.calibration)
    packed = standalone_graph(graph, spec.input, spec.calibration)
    stacked = np.stack([crop.astype(np.float32) for crop in crops])
    assert run_standalone(packed, stacked[:, None])[:, 0] == pytest.approx(expected, abs=1e-5)


def test_gain_and_offset_do_not_matter():
    spec = MODEL.spec
    packed = standalone_graph(MODEL.read_graph("fp32"), spec.input, spec.calibration)
    crops = packed_crops(MODEL)[:, None].astype(np.float32)
    changed = run_standalone(packed, 5 * crops + 1000)
    assert changed == pytest.approx(run_standalone(packed, crops), abs=0.01)


def test_normalisation_follows_the_spec():
    spec = structs.replace(MODEL.spec.input, border=0.2, disk=0.8, contrast=(50.0, 90.0), gain=90.0)
    crops = packed_crops(MODEL)
    graph = MODEL.read_graph("fp32")
    expected = probabilities(run_graph(graph, network_inputs(list(crops), 0.5, spec)), CALIBRATION)
    packed = standalone_graph(graph, spec, CALIBRATION)
    found = run_standalone(packed, crops[:, None].astype(np.float32))[:, 0]
    assert found == pytest.approx(expected, abs=1e-5)


CALIBRATION = structs.replace(MODEL.spec.calibration, slope=0.5, intercept=0.25)
