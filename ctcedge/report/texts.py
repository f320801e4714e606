"""What a report says in words: figures, warnings and facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ctcedge.classification.decision import rebased
from ctcedge.classification.ood import MIN_CROPS
from ctcedge.model.folder import Model
from ctcedge.report.cells import Decided, Gathered
from ctcedge.report.pseudonyms import Names
from ctcedge.report.review_list import ReviewList
from ctcedge.results.agreement import Assessment, Kappa
from ctcedge.results.controls import expected_false_positives
from ctcedge.results.domain_shift import FolderDomainShift
from ctcedge.results.tally import Tally
from ctcedge.times import now
from ctcedge.version import __version__

PAGE_CALLS = ("CTC", "review", "leukocyte")
"""Calls in the order in which the page numbers and draws them: by falling probability."""

Figure = dict[str, str | dict[str, str]]

_MOST_NAMES = 10


def one_in(prior: float) -> str:
    """A share of CTCs as people say it."""
    of = 1 / prior
    return f"1 in {of:,.0f}" if of >= 10 else f"1 in {of:.3g}"


def figures(
    gathered: Gathered,
    models: Mapping[str, Model],
    assessment: Assessment,
    likeness: FolderDomainShift,
) -> list[Figure]:
    """The numbers at the top."""
    tally = Tally()
    for cell in gathered.cells:
        tally.add(cell.call, cell.reasons, cluster=cell.cluster)
    calls, clusters = tally.calls, tally.clusters
    found = [
        _figure("Called CTC", calls["CTC"], "by the model, clusters included", call="CTC"),
        _figure(
            "Clusters of touching cells",
            clusters.total(),
            ", ".join(f"{clusters[call]:,} {call}" for call in PAGE_CALLS),
            reason="cluster",
        ),
        _figure("To be looked at", calls["review"], "called review", call="review"),
        _figure("Called leukocyte", calls["leukocyte"], "not a CTC", call="leukocyte"),
        _false_calls(gathered, models),
        _like(likeness),
    ]
    if gathered.unclassified or gathered.pending:
        missing = gathered.unclassified.total() + gathered.pending.total()
        found.append(_figure("Without a call", missing, "see below"))
    if assessment.reviewed:
        words = _reviewed(assessment)
        found.append(_figure("Reviewed", assessment.reviewed, words, reviewed="before"))
        found.append(_missed(assessment))
    return found


def warnings(
    gathered: Gathered,
    models: Mapping[str, Model],
    likeness: FolderDomainShift,
    names: Names,
    changed: int,
    unreadable: int,
    left_out: int,
) -> list[str]:
    """What a person must know before looking at the cells.

    Args:
        gathered: what the sidecars say.
        models: those at hand.
        likeness: what is like the training data.
        names: how names are told.
        changed: cells whose image is no longer the one that was called.
        unreadable: cells whose image cannot be read any more.
        left_out: candidates that the review list does not hold.
    """
    found = []
    for seen in gathered.models:
        if seen.sha256 in models and models[seen.sha256].spec.demonstration:
            found.append(
                f"{seen.name} is a demonstration model, trained on simulated images: its calls say"
                " nothing about patients' cells."
            )
    unlike = likeness.shifted_samples()
    if unlike or likeness.only_overall_shifted:
        told = ", ".join(names.sample(sample) for sample in unlike[:_MOST_NAMES])
        more = f" and {len(unlike) - _MOST_NAMES:,} more" if len(unlike) > _MOST_NAMES else ""
        found.append(
            "Unlike the images that the model was trained on:"
            f" {told or 'all samples together'}{more}. Is it another instrument, magnification or"
            " stain? Calls of these cells may be wrong."
        )
    if len(gathered.models) > 1:
        found.append(
            f"Calls of {len(gathered.models)} models stand side by side: their probabilities do"
            " not compare."
        )
    elif len(gathered.rules) > 1:
        found.append(
            f"Calls were made with {len(gathered.rules)} different operating points or image"
            " settings; run 'ctcedge classify' again to have one."
        )
    assumed = sum(cell.um_per_px_assumed for cell in gathered.cells)
    unknown = sum(cell.um_per_px is None for cell in gathered.cells)
    if assumed:
        found.append(
            f"The um/px of {_cells(assumed)} was not given and the model's own is assumed: size is"
            " a feature, and calls and scale bars are wrong where it is another."
        )
    if unknown:
        found.append(
            f"The um/px of {_cells(unknown)} is unknown: the crops must come from the instrument"
            " and magnification that the model was trained on."
        )
    if changed:
        found.append(
            f"The image of {_cells(changed)} changed since the call, and is not shown; run"
            " 'ctcedge classify' again."
        )
    if unreadable:
        found.append(f"The image of {_cells(unreadable)} cannot be read any more.")
    if gathered.pending:
        found.append(
            f"No usable sidecar yet, and not in this report: {_crops(gathered.pending.total())}."
        )
    if gathered.unclassified:
        reasons = "; ".join(f"{n:,}: {text}" for text, n in gathered.unclassified.most_common(5))
        found.append(
            f"Could not be classified: {_crops(gathered.unclassified.total())} ({reasons})."
        )
    if left_out:
        found.append(
            "The review list holds the first candidates only;"
            f" {left_out:,} more are in the gallery."
        )
    return found


def facts(
    gathered: Gathered,
    models: Mapping[str, Model],
    assessment: Assessment,
    names: Names,
    folder: str,
) -> list[tuple[str, str]]:
    """The table below.

    Args:
        gathered: what the sidecars say.
        models: those at hand.
        assessment: what their reviews say.
        names: how names are told.
        folder: the folder's own name.
    """
    priors = Counter(cell.prior for cell in gathered.cells)
    rows = [("Folder", names.folder(folder)), ("Crops", f"{gathered.crops:,}")]
    for seen, count in gathered.models.most_common():
        of = f" ({_crops(count)})" if len(gathered.models) > 1 else ""
        rows.append(("Model", f"{seen.name} {seen.version}, SHA-256 {seen.sha256}{of}"))
        model = models.get(seen.sha256)
        training = "unknown here" if model is None else model.spec.training
        rows.append(("Trained on", training))
    for decided, count in gathered.decisions.most_common():
        of = f" ({_crops(count)})" if len(gathered.decisions) > 1 else ""
        rows.append(("Decision", f"{decision_in_words(decided)}{of}"))
    for prior, _ in priors.most_common():
        rows.append(("Probabilities", prior_in_words(prior)))
    rows.append(("Ran on", _counts(gathered.providers)))
    rows.append(("ctcedge", f"calls by {_counts(gathered.versions)}; this page by {__version__}"))
    rows.append(("Newest call", gathered.newest or "none"))
    rows.append(("Page made", now()))
    rows += [_agreement(each, names) for each in assessment.kappas]
    rows += [("No call yet", f"{n:,}: {why}") for why, n in gathered.pending.most_common(5)]
    return rows


def decision_in_words(decided: Decided) -> str:
    """From which probability on a cell is called what."""
    name = decided.operating_point
    by = "the model’s own" if name is None else f"operating point {name}"
    band = f"review from {decided.review:.4g}" if decided.review < decided.ctc else "no review band"
    return f"{by}: CTC from {decided.ctc:.4g}, {band}"


def prior_in_words(prior: float) -> str:
    """What share of CTCs a probability assumes, and what it would be at another."""
    text = f"if {one_in(prior)} cells were a CTC"
    if prior > 0.01:
        text += f"; 0.9 then is {rebased(0.9, prior, 1 / 5000):.2g} where 1 cell in 5,000 is one"
    return text


def draw_in_words(draw: ReviewList) -> str:
    """How the review list came about."""
    candidates = len(draw.order) - len(draw.drawn)
    return (
        f"The review list holds {_cells(candidates)} called CTC or review and, mixed in, "
        f"{len(draw.drawn):,} drawn at random from {draw.leukocytes:,} called leukocyte: only they"
        " can tell what was missed. All are shown without the model's call until you have decided."
    )


def _figure(name: str, value: int | str, note: str, **only: str) -> Figure:
    """A number; `only` are the gallery's filters that show the cells it counts."""
    return {
        "name": name,
        "value": f"{value:,}" if isinstance(value, int) else value,
        "note": note,
        "filter": only if value else {},
    }


