"""Settings: command-line flags over TOML files over the defaults.

A file given by `--config` is the only one. Otherwise, the lab's file applies, and over it
`ctcedge.toml` in the searched folder. The latter comes with the images, from outside, so it may
describe how the images are read and nothing else: neither the model nor the folder of the sidecars.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from ctcedge.discovery.naming import Naming
from ctcedge.errors import SettingsError
from ctcedge.fs.files import UnsuitableFileError, read_limited
from ctcedge.fs.text import TextError, line_of_key, load_toml
from ctcedge.records import RecordError, convert, plain, plain_number

T = TypeVar("T", bound=msgspec.Struct)

FOLDER_CONFIG = "ctcedge.toml"
LAB_CONFIG = Path("/etc/ctcedge/ctcedge.toml")
LAB_VARIABLE = "CTCEDGE_CONFIG"
COMMAND_LINE = "command line"
_MAX_CONFIG_BYTES = 64 * 1024
_OTHER_NAMES = (
    "ctcedge.toml.txt",  # of the editor of Windows, which hides the suffix
    "Ctcedge.toml",
    "CtcEdge.toml",
    "CTCEDGE.TOML",
    "CTCEdge.toml",
    "ctcedge.TOML",
)
_DAY = 86_400

ProviderChoice: TypeAlias = Literal["auto", "cuda", "cpu"]
OperatingPointName: TypeAlias = Literal["screening", "balanced", "confirm"]

_Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]
_ChannelName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]  # as in corrections
_UmPerPx: TypeAlias = Annotated[float, Meta(ge=0.01, le=20)]
_Delay: TypeAlias = Annotated[
    float, Meta(ge=0, le=_DAY, extra={"wanted": f"seconds between 0 and {_DAY:,}"})
]
_Interval: TypeAlias = Annotated[
    float, Meta(gt=0, le=_DAY, extra={"wanted": f"seconds above 0 and at most {_DAY:,}"})
]
_Prevalence: TypeAlias = Annotated[
    float,
    Meta(
        ge=1e-9,
        le=1 - 1e-9,
        extra={"wanted": "a number above 0 and below 1, such as 0.0002"},
    ),
]


class ImageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the images of an export are read.

    Attributes:
        pattern: template of file names with `{cell}` and optionally `{channel}` and `{sample}`, or
            a regular expression with named groups of these names; None for the default.
        um_per_px: edge length of an image pixel, um; None when unknown.
        channels: aliases by channel; a channel named here replaces its default aliases.
        ignore: files and folders to pass over: names such as `*_thumb.png`, or paths relative to
            the searched folder, with `*` for any text.
    """

    pattern: Annotated[str, Meta(max_length=4096)] | None = None
    um_per_px: _UmPerPx | None = None
    channels: Annotated[
        dict[_ChannelName, Annotated[tuple[_Text, ...], Meta(max_length=100)]],
        Meta(max_length=50, extra={"wanted": "a table of at most 50 channels"}),
    ] = {}
    ignore: Annotated[tuple[_Text, ...], Meta(max_length=100)] = ()

    def naming(self, crops_root: Path | None = None) -> Naming:
        """Return the parser of file names that these settings describe.

        Args:
            crops_root: folder of the sidecars, where it is not the searched folder: crops that were
                cut are below it.
        """
        return Naming(self.pattern, self.channels, self.ignore, crops_root)


class DecisionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How probabilities become calls.

    Attributes:
        operating_point: operating point of the model; None for the model's own thresholds.
        prevalence: fraction of CTCs that the reported probabilities assume; None for the model's
            own prior. It changes no call.
    """

    operating_point: OperatingPointName | None = None
    prevalence: _Prevalence | None = None


class WatchSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When `watch` takes a file, and when it reports on a sample.

    Attributes:
        stability_delay: seconds without a change after which a file counts as written, where its
            closing was not seen.
        rescan_interval: seconds between scans of the whole folder, which find what events missed.
        decode_timeout: seconds after its last change during which an image that does not decode is
            tried again before it gets its `unreadable` sidecar.
        report_idle: seconds without new crops after which a sample is finished and gets its
            report; None for no reports.
    """

    stability_delay: _Delay = 1.0
    rescan_interval: _Interval = 60.0
    decode_timeout: _Delay = 30.0
    report_idle: _Delay | None = None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a run.

    Attributes:
        images: how images are read.
        watch: when `watch` takes a file.
        model: name or folder; None for the default model.
        provider: execution provider of the network.
        out: folder of the sidecars; None to write them beside the images.
        batch_size: inference batch size; None for the provider's default.
        gpu_memory_mb: GPU memory limit, MiB; None for no limit.
        workers: number of worker processes in large runs, 1 for none; None for as many as there are
            CPU cores, where there are more than four.
        decision: how probabilities become calls.
        samples: table of the samples' patients and volumes; None for `samples.csv` in the searched
            folder, if there is one.
    """

    images: ImageSettings = ImageSettings()
    watch: WatchSettings = WatchSettings()
    model: _Text | None = None
    provider: ProviderChoice = "auto"
    out: _Text | None = None
    batch_size: Annotated[int, Meta(ge=1, le=4096)] | None = None
    gpu_memory_mb: Annotated[int, Meta(ge=64, le=1_000_000)] | None = None
    workers: Annotated[int, Meta(ge=1, le=96)] | None = None
    decision: DecisionSettings = DecisionSettings()
    samples: _Text | None = None

    def naming(self) -> Naming:
        """Return the parser of file names, which also finds the crops that were cut."""
        return self.images.naming(None if self.out is None else Path(self.out))

    def __post_init__(self) -> None:
        if any("\0" in (path or "") for path in (self.model, self.out, self.samples)):
            raise ValueError("a path must not contain a NUL character")


class _FolderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of `ctcedge.toml` in the searched folder."""

    images: ImageSettings = ImageSettings()


@dataclass(frozen=True, slots=True)
class SourcedSettings:
    """Settings, and where each comes from.

    Attributes:
        settings: all settings.
        origins: `command line`, or the file and line, by the key of each setting that is given.
    """

    settings: Settings
    origins: dict[str, str]


def lab_config() -> Path | None:
    """Return the lab's settings file: that of CTCEDGE_CONFIG, or that in /etc, if there is one.

    An empty CTCEDGE_CONFIG means no file.
    """
    named = os.environ.get(LAB_VARIABLE)
    if named is not None:
        return Path(named) if named else None
    return LAB_CONFIG if os.path.lexists(LAB_CONFIG) else None


def load_settings(
    folder: Path,
    config: Path | None = None,
    *,
    lab: Path | None = None,
    images: dict[str, object] | None = None,
    decision: dict[str, object] | None = None,
    watch: dict[str, object] | None = None,
    **flags: object,
) -> Settings:
    """Merge flags over the settings files over the defaults; arguments as of `source_settings`.

    Raises:
        SettingsError: a value does not fit; the text names the key, and the file it is in.
    """
    return source_settings(
        folder, config, lab=lab, images=images, decision=decision, watch=watch, **flags
    ).settings


def source_settings(
    folder: Path | None,
    config: Path | None = None,
    *,
    lab: Path | None = None,
    images: dict[str, object] | None = None,
    decision: dict[str, object] | None = None,
    watch: dict[str, object] | None = None,
    **flags: object,
) -> SourcedSettings:
    """Merge flags over the settings files over the defaults.

    Args:
        folder: the searched folder, whose `ctcedge.toml` is read when `config` is None.
        config: a settings file, instead of the lab's and the folder's.
        lab: the lab's settings file, see `lab_config`.
        images: flags that belong to `ImageSettings`; None values are 'not given'.
        decision: flags that belong to `DecisionSettings`.
        watch: flags that belong to `WatchSettings`.
        **flags: other fields of `Settings`.

    Raises:
        SettingsError: a value does not fit; the text names the key, and the file it is in.
    """
    settings = Settings()
    origins: dict[str, str] = {}
    if (file := config or lab) is not None:
        settings, origins = _read(Settings, file)
    if config is None and folder is not None:
        own = folder / FOLDER_CONFIG
        if os.path.lexists(own):
            of_folder, of_images = _read(_FolderSettings, own)
            given = {key.partition(".")[2]: None for key in of_images}
            content = plain(of_folder.images)
            settings = merged(settings, images={key: content[key] for key in given if key})
            origins |= of_images
        else:
            _refuse_other_names(folder)
    settings = merged(settings, images=images, decision=decision, watch=watch, **flags)
    tables = {"images": images, "decision": decision, "watch": watch}
    for table, values in tables.items():
        origins |= dict.fromkeys((f"{table}.{key}" for key in _given(values or {})), COMMAND_LINE)
    origins |= dict.fromkeys(_given(flags), COMMAND_LINE)
    return SourcedSettings(settings, origins)


