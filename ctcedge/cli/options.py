"""Arguments and options that several commands share, and the settings that follow from them."""

from __future__ import annotations

import dataclasses
import enum
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctcedge.meant import number_to_write
from ctcedge.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctcedge.results.sample_table import SampleTable
    from ctcedge.settings import Settings, SourcedSettings


HELP_OPTIONS = {"help_option_names": ["--help", "-h"]}
"""Click's settings of the command line, which sub-commands inherit."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan|[+-]?inf", re.ASCII)


def version_option(program: str) -> Any:
    """Return the option of a program that shows its version and ends it."""

    def show(wanted: bool) -> None:
        if wanted:
            print(f"{program} {__version__}")
            raise typer.Exit()

    return typer.Option(
        "--version", "-V", callback=show, is_eager=True, help="Show the version and exit."
    )


class ProviderName(enum.StrEnum):
    """Values of --provider."""

    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"


class OperatingPointName(enum.StrEnum):
    """Values of --operating-point."""

    screening = "screening"
    balanced = "balanced"
    confirm = "confirm"


class TableFormat(enum.StrEnum):
    """Values of --format."""

    csv = "csv"
    tsv = "tsv"
    jsonl = "jsonl"
    parquet = "parquet"
    xlsx = "xlsx"
    fcs = "fcs"
    h5ad = "h5ad"


class DecimalSign(enum.StrEnum):
    """Values of --decimal."""

    point = "point"
    comma = "comma"


class LogFormatName(enum.StrEnum):
    """Values of --log-format."""

    text = "text"
    json = "json"


def parse_path(text: str) -> Path:
    """Return the path; refuse an empty text, such as an unset variable of a script."""
    if not text:
        raise typer.BadParameter("must not be empty")
    return Path(text)


def parse_number(text: str) -> float:
    """Return the number; refuse what other programs write, such as a decimal comma."""
    if not _NUMBER.fullmatch(text.strip()):
        hint = ""
        if number := number_to_write(text):
            hint = f"; write {number}" + (" with a point" if "," in text else "")
        raise typer.BadParameter(f"'{text}' is not a number{hint}")
    return float(text)


Folder = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER", parser=parse_path, help="Folder of crops, searched recursively."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", parser=parse_path, help="Write sidecars below DIR, not beside the images."
    ),
]
Sidecars = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", parser=parse_path, help="Folder of the sidecars, if not beside the images."
    ),
]
SidecarsOrOut = Annotated[
    Path | None,
    typer.Option(
        "--sidecars",
        "--out",
        metavar="DIR",
        parser=parse_path,
        help="Folder of the sidecars, if not beside the images.",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME_OR_DIR", help="Model.  [default: the shipped model]"),
]
UsedModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME_OR_DIR",
        help="Model that made the calls, if it is not a shipped one.",
    ),
]
Provider = Annotated[
    ProviderName | None,
    typer.Option(help="Execution provider; auto: CUDA if a session runs there, else CPU."),
]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        parser=parse_path,
        help="Settings file (TOML) instead of the lab's and FOLDER/ctcedge.toml.",
    ),
]
Pattern = Annotated[
    str | None,
    typer.Option(
        metavar="TEMPLATE",
        help=(
            "How file names are built, with {cell}, {channel}, {sample}:"
            " '{sample}/{cell}_{channel}.png'. Also a regular expression."
        ),
    ),
]
Index = Annotated[
    Path | None,
    typer.Option(
        metavar="TABLE",
        parser=parse_path,
        help="Table of the cells: cell, sample, a path per channel, um/px; of frames x and y.",
    ),
]
UmPerPx = Annotated[
    float | None,
    typer.Option(
        "--um-per-px", parser=parse_number, metavar="X", help="Pixel size of the images in um."
    ),
]
OperatingPoint = Annotated[
    OperatingPointName | None,
    typer.Option(help="Decision threshold for a purpose; see 'ctcedge models show'."),
]
Samples = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        parser=parse_path,
        help="Patients and volumes of the samples.  [default: FOLDER/samples.csv]",
    ),
]
Prevalence = Annotated[
    float | None,
    typer.Option(
        parser=parse_number,
        metavar="FRACTION",
        help="Fraction of CTCs among your cells, such as 0.0002; changes probabilities, not calls.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(metavar="N", help="Batch size for inference.  [default: 32; on a GPU 256]"),
]
GpuMemory = Annotated[
    int | None,
    typer.Option(metavar="MB", help="GPU memory limit in MB.  [default: no limit]"),
]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", help="Worker processes; 1: none.  [default: none up to 4 CPU cores]"),
]
StabilityDelay = Annotated[
    float | None,
    typer.Option(
        parser=parse_number,
        metavar="S",
        help="Classify a file after S seconds without a change.  [default: 1]",
    ),
]
RescanInterval = Annotated[
    float | None,
    typer.Option(
        parser=parse_number,
        metavar="S",
        help="Scan the whole folder every S seconds.  [default: 60]",
    ),
]
DecodeTimeout = Annotated[
    float | None,
    typer.Option(
        parser=parse_number,
        metavar="S",
        help="Retry an image that does not decode for S seconds.  [default: 30]",
    ),
]
ReportIdle = Annotated[
    float | None,
    typer.Option(
        parser=parse_number,
        metavar="S",
        help="Write a sample's report after S seconds without new crops.",
    ),
]
Metrics = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", parser=parse_path, help="Keep Prometheus metrics in FILE (name.prom)."
    ),
]
LogFormat = Annotated[
    LogFormatName,
    typer.Option(help="Format of log lines on standard error; json: one object per line."),
]
Force = Annotated[bool, typer.Option("--force", help="Classify again what is already classified.")]
Yes = Annotated[bool, typer.Option("--yes", help="Apply the steps instead of showing them.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON summary on standard output.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options from which settings follow, in the order of `watch`; None where one is not given."""

    out: Path | None = None
    model: str | None = None
    provider: ProviderName | None = None
    config: Path | None = None
    pattern: str | None = None
    um_per_px: float | None = None
    operating_point: OperatingPointName | None = None
    prevalence: float | None = None
    batch_size: int | None = None
    gpu_memory: int | None = None
    workers: int | None = None
    stability_delay: float | None = None
    rescan_interval: float | None = None
    decode_timeout: float | None = None
    report_idle: float | None = None
    samples: Path | None = None

    def settings(self, folder: Path) -> Settings:
        """Merge the options over the settings files.

        Raises:
            SettingsError: an option or a file is wrong.
        """
        return self.sourced_settings(folder).settings

    def sourced_settings(self, folder: Path | None) -> SourcedSettings:
        """Merge the options over the settings files; with the origin of each setting.

        Args:
            folder: the folder of crops; None where there is none.

        Raises:
            SettingsError: an option or a file is wrong.
        """
        from ctcedge.errors import SettingsError
        from ctcedge.settings import lab_config

        try:
            return self._sourced(folder, lab_config() if self.config is None else None)
        except SettingsError as error:
            found = re.match(r"'(?:\w+\.)?(\w+)' (must .*)", str(error), re.DOTALL)
            if found is None:  # of a file, which it names
                raise
            option = "gpu_memory" if found[1] == "gpu_memory_mb" else found[1]
            raise SettingsError(f"--{option.replace('_', '-')} {found[2]}") from None

    def _sourced(self, folder: Path | None, lab: Path | None) -> SourcedSettings:
        from ctcedge.settings import source_settings

        return source_settings(
            folder,
            self.config,
            lab=lab,
            images={"pattern": self.pattern, "um_per_px": self.um_per_px},
            decision={
                "operating_point": _value(self.operating_point),
                "prevalence": self.prevalence,
            },
            watch={
                "stability_delay": self.stability_delay,
                "rescan_interval": self.rescan_interval,
                "decode_timeout": self.decode_timeout,
                "report_idle": self.report_idle,
            },
            out=None if self.out is None else str(self.out),
            samples=None if self.samples is None else str(self.samples),
            model=self.model,
            provider=_value(self.provider),
            batch_size=self.batch_size,
            gpu_memory_mb=self.gpu_memory,
            workers=self.workers,
        )

    def arguments(self, *, without: Sequence[str] = ()) -> list[str]:
        """Return the given options as words of a command line, with absolute paths.

        Args:
            without: names of options that are left out.
        """
        words: list[str] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None or field.name in without:
                continue
            if isinstance(value, Path) or (field.name == "model" and os.path.isdir(value)):
                value = os.path.abspath(value)
            words += [f"--{field.name.replace('_', '-')}", str(value)]
        return words


def sidecar_root(settings: Settings) -> Path | None:
    """Return the folder of the sidecars; None for beside the images."""
    return None if settings.out is None else Path(settings.out)


def sample_table(settings: Settings, folder: Path) -> SampleTable:
    """Read the table of samples that the settings name, or that is in the folder.

    Raises:
        SettingsError: it cannot be read, or a value is wrong.
    """
    from ctcedge.results.sample_table import load_sample_table

    path = None if settings.samples is None else Path(settings.samples)
    return load_sample_table(folder, path)


def command_group(help_text: str) -> typer.Typer:
    """Return a command with sub-commands."""
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)


def _value(choice: enum.StrEnum | None) -> str | None:
    return None if choice is None else choice.value
