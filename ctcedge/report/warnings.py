"""What a person must know before looking at the cells of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ctcedge.model.folder import Model
from ctcedge.report.cells import FolderContents
from ctcedge.report.pseudonyms import Names
from ctcedge.report.texts import plural
from ctcedge.results.domain_shift import FolderDomainShift
from ctcedge.results.image_warnings import contradiction, signed_values

_MAX_NAMES = 10
_MAX_ERRORS = 5


def warnings(
    contents: FolderContents,
    models: Mapping[str, Model],
    domain_shift: FolderDomainShift,
    names: Names,
    *,
    changed: int,
    unreadable: int,
    left_out: int,
) -> list[str]:
    """Return all warnings, the most important first.

    Args:
        contents: contents of the sidecars.
        models: the available models, by hash.
        domain_shift: of the samples.
        names: names, or pseudonyms.
        changed: number of cells whose image has changed since the call.
        unreadable: number of cells whose image cannot be read any more.
        left_out: number of candidates that the review list does not contain.
    """
    return [
        *_of_models(contents, models),
        *_of_domain_shift(domain_shift, names),
        *_of_mixed_settings(contents),
        *_of_pixel_size(contents),
        *_of_images(contents, changed, unreadable),
        *_of_missing_calls(contents),
        *_of_review_list(left_out),
    ]


def _of_models(contents: FolderContents, models: Mapping[str, Model]) -> Iterator[str]:
    for model in contents.models:
        if model.sha256 in models and models[model.sha256].spec.demonstration:
            yield (
                f"{model.name} is a demonstration model, trained on simulated images: its calls say"
                " nothing about patients' cells."
            )


def _of_domain_shift(domain_shift: FolderDomainShift, names: Names) -> Iterator[str]:
    shifted = domain_shift.shifted_samples()
    if not shifted and not domain_shift.only_overall_shifted:
        return
    listed = ", ".join(names.sample(sample) for sample in shifted[:_MAX_NAMES])
    more = len(shifted) - _MAX_NAMES
    yield (
        "Domain shift, images differ from the model's training data:"
        f" {listed or 'all samples together'}{f' and {more:,} more' if more > 0 else ''}. Check"
        " instrument, magnification and stain: calls of these cells may be wrong."
    )


def _of_mixed_settings(contents: FolderContents) -> Iterator[str]:
    if len(contents.models) > 1:
        yield (
            f"Calls were made by {len(contents.models)} models: their probabilities are not"
            " comparable."
        )
    elif len(contents.contexts) > 1:
        yield (
            f"Calls were made with {len(contents.contexts)} different operating points or image"
            " settings; run 'ctcedge classify' again to use one."
        )


def _of_pixel_size(contents: FolderContents) -> Iterator[str]:
    assumed = sum(cell.um_per_px_assumed for cell in contents.cells)
    unknown = sum(cell.um_per_px is None for cell in contents.cells)
    if assumed:
        yield (
            f"The um/px of {plural(assumed, 'cell')} was not given, and the model's own is assumed."
            " Size is a feature: if it differs, calls and scale bars are wrong."
        )
    if against := [cell for cell in contents.cells if cell.contradicts_file]:
        given, stated = against[0].um_per_px or 0.0, against[0].um_per_px_file or 0.0
        yield contradiction(given, stated, len(against))
    if unknown:
        yield (
            f"The um/px of {plural(unknown, 'cell')} is unknown: the crops must come from the"
            " instrument and magnification that the model was trained on."
        )


def _of_images(contents: FolderContents, changed: int, unreadable: int) -> Iterator[str]:
    if offset := sum(cell.is_offset for cell in contents.cells):
        yield signed_values(offset)
    if changed:
        yield (
            f"The image of {plural(changed, 'cell')} changed since the call, and is not shown; run"
            " 'ctcedge classify' again."
        )
    if unreadable:
        yield f"The image of {plural(unreadable, 'cell')} cannot be read any more."


def _of_missing_calls(contents: FolderContents) -> Iterator[str]:
    pending, unclassified = contents.pending.total(), contents.unclassified.total()
    if pending:
        yield f"No usable sidecar yet, and not in this report: {plural(pending, 'crop')}."
    if unclassified:
        errors = contents.unclassified.most_common(_MAX_ERRORS)
        reasons = "; ".join(f"{count:,}: {error}" for error, count in errors)
        yield f"Could not be classified: {plural(unclassified, 'crop')} ({reasons})."


def _of_review_list(left_out: int) -> Iterator[str]:
    if left_out:
        yield (
            "The review list contains the first candidates only;"
            f" {left_out:,} more are in the gallery."
        )
