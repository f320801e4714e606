"""The numbers at the top of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ctcedge.classification.ood import MIN_CROPS
from ctcedge.model.folder import Model
from ctcedge.report.cells import FolderContents
from ctcedge.report.texts import PAGE_CALLS
from ctcedge.results.agreement import Assessment
from ctcedge.results.domain_shift import FolderDomainShift
from ctcedge.results.false_positives import expected_false_positives
from ctcedge.results.tally import Tally

Figure = dict[str, str | dict[str, str]]
"""A number: `name`, `value`, `note`, and `filter`, the gallery's filters for the counted cells."""


def figures(
    contents: FolderContents,
    models: Mapping[str, Model],
    assessment: Assessment,
    domain_shift: FolderDomainShift,
) -> list[Figure]:
    """Return all figures.

    Args:
        contents: contents of the sidecars.
        models: the available models, by hash.
        assessment: statistics of the reviews.
        domain_shift: of the samples.
    """
    result = [*_calls(contents), _false_positives(contents, models), _domain_shift(domain_shift)]
    missing = contents.unclassified.total() + contents.pending.total()
    if missing:
        result.append(_figure("Without a call", missing, "see below"))
    if assessment.reviewed:
        result += [_reviewed(assessment), _missed(assessment)]
    return result


def _figure(name: str, value: int | str, note: str, **cells: str) -> Figure:
    return {
        "name": name,
        "value": f"{value:,}" if isinstance(value, int) else value,
        "note": note,
        "filter": cells if value else {},
    }


def _calls(contents: FolderContents) -> list[Figure]:
    tally = Tally()
    for cell in contents.cells:
        tally.add(cell.call, cell.reasons, cluster=cell.cluster)
    calls, clusters = tally.calls, tally.clusters
    by_call = ", ".join(f"{clusters[call]:,} {call}" for call in PAGE_CALLS)
    return [
        _figure("Called CTC", calls["CTC"], "by the model, clusters included", call="CTC"),
        _figure("Clusters of touching cells", clusters.total(), by_call, reason="cluster"),
        _figure("For review", calls["review"], "called review", call="review"),
        _figure("Called leukocyte", calls["leukocyte"], "not a CTC", call="leukocyte"),
    ]


def _false_positives(contents: FolderContents, models: Mapping[str, Model]) -> Figure:
    name, unknown = "Expected false positives", "unknown here"
    if len(contents.contexts) > 1:
        return _figure(name, unknown, "calls were made with different settings")
    expected = None
    for context in contents.contexts:
        model = models.get(context.model_sha256)
        spec = None if model is None else model.spec
        expected = expected_false_positives(len(contents.cells), context, spec)
    if expected is None:
        note = "no healthy-donor runs with the same settings: ctcedge controls add"
        return _figure(name, unknown, note)
    value = f"{expected.number} ({expected.low:,} to {expected.high:,})"
    return _figure(name, value, f"CTC calls if there were no CTC; from {expected.basis}")


def _domain_shift(domain_shift: FolderDomainShift) -> Figure:
    name = "Samples without domain shift"
    samples = list(domain_shift.samples.values())
    states = Counter(shift.state for shift in samples)
    has_no_answer = any(s.state == "insufficient" and s.crops >= MIN_CROPS for s in samples)
    if not samples or has_no_answer:
        return _figure(name, "unknown", "the model is not available, or has no OOD statistics")
    known = states["in-distribution"] + states["shifted"]
    too_few = f"fewer than {MIN_CROPS} crops"
    if known:
        others = f"; {states['insufficient']:,} with {too_few}" if states["insufficient"] else ""
        note = f"{states['shifted']:,} with domain shift{others}"
        return _figure(name, f"{states['in-distribution']:,} of {known:,}", note)
    note = f"each has {too_few}"
    overall = domain_shift.overall
    if overall is None or overall.state == "insufficient":
        return _figure(name, "too few crops", note)
    value = "domain shift" if overall.state == "shifted" else "no domain shift"
    return _figure(name, value, f"all samples together; {note}")


def _reviewed(assessment: Assessment) -> Figure:
    same, both = assessment.agreement()
    confirmed = sum(n for (_, call), n in assessment.words.items() if call == "CTC")
    note = f"{confirmed:,} as CTC; model and person agree on {same:,} of {both:,}"
    return _figure("Reviewed", assessment.reviewed, note, reviewed="before")


def _missed(assessment: Assessment) -> Figure:
    missed, name = assessment.missed, "Missed CTCs (estimate)"
    if missed is None:
        return _figure(name, "unknown", "no randomly drawn cell was reviewed blinded")
    value = f"{missed.estimate:,.0f} ({missed.low:,.0f} to {missed.high:,.0f})"
    return _figure(name, value, f"{missed.drawn_ctcs:,} among {missed.drawn:,} drawn at random")