def merged(
    settings: Settings,
    *,
    images: dict[str, object] | None = None,
    decision: dict[str, object] | None = None,
    watch: dict[str, object] | None = None,
    **flags: object,
) -> Settings:
    """Return settings with other values; arguments as of `load_settings`.

    Raises:
        SettingsError: a value does not fit; the text names the key.
    """
    content = plain(settings) | _given(flags)
    for name, given in (("images", images), ("decision", decision), ("watch", watch)):
        content[name] |= _given(given or {})
    try:
        return convert(content, Settings)
    except RecordError as error:
        raise SettingsError(str(error)) from None


def path_text(name: str, path: object) -> str:
    """Return a path argument as text.

    Raises:
        SettingsError: it is neither a text nor a path, or empty; the text gives its name.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise SettingsError(f"'{name}' must be a path, not {path!r:.60}")
    return os.fsdecode(path)


def _given(flags: dict[str, object]) -> dict[str, object]:
    return {name: _plain(value) for name, value in flags.items() if value is not None}


def _plain(value: object) -> object:
    try:
        return value if isinstance(value, bool) else plain_number(value)
    except NotImplementedError:
        return value


def _read(kind: type[T], path: Path) -> tuple[T, dict[str, str]]:
    """Return the settings of a file, and the file and line of each."""
    # The folder's own file comes from outside, and a link there could lead anywhere.
    follow = kind is not _FolderSettings
    try:
        content, text = load_toml(read_limited(path, _MAX_CONFIG_BYTES, follow=follow))
    except UnsuitableFileError:
        text = f"{path}: not a regular file of at most {_MAX_CONFIG_BYTES} bytes"
        raise SettingsError(text) from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}){_way(path)}") from None
    except TextError as error:
        raise SettingsError(f"{path}: {error}") from None
    _refuse_control_characters(path, content)
    try:
        settings = convert(content, kind)
    except RecordError as error:
        message = _with_line(str(error), text)
        if not follow:
            message += (
                f". {FOLDER_CONFIG} in the folder may hold [images] only; use --config for the rest"
            )
        raise SettingsError(f"{path}: {message}") from None
    return settings, {key: _origin(path, text, key) for key in _keys(content)}


def _keys(content: dict[str, Any]) -> Iterator[str]:
    """The settings of a file: keys of the top level, and those of tables with the table's name."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from (f"{key}.{name}" for name in value)
        else:
            yield key


def _origin(path: Path, text: str, key: str) -> str:
    line = line_of_key(text, key)
    return str(path) if line is None else f"{path}, line {line}"


def _way(path: Path) -> str:
    """How a file that cannot be read came to be chosen, where no option names it."""
    if os.environ.get(LAB_VARIABLE) == str(path):
        return f"; the environment variable {LAB_VARIABLE} names it"
    return ""


def _refuse_other_names(folder: Path) -> None:
    """Refuse a file that is meant as the folder's settings, and would be passed over in silence."""
    for name in _OTHER_NAMES:
        if os.path.isfile(folder / name):
            raise SettingsError(
                f"{folder / name} is not read, as settings are in {FOLDER_CONFIG}; rename it"
            )


def _refuse_control_characters(path: Path, content: dict[str, Any]) -> None:
    """Refuse texts in which a backslash and a letter became a control character."""
    images = content.get("images")
    pattern = images.get("pattern") if isinstance(images, dict) else None
    texts = {"model": content.get("model"), "out": content.get("out"), "pattern": pattern}
    for key, text in texts.items():
        allowed = "\n\r\t" if key == "pattern" else ""  # of a verbose pattern
        if isinstance(text, str) and any(c < " " and c not in allowed for c in text):
            raise SettingsError(
                f"{path}: '{key}' contains a control character ({text!r:.60}); write texts with a"
                " backslash in single quotes"
            )


def _with_line(message: str, text: str) -> str:
    """Return a message with the line that it is about, where that can be found, before its cure."""
    found = re.search(r"'([^']+)'", message)
    line = line_of_key(text, found[1]) if found else None
    if line is None:
        return message
    cure = re.search(r"; (?:did you mean|write) [^;]*$", message)
    end = cure.start() if cure else len(message)
    return f"{message[:end]} (line {line}){message[end:]}"
