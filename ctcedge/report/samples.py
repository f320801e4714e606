"""The rows per sample and per patient of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ctcedge.fs.text import same_form
from ctcedge.model.folder import Model
from ctcedge.records import plain
from ctcedge.report.cells import FolderContents
from ctcedge.report.pseudonyms import Names
from ctcedge.results.sample_table import SampleTable
from ctcedge.results.samples import SampleResult, specs


def sample_data(
    contents: FolderContents, models: Mapping[str, Model], table: SampleTable, names: Names
) -> dict[str, Any]:
    """Return the rows of samples and of patients, with pseudonyms where `names` has them.

    Args:
        contents: contents of the sidecars.
        models: the available models, by hash.
        table: the table of samples.
        names: names, or pseudonyms.
    """
    shifts = contents.features.domain_shift(models).samples
    results = contents.samples.results(table, shifts, specs(models))
    patients = [
        msgspec.structs.replace(patient, patient=names.patient(same_form(patient.patient)))
        for patient in results.patients
    ]
    samples = [_named(sample, names) for sample in results.samples]
    # In the order of the shown names, which reveals nothing about other names.
    samples.sort(key=lambda sample: sample.sample)
    patients.sort(key=lambda patient: patient.patient)
    return {
        "per_sample": [plain(sample) for sample in samples],
        "per_patient": [plain(patient) for patient in patients],
    }


def _named(sample: SampleResult, names: Names) -> SampleResult:
    patient, kind = sample.patient, sample.kind
    return msgspec.structs.replace(
        sample,
        sample=names.sample(sample.sample),
        patient=None if patient is None else names.patient(same_form(patient)),
        kind=None if kind is None else names.kind(kind) or None,
    )
