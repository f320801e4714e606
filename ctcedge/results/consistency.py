"""Checks of a sidecar that need neither its image nor the network.

A call has to follow from the stored score and review flags, and the sidecar has to name the image
and the cell of its path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from ctcedge.classification.analysis import CellAnalysis
from ctcedge.classification.decision import DecisionRule
from ctcedge.discovery.naming import Crop
from ctcedge.errors import SettingsError
from ctcedge.model.folder import Model
from ctcedge.model.spec import ModelSpec
from ctcedge.settings import DecisionSettings
from ctcedge.sidecars.schema import Sidecar

_ROUNDING = 1e-5  # relative; probabilities are rounded to six digits

_RuleKey: TypeAlias = tuple[str, str | None, float]
"""Hash of a model, operating point and prior."""


class CallCheck:
    """Checks whether calls follow from what their sidecars hold.

    Args:
        models: the available models by hash.
    """

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models
        self._rules: dict[_RuleKey, DecisionRule] = {}

    def problem(self, record: Sidecar) -> str | None:
        """Return what does not follow, or None.

        Without a score, or without the model, call and probability are compared.
        """
        if record.call is None:
            return None
        analysis = CellAnalysis.from_sidecar(record)
        model = self._models.get(record.model.sha256)
        if analysis is None or model is None:
            return _call_problem(record)
        try:
            return _decision_problem(record, analysis, self._rule(record, model.spec))
        except (SettingsError, ArithmeticError, ValueError, TypeError) as error:
            return f"its decision cannot be recomputed: {error}"

    def _rule(self, record: Sidecar, spec: ModelSpec) -> DecisionRule:
        key = record.model.sha256, record.operating_point, record.prior
        rule = self._rules.get(key)
        if rule is None:
            prevalence = None if record.prior == spec.prior else record.prior
            rule = DecisionRule.of(spec, DecisionSettings(record.operating_point, prevalence))
            self._rules[key] = rule
        return rule


def path_problem(crop: Crop, record: Sidecar) -> str | None:
    """Return why a sidecar does not belong to its path, or None."""
    wrong = []
    if record.image.name != (name := crop.path.rpartition("/")[2]):
        wrong.append(f"its image is named '{record.image.name}', not '{name}'")
    if record.cell != crop.cell:
        wrong.append(f"its cell is '{record.cell}', and that of the path is '{crop.cell}'")
    return "; ".join(wrong) or None


def _decision_problem(record: Sidecar, analysis: CellAnalysis, rule: DecisionRule) -> str | None:
    prediction = rule.decide(analysis)
    expected = {
        "call": prediction.call,
        "probability": prediction.probability,
        "reasons": prediction.reasons,
        "threshold": rule.threshold,
        "review_band": rule.review_band,
    }
    wrong = [name for name, value in expected.items() if getattr(record, name) != value]
    if wrong:
        verb = "does" if len(wrong) == 1 else "do"
        return f"its {' and '.join(wrong)} {verb} not follow from its score"
    return None


def _call_problem(record: Sidecar) -> str | None:
    """Return why a call does not fit the probability and the reasons beside it, or None."""
    if (record.call == "review") != bool(record.reasons):
        return "its call does not follow from its reasons"
    probability, threshold = record.probability, record.threshold
    if record.call == "review" or probability is None:
        return None
    expected = "CTC" if probability >= threshold else "leukocyte"
    if record.call != expected and abs(probability - threshold) > _ROUNDING * threshold:
        return "its call does not follow from its probability"
    return None
