"""The model card: every figure on it is computed by the build that writes it."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import TYPE_CHECKING

from ctcedge.model import Calibration, Decision
from train.calibrate import PRIOR, REVIEW_RULE
from train.dataset import Images
from train.evaluate import Ranking, Report
from train.parity import REFERENCE, Agreement

if TYPE_CHECKING:
    from train.build import BuildSettings

_LIBRARIES = ("torch", "monai", "onnx", "onnxruntime-gpu", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a build knows when it is done.

    Attributes:
        name: of the model.
        version: of the model.
        command: that made it.
        settings: of the build.
        training: all images trained on.
        validation: bright-field images that calibration and review band were chosen on.
        report: of the INT8 graph on the test hospitals.
        agreements: of each graph with PyTorch on the test hospitals.
    """

    name: str
    version: str
    command: str
    settings: BuildSettings
    training: Images
    validation: Images
    report: Report
    agreements: dict[str, Agreement]


def card(facts: Facts, calibration: Calibration, decision: Decision) -> str:
    """Write README.md of the model folder."""
    sections = (
        _head(facts),
        _results(facts),
        _graphs(facts),
        _operating_point(facts, calibration, decision),
        _making(facts),
        _LIMITS,
    )
    return "\n\n".join(sections) + "\n"


def _head(facts: Facts) -> str:
    return f"""\
# {facts.name} {facts.version}

**Trained on simulated images only. A demonstration until a lab trains on its own exports.**
Research software, not a diagnostic.

Tells circulating tumour cells (CTCs) from all else in bright-field crops of single cells. The
figures below are of simulated hospitals never seen in training. They say nothing yet about a
patient's cells, and must not stand in one table with figures on real images."""


def _results(facts: Facts) -> str:
    report, fit = facts.report, facts.settings.fit
    sensitivity = "\n".join(
        f"| Sensitivity at {rate:.0%} false calls | {value:.3f} |"
        for rate, value in report.sensitivity.items()
    )
    return f"""\
## Results of the INT8 graph, bright field alone

| Test on simulated hospitals never seen in training | |
|---|---|
| Cells (of them CTCs) | {report.cells:,} ({report.ctcs:,}) |
| Samples, hospitals | {report.samples}, {report.hospitals} |
| **AUC** | **{_auc(report.ranking)}** |
| AUC of size alone, true diameter | {_auc(report.by_size["true"])} |
| AUC of size alone, diameter measured in the image | {_auc(report.by_size["measured"])} |
| Average precision (CTC share {report.ctcs / report.cells:.2f}) | \
{report.ranking.average_precision:.3f} |
| **F1** at the threshold | **{report.f1:.3f}** |
| Macro F1 at the threshold | {report.macro_f1:.3f} |
{sensitivity}
| Brier score (constant predictor {PRIOR * (1 - PRIOR):.3f}) | {report.brier:.3f} |
| Log loss (constant predictor {-math.log(PRIOR):.3f}) | {report.log_loss:.3f} |
| Expected calibration error | {report.calibration_error:.3f} |
| Cells sent to review | {report.review:.1%} |
| Macro F1 of the others | {report.macro_f1_decided:.3f} |

Intervals are 95 % bootstrap intervals over samples. Brier score, log loss and calibration error
weight both classes the same. The size baseline is a logistic regression on diameter and its
square, fitted on the training hospitals. Network: {fit.network}, {facts.settings.input.size} x \
{facts.settings.input.size} pixels of {facts.settings.input.um_per_px:g} um."""


def _auc(ranking: Ranking) -> str:
    low, high = ranking.interval
    return f"{ranking.auc:.3f} ({low:.3f} to {high:.3f})"


def _graphs(facts: Facts) -> str:
    names = {REFERENCE: "PyTorch", "fp32": "ONNX FP32", "fp16": "ONNX FP16", "int8": "ONNX INT8"}
    rows = []
    for variant, name in names.items():
        one = facts.agreements[variant]
        rows.append(
            f"| {name} | {one.auc:.4f} | {one.largest:.4f} | {one.mean:.5f} |"
            f" {one.same_calls:.2%} | {one.flips:.2%} |"
        )
    table = "\n".join(rows)
    return f"""\
## The graphs against PyTorch, same test cells

| Graph | AUC | Largest probability difference | Mean | Same call | CTC/leukocyte flips |
|---|---|---|---|---|---|
{table}

All run by ONNX Runtime's CPU provider. A flip is a CTC of one that is a leukocyte of the other;
a change to or from `review` is none."""


def _operating_point(facts: Facts, calibration: Calibration, decision: Decision) -> str:
    low, high = decision.review
    return f"""\
## Operating point

Probability of CTC = sigmoid({calibration.slope:g} x logit {calibration.intercept:+g}), fitted on \
{len(facts.validation):,} cells of {facts.settings.validation_hospitals} validation hospitals so \
that it holds where CTCs are {PRIOR:.0%} of the cells.
At or above {decision.threshold:g} the call is `CTC`, below it `leukocyte`, which means 'not a CTC';
from {low:g} to below {high:g} it is `review`.
The review band is {REVIEW_RULE}."""


def _making(facts: Facts) -> str:
    settings = facts.settings
    libraries = ", ".join(f"{name} {installed(name)}" for name in _LIBRARIES if _has(name))
    return f"""\
## How it was made

    {facts.command}

Python {platform.python_version()}, {libraries}.

- {settings.hospitals} simulated hospitals x {settings.samples} samples x {settings.cells} cells:
  {settings.training_hospitals} hospitals to train on, {settings.validation_hospitals} for
  calibration and review band, {settings.test_hospitals} to test on. Split by hospital.
- Trained on {len(facts.training):,} images: bright field of every cell, and DAPI of
  {settings.dapi_share:.0%} of them as further images of their own; {settings.fit.epochs} epochs,
  AdamW, classes weighted equally, augmented by geometry, illumination, and noise and blur.
- INT8: QDQ, U8 activations, S8 weights per channel, reduced range, calibrated on
  {settings.calibration_images} training crops drawn evenly from all samples."""


_LIMITS = """\
## Limits

- The simulator is a guess at what DEPArray crops look like; no real DEPArray crop was seen. Its
  ranges were set while looking at public images of Jurkat cells from an imaging flow cytometer
  (github minh-doan/MLCP, BSD-3), none of which was trained on.
- Crops need a known um/px: size is a feature.
- The probability holds at the stated CTC share; where CTCs are rare, most `CTC` calls are wrong
  unless the threshold is raised.
- Clusters, doublets and cells cut by the edge are among the simulated cells, but the call is about
  the central cell alone.
- The FP16 graph's figures come from the CPU provider, not from a GPU."""


def _has(name: str) -> bool:
    try:
        installed(name)
    except PackageNotFoundError:
        return False
    return True
