"""The columns of the tables of samples and of patients, and their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ctcedge.results.columns import Kind, Value
from ctcedge.results.samples import Counted, PatientResult, SampleResult

_COUNTED: tuple[tuple[str, Kind, str], ...] = (
    ("volume_ml", "number", "volume of blood, mL, from the table of samples"),
    ("cells", "whole", "bright-field crops"),
    ("ctc", "whole", "cells called CTC, clusters included"),
    ("review", "whole", "cells called review"),
    ("leukocyte", "whole", "cells called leukocyte"),
    ("unclassified", "whole", "crops that could not be classified"),
    ("pending", "whole", "crops without a usable sidecar"),
    ("clusters", "whole", "cells whose crop shows touching cells, of any call"),
    ("confirmed", "whole", "cells that the latest review of this image calls CTC"),
    ("to_review", "whole", "cells that a person must look at: CTC or review, not reviewed yet"),
    ("ctc_per_ml", "number", "cells called CTC per mL"),
    ("confirmed_per_ml", "number", "confirmed cells per mL"),
    (
        "expected_false_positives",
        "number",
        "expected number of CTC calls if there were no CTC; empty where no rate was measured",
    ),
    ("false_positives_low", "whole", "lower limit of its 95 % interval"),
    ("false_positives_high", "whole", "upper limit of its 95 % interval"),
)

SAMPLE_COLUMNS: tuple[tuple[str, Kind, str], ...] = (
    ("sample", "text", "name of the sample in the paths, unchanged"),
    ("patient", "text", "patient, from the table of samples"),
    ("kind", "text", "kind of sample, from the table of samples"),
    *_COUNTED,
    (
        "domain_shift",
        "text",
        "`in-distribution`, `shifted`, or `insufficient`: too few crops; empty where unknown",
    ),
    ("domain_shift_distance", "number", "its distance; at most 1 is usual"),
)
PATIENT_COLUMNS: tuple[tuple[str, Kind, str], ...] = (
    ("patient", "text", "patient, from the table of samples"),
    ("samples", "whole", "number of the patient's samples in the folder"),
    *_COUNTED,
    ("shifted_samples", "whole", "number of these samples with domain shift"),
)
SAMPLE_KINDS: Mapping[str, Kind] = {name: kind for name, kind, _ in SAMPLE_COLUMNS}
PATIENT_KINDS: Mapping[str, Kind] = {name: kind for name, kind, _ in PATIENT_COLUMNS}


def sample_rows(samples: Sequence[SampleResult]) -> Iterator[dict[str, Value]]:
    """Yield one row per sample."""
    for sample in samples:
        shift = sample.domain_shift
        yield {
            "sample": sample.sample,
            "patient": sample.patient,
            "kind": sample.kind,
            **_counted(sample),
            "domain_shift": None if shift is None else shift.state,
            "domain_shift_distance": None if shift is None else shift.distance,
        }


def patient_rows(patients: Sequence[PatientResult]) -> Iterator[dict[str, Value]]:
    """Yield one row per patient."""
    for patient in patients:
        yield {
            "patient": patient.patient,
            "samples": patient.samples,
            **_counted(patient),
            "shifted_samples": patient.shifted_samples,
        }


def _counted(result: Counted) -> dict[str, Value]:
    expected = result.expected_false_positives
    limits: dict[str, Value] = {
        "expected_false_positives": None if expected is None else expected.expected,
        "false_positives_low": None if expected is None else expected.low,
        "false_positives_high": None if expected is None else expected.high,
    }
    names = (name for name, _, _ in _COUNTED if name not in limits)
    return {name: getattr(result, name) for name in names} | limits
