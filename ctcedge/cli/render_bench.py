"""Console output of bench."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from ctcedge.bench.machine import facts, versions
from ctcedge.bench.results import Bench
from ctcedge.bench.sessions import BareSession
from ctcedge.cli.console import output, plural, print_warning, printable

_STAGES = {
    "read": "read and hash the file",
    "decode": "decode the image",
    "prepare": "preprocessing and quality checks",
    "infer": "inference",
    "decide": "OOD score and decision",
    "write": "write the sidecar",
    "other": "other: records, queues, Python",
}


def print_bench(bench: Bench) -> None:
    """Print the measurements."""
    _headline(bench)
    for provider in dict.fromkeys(session.provider for session in bench.sessions):
        _sessions(provider, [session for session in bench.sessions if session.provider == provider])
    _stages(bench)
    for line in _machine(bench):
        output.print(printable(line))
    for text in _warnings(bench):
        print_warning(text)


def _headline(bench: Bench) -> None:
    typical, spread = bench.typical, bench.spread()
    pipeline = typical.pipeline
    slowest, fastest = spread["pipeline_per_s"]
    lowest, highest = spread["share"]
    table = Table("How fast is this PC?")
    table.add_column("", justify="right")
    table.add_row(
        "crops per hour, file to sidecar", f"{3600 * pipeline.crops_per_s:,.0f}", style="bold"
    )
    table.add_row(
        "crops per second",
        f"{pipeline.crops_per_s:,.0f}"
        f" ({slowest:,.0f} to {fastest:,.0f} in {len(bench.rounds)} rounds)",
    )
    table.add_row(
        f"inference alone ({bench.provenance.variant}), images per second",
        f"{typical.session_per_s:,.0f}",
    )
    table.add_row(
        "fraction of that speed, file to sidecar",
        f"{typical.fraction_of_session:.0%} ({lowest:.0%} to {highest:.0%})",
    )
    if (of_limit := bench.fraction_of_limit()) is not None:
        table.add_row("fraction of what session or cores allow", f"{of_limit:.0%}")
    if typical.fp32_session_per_s is not None and typical.speed_up is not None:
        table.add_row(
            "inference in FP32, images per second",
            f"{typical.fp32_session_per_s:,.0f} (1 / {typical.speed_up:.1f})",
        )
    table.add_row(
        "CPU time per crop outside inference", f"{pipeline.cpu_us_outside_session:,.0f} us"
    )
    table.add_section()
    latency = bench.latency_ms
    table.add_row("latency of one crop, file to sidecar", f"{latency['median']:,.1f} ms")
    table.add_row("  99th percentile", f"{latency['p99']:,.1f} ms")
    table.add_row("start: load the model, open the session", f"{bench.start_s['open']:.2f} s")
    table.add_row(
        "'ctcedge classify' of one crop, in total", f"{bench.start_s['classify_one']:.2f} s"
    )
    table.add_row("peak memory", f"{bench.peak_memory_mb:,.0f} MB")
    if bench.gpu_memory_mb is not None and bench.provenance.provider != "cpu":
        table.add_row("GPU memory", f"{bench.gpu_memory_mb:,} MiB")
    table.add_section()
    if bench.golden_difference is not None:
        table.add_row(
            "largest difference from the golden outputs",
            f"{bench.golden_difference:.6f} (tolerance {bench.model.spec.golden.tolerance:g})",
        )
    if bench.parity is not None:
        table.add_row(
            f"same calls as on the CPU, of {plural(bench.parity.crops, 'crop')}",
            f"{bench.parity.same_calls:.2%}",
        )
        table.add_row("  CTC instead of leukocyte or the reverse", f"{bench.parity.flips:.2%}")
    output.print(table)


def _sessions(provider: str, sessions: list[BareSession]) -> None:
    table = Table(title=f"Inference alone on {provider.upper()}, images per second by batch size")
    table.add_column("graph")
    batches = sorted({rate.batch for session in sessions for rate in session.rates})
    for batch in batches:
        table.add_column(str(batch), justify="right")
    table.add_column("best batch")
    for session in sessions:
        fastest = dict.fromkeys(batches, 0.0)
        for rate in session.rates:
            fastest[rate.batch] = max(fastest[rate.batch], rate.images_per_s)
        best = session.best
        way = "" if best.calls_at_once == 1 else f", {best.calls_at_once} at once"
        speeds = (f"{speed:,.0f}" if speed else "" for speed in fastest.values())
        table.add_row(session.variant, *speeds, f"{best.batch}{way}")
    output.print(table)


def _stages(bench: Bench) -> None:
    stages = bench.stages_us()
    total = sum(stages.values())
    table = Table("CPU time by stage")
    table.add_column("fraction", justify="right")
    table.add_column("us per crop", justify="right")
    for name, spent in stages.items():
        table.add_row(_STAGES[name], f"{spent / total:.1%}", f"{spent:,.0f}")
    output.print(table)


def _machine(bench: Bench) -> Iterator[str]:
    known: dict[str, Any] = facts()
    spec = bench.model.spec
    yield f"CPU: {known['cpu'] or 'unknown'}, {known['cores']} cores, {known['memory_gb']:g} GB"
    if known["gpu"]:
        yield f"GPU: {known['gpu']}, driver {known['gpu_driver']}"
    yield f"System: {known['system']}"
    yield "Software: " + ", ".join(f"{name} {version}" for name, version in versions().items())
    yield (
        f"Model: {spec.name} {spec.version}, {spec.input.size} px, {bench.provenance.variant} on"
        f" {bench.provenance.provider.upper()} ({bench.provider_reason}), batch size {bench.batch}"
    )
    crops, sidecars = bench.crops, bench.sidecars
    kind = "synthetic" if crops["drawn"] else "given"
    yield (
        f"Crops: {crops['count']:,} {kind}, {crops['bytes']:,}"
        f" bytes each, on {crops['file_system'] or 'an unknown file system'}, in the page cache"
    )
    place, kind = sidecars["folder"], sidecars["file_system"] or "an unknown file system"
    yield f"Sidecars: on {kind}, in a temporary folder in {place}"
    for name, reason in bench.unavailable.items():
        yield f"Not available here: {name}: {reason}"


def _warnings(bench: Bench) -> Iterator[str]:
    if bench.sidecars["file_system"] == "tmpfs":
        yield (
            "The sidecars were written to memory (tmpfs), which is faster than a disk: give --out"
            " DIR, a folder on the disk that will hold them."
        )
    if not bench.steady:
        yield (
            "Too few crops for a steady speed: start and end of each run are included, so that the"
            " fraction is too small."
        )
    if unclassified := bench.crops["unclassified"]:
        yield f"{plural(unclassified, 'crop')} cannot be classified; 'ctcedge inspect' shows why."
    tolerance = bench.model.spec.golden.tolerance
    if bench.golden_difference is not None and not bench.golden_difference <= tolerance:
        yield "Outputs differ from the model's golden outputs; see 'ctcedge doctor'."
