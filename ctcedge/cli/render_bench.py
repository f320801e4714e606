"""The tables of `ctcedge bench`, for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from ctcedge.bench.machine import facts, versions
from ctcedge.bench.results import Bench
from ctcedge.bench.sessions import BareSession
from ctcedge.cli.render import messages, output, printable

_STAGES = {
    "read": "read and hash the file",
    "decode": "decode the image",
    "preprocess": "bring it to the network's input",
    "gates": "quality gates",
    "infer": "network",
    "decide": "guard and decision",
    "write": "write the sidecar",
    "rest": "the rest: records, queues, Python",
}


def show(found: Bench) -> None:
    """Print all that was measured."""
    _headline(found)
    for provider in dict.fromkeys(each.provider for each in found.sessions):
        _sessions(provider, [each for each in found.sessions if each.provider == provider])
    _stages(found)
    for line in _machine(found):
        output.print(printable(line))
    for text in _warnings(found):
        messages.print(f"[yellow]{printable(text)}[/]")


def _headline(found: Bench) -> None:
    typical = found.typical
    passed, shares = typical.passed, [each.share for each in found.rounds]
    table = Table("How fast is this PC?")
    table.add_column("", justify="right")
    table.add_row(
        "crops an hour, file to sidecar", f"{3600 * passed.crops_per_s:,.0f}", style="bold"
    )
    table.add_row("crops a second", f"{passed.crops_per_s:,.0f}")
    table.add_row(
        f"the network alone ({found.ran.variant}), images a second", f"{typical.session_per_s:,.0f}"
    )
    table.add_row(
        "share of that speed from file to sidecar",
        f"{typical.share:.0%} ({min(shares):.0%} to {max(shares):.0%} in {len(shares)} rounds)",
    )
    if (of_limit := found.share_of_limit()) is not None:
        table.add_row("share of what session or cores allow", f"{of_limit:.0%}")
    if typical.fp32_session_per_s is not None and typical.speed_up is not None:
        table.add_row(
            "the network in FP32, images a second",
            f"{typical.fp32_session_per_s:,.0f} (1 / {typical.speed_up:.1f})",
        )
    table.add_row("CPU time a crop outside the network", f"{passed.cpu_us_outside_session:,.0f} us")
    table.add_section()
    latency = found.latency_ms
    table.add_row("one crop alone, file to sidecar", f"{latency['median']:,.1f} ms")
    table.add_row("  99 of 100 within", f"{latency['p99']:,.1f} ms")
    table.add_row("load the model, open the session", f"{found.start_s['open']:.2f} s")
    table.add_row(
        "'ctcedge classify' of one crop, in all", f"{found.start_s['classify_one']:.2f} s"
    )
    table.add_row("most memory in use", f"{found.peak_memory_mb:,.0f} MB")
    if found.gpu_memory_mb is not None and found.ran.provider != "cpu":
        table.add_row("GPU memory", f"{found.gpu_memory_mb:,} MiB")
    table.add_section()
    if found.golden_difference is not None:
        table.add_row(
            "largest difference from the golden outputs",
            f"{found.golden_difference:.6f} (at most {found.model.spec.golden.tolerance:g})",
        )
    if found.parity is not None:
        table.add_row(
            f"same calls as on the CPU, of {found.parity.crops:,}",
            f"{found.parity.same_calls:.2%}",
        )
        table.add_row("  CTC for leukocyte or the reverse", f"{found.parity.flips:.2%}")
    output.print(table)


def _sessions(provider: str, sessions: list[BareSession]) -> None:
    table = Table(title=f"The network alone on {provider.upper()}, images a second by batch size")
    table.add_column("graph")
    batches = sorted({rate.batch for each in sessions for rate in each.swept})
    for batch in batches:
        table.add_column(str(batch), justify="right")
    table.add_column("best batch")
    for each in sessions:
        fastest = dict.fromkeys(batches, 0.0)
        for rate in each.swept:
            fastest[rate.batch] = max(fastest[rate.batch], rate.images_per_s)
        best = each.best
        way = "" if best.calls_at_once == 1 else f", {best.calls_at_once} at once"
        speeds = (f"{speed:,.0f}" if speed else "" for speed in fastest.values())
        table.add_row(each.variant, *speeds, f"{best.batch}{way}")
    output.print(table)


def _stages(found: Bench) -> None:
    stages = found.stages_us()
    total = sum(stages.values())
    table = Table("Where the CPU time goes")
    table.add_column("share", justify="right")
    table.add_column("us a crop", justify="right")
    for name, spent in stages.items():
        table.add_row(_STAGES[name], f"{spent / total:.1%}", f"{spent:,.0f}")
    output.print(table)


def _machine(found: Bench) -> Iterator[str]:
    known: dict[str, Any] = facts()
    spec = found.model.spec
    yield f"CPU: {known['cpu'] or 'unknown'}, {known['cores']} cores, {known['memory_gb']:g} GB"
    if known["gpu"]:
        yield f"GPU: {known['gpu']}, driver {known['gpu_driver']}"
    yield f"System: {known['system']}"
    yield "Software: " + ", ".join(f"{name} {version}" for name, version in versions().items())
    yield (
        f"Model: {spec.name} {spec.version}, {spec.input.size} px, {found.ran.variant} on"
        f" {found.ran.provider.upper()} ({found.why}), {found.batch} crops a call"
    )
    crops, sidecars = found.crops, found.sidecars
    yield (
        f"Crops: {crops['count']:,} {'drawn' if crops['drawn'] else 'given'}, {crops['bytes']:,}"
        f" bytes each, on {crops['file_system'] or 'an unknown file system'}, read before"
    )
    place, kind = sidecars["folder"], sidecars["file_system"] or "an unknown file system"
    yield f"Sidecars: on {kind}, in a temporary folder in {place}"
    for name, reason in found.unavailable.items():
        yield f"Does not run here: {name}: {reason}"


def _warnings(found: Bench) -> Iterator[str]:
    if found.sidecars["file_system"] == "tmpfs":
        yield (
            "The sidecars were written to memory (tmpfs), which is faster than a disk: give --out"
            " DIR, a folder on the disk that will hold them."
        )
    if not found.steady:
        yield (
            "Too few crops for a steady speed: start and end of each run are included, and the"
            " share is too small."
        )
    if unclassified := found.crops["unclassified"]:
        yield f"{unclassified:,} crops cannot be classified; 'ctcedge inspect' tells why."
    tolerance = found.model.spec.golden.tolerance
    if found.golden_difference is not None and not found.golden_difference <= tolerance:
        yield "This PC computes something else than the model's maker; see 'ctcedge doctor'."
