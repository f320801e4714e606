from __future__ import annotations

import dataclasses

import pytest
from msgspec import structs

from ctcedge.classification.classifier import Classifier
from ctcedge.errors import ModelError
from ctcedge.pipeline.records import SidecarBuilder
from tests.unit.pipeline.bench import fingerprint


def test_a_model_whose_sidecars_could_not_be_read_back_is_refused(classifier: Classifier) -> None:
    SidecarBuilder(classifier, fingerprint(classifier))
    spec = structs.replace(classifier.model.spec, name="")
    other = Classifier(
        dataclasses.replace(classifier.model, spec=spec),
        classifier.rule,
        classifier.inference,
        classifier.ood_detector,
    )
    with pytest.raises(ModelError, match="could not be read back"):
        SidecarBuilder(other, fingerprint(classifier))