def _like(likeness: FolderDomainShift) -> Figure:
    states = Counter(each.state for each in likeness.samples.values())
    name = "Samples like the training data"
    judged = [each for each in likeness.samples.values() if each.crops >= MIN_CROPS]
    if not likeness.samples or any(each.state == "insufficient" for each in judged):
        return _figure(name, "unknown", "the model is not at hand, or does not tell")
    told = states["like"] + states["unlike"]
    if told:
        few = f"; {states['insufficient']:,} have fewer than {MIN_CROPS} crops"
        small = f"{states['unlike']:,} unlike{few if states['insufficient'] else ''}"
        return _figure(name, f"{states['like']:,} of {told:,}", small)
    few = f"each has fewer than {MIN_CROPS} crops"
    together = likeness.overall
    if together is None or together.state == "insufficient":
        return _figure(name, "too few crops", few)
    return _figure(name, together.state, f"all together; {few}")


def _false_calls(gathered: Gathered, models: Mapping[str, Model]) -> Figure:
    name, unknown = "False CTC calls to expect", "unknown here"
    if len(gathered.rules) > 1:
        return _figure(name, unknown, "calls were made in different ways")
    found = None
    for rule in gathered.rules:
        model = models.get(rule.model_sha256)
        spec = None if model is None else model.spec
        found = expected_false_positives(len(gathered.cells), rule, spec)
    if found is None:
        return _figure(name, unknown, "no healthy-donor runs called alike: ctcedge controls add")
    value = f"{found.number} ({found.low:,} to {found.high:,})"
    return _figure(name, value, f"were there no CTC; from {found.basis}")


def _reviewed(assessment: Assessment) -> str:
    same, both = assessment.agreement()
    confirmed = sum(n for (_, word), n in assessment.words.items() if word == "CTC")
    return f"{confirmed:,} as CTC; model and person agree on {same:,} of {both:,}"


def _missed(assessment: Assessment) -> Figure:
    found, name = assessment.missed, "CTCs missed, estimated"
    if found is None:
        return _figure(name, "unknown", "no randomly drawn cell was reviewed blinded")
    value = f"{found.estimate:,.0f} ({found.low:,.0f} to {found.high:,.0f})"
    return _figure(name, value, f"{found.drawn_ctcs:,} among {found.drawn:,} drawn at random")


def _agreement(found: Kappa, names: Names) -> tuple[str, str]:
    kappa = "unknown"
    if found.kappa is not None:
        kappa = f"{found.kappa:.2f} ({found.low:.2f} to {found.high:.2f})"
    one, two = map(names.reviewer, found.readers)
    return f"{one} and {two}", f"the same on {found.same:,} of {found.cells:,} cells; kappa {kappa}"


def _counts(counter: Mapping[str, int]) -> str:
    ordered = sorted(counter.items(), key=lambda item: -item[1])
    if len(ordered) == 1:
        return ordered[0][0]
    return ", ".join(f"{name} ({count:,})" for name, count in ordered) or "none"


def _crops(count: int) -> str:
    return f"{count:,} crop{'s' * (count != 1)}"


def _cells(count: int) -> str:
    return f"{count:,} cell{'s' * (count != 1)}"
