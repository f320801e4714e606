"""`ctcedge classify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctcedge.cli.exit_codes import EXIT_INTERRUPTED, EXIT_UNCLASSIFIED
from ctcedge.cli.options import (
    BatchSize,
    Config,
    Folder,
    Force,
    GpuMemory,
    Index,
    Json,
    ModelOption,
    OperatingPoint,
    Out,
    Pattern,
    Prevalence,
    Provider,
    RunOptions,
    Samples,
    UmPerPx,
    Workers,
    sample_table,
)
from ctcedge.cli.output import print_json

if TYPE_CHECKING:
    from ctcedge.pipeline.run import Run
    from ctcedge.results.summary import Summary


def classify(
    folder: Folder,
    out: Out = None,
    model: ModelOption = None,
    provider: Provider = None,
    config: Config = None,
    pattern: Pattern = None,
    index: Index = None,
    um_per_px: UmPerPx = None,
    operating_point: OperatingPoint = None,
    prevalence: Prevalence = None,
    batch_size: BatchSize = None,
    gpu_memory: GpuMemory = None,
    samples: Samples = None,
    workers: Workers = None,
    force: Force = False,
    with_report: Annotated[
        bool, typer.Option("--report", help="Also write the page of 'ctcedge report'.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Classify all crops of a folder that are not classified yet.

    Example: ctcedge classify /deparray/out --out /data/calls --um-per-px 0.5
    """
    from ctcedge.cli import console, render
    from ctcedge.discovery.naming import Crop
    from ctcedge.discovery.scan import check_folder
    from ctcedge.pipeline.run import open_run
    from ctcedge.results.image_warnings import stated_um_per_px
    from ctcedge.results.summary import Summary
    from ctcedge.signals import Interruption
    from ctcedge.sources.cutter import Cutter
    from ctcedge.sources.listing import cut_cells

    options = RunOptions(
        out=out,
        model=model,
        provider=provider,
        config=config,
        pattern=pattern,
        um_per_px=um_per_px,
        operating_point=operating_point,
        prevalence=prevalence,
        batch_size=batch_size,
        gpu_memory=gpu_memory,
        samples=samples,
        workers=workers,
    )
    with Interruption() as interruption:
        check_folder(folder)
        settings = options.settings(folder)
        table = sample_table(settings, folder)
        cutter = Cutter(folder, settings.naming(), index, interruption.requested)
        listing = cut_cells(folder, cutter, settings.naming(), force=force)
        if interruption.requested():
            raise typer.Exit(EXIT_INTERRUPTED + interruption.number)
        with open_run(folder, settings) as run:
            summary = Summary(ood_detector=run.classifier.ood_detector, sample_table=table)
            summary.not_understood = listing.not_understood(run.naming)
            summary.unclassified.update(cutter.problems)
            summary.parameters = run.parameters(listing.skipped)
            for skipped in listing.skipped:
                if skipped.kind == "unreadable":
                    summary.unclassified[skipped.path] = skipped.reason
            if not summary.unclassified:
                run.pipeline.prune_index(len(listing.crops))
            crops = listing.crops
            if not force:
                crops = []
                for entry in run.pipeline.lookup_done(listing.crops):
                    if isinstance(entry, Crop):
                        crops.append(entry)
                    else:
                        summary.add(entry)
            run.sidecars.check(crops if len(crops) == len(listing.crops) else [None])
            summary.stated_um_per_px = stated_um_per_px(folder, listing.crops)
            render.print_notices(run, summary.stated_um_per_px)
            render.print_listing_warnings(listing)
            render.print_parameters(summary.parameters)
            with console.progress(len(crops)) as bar:
                stop = interruption.requested
                for outcome in run.pipeline.run(crops, force=force, should_stop=stop):
                    summary.add(outcome)
                    bar.advance(bar.task_ids[0])
        finished = sum(summary.done.values()) == len(listing.crops)
        reporting = with_report and finished
        if as_json:
            report = _write_report(run) if reporting else None
            print_json({**summary.as_json(run, finished=finished), "report": report})
        else:
            render.print_summary(run, summary, finished=finished)
        for text in summary.image_warnings.texts():
            console.print_warning(text)
        render.print_unclassified(summary)
        render.print_not_understood(summary.not_understood)
        render.print_damaged_sidecars(summary)
        if not as_json:
            if reporting:
                render.print_report_path(Path(_write_report(run)))
            _print_next(folder, options, index, summary, finished=finished, reported=reporting)
    if not finished:
        raise typer.Exit(EXIT_INTERRUPTED + interruption.number)
    if summary.unclassified or summary.not_understood:
        raise typer.Exit(EXIT_UNCLASSIFIED)


def _write_report(run: Run) -> str:
    """Write the report of a run; return its path."""
    from ctcedge.report import write_run_report  # not what each run needs

    return str(write_run_report(run))


def _print_next(
    folder: Path,
    options: RunOptions,
    index: Path | None,
    summary: Summary,
    *,
    finished: bool,
    reported: bool,
) -> None:
    """Print the next step: the same command, the report, or the import of reviews."""
    from ctcedge.cli.next_step import Words, folder_options, print_next, print_next_import

    names = folder_options(config=options.config, pattern=options.pattern)
    given = names | {"--sidecars": options.out}
    if not finished:
        table: Words = {"--index": index}
        given_words = options.arguments()
        print_next("classify", folder, options=table, given=given_words, when="to continue")
    elif not summary.tally.calls.total():
        print_next("inspect", folder, options=names)
    elif reported:
        print_next_import(folder, given)
    else:
        more = {"--model": options.model, "--samples": options.samples}
        print_next("report", folder, options=given | more)
