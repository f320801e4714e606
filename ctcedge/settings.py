"""Settings: flags, then one TOML file, then defaults.

The file is the one given by `--config`, or else `ctcedge.toml` in the searched folder. The latter
travels with the images and comes from outside, so it may say how the images are read and nothing
else: not which model decides, nor where sidecars are written.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from ctcedge import validation as strict
from ctcedge.discovery.naming import Naming
from ctcedge.errors import SettingsError
from ctcedge.fs.files import UnsuitableFileError, read_limited

T = TypeVar("T")

FOLDER_CONFIG = "ctcedge.toml"
_MAX_CONFIG_BYTES = 64 * 1024
_DAY = 86_400

ProviderChoice: TypeAlias = Literal["auto", "cuda", "tensorrt", "cpu"]
OperatingPointName: TypeAlias = Literal["screening", "balanced", "confirm"]


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """How the images of an export are read.

    Attributes:
        pattern: see `crops.Naming`; None for the default.
        um_per_px: edge length of an image pixel, um; None when unknown.
        channels: aliases by channel; a channel named here replaces its default aliases.
    """

    pattern: str | None = None
    um_per_px: float | None = None
    channels: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.um_per_px is not None and not 0.01 <= self.um_per_px <= 20:
            raise ValueError("um/px must lie between 0.01 and 20")

    def naming(self) -> Naming:
        """The reader of file names that these settings describe."""
        return Naming(self.pattern, self.channels)


@dataclass(frozen=True, slots=True)
class DecisionSettings:
    """How probabilities become calls.

    Attributes:
        operating_point: of the model; None for the model's own decision.
        prevalence: share of CTCs that the probabilities told assume; None for the model's own
            prior. It changes no call.
    """

    operating_point: OperatingPointName | None = None
    prevalence: float | None = None

    def __post_init__(self) -> None:
        if self.prevalence is not None and not 1e-9 <= self.prevalence <= 1 - 1e-9:
            raise ValueError("prevalence must lie above 0 and below 1, such as 0.0002")


@dataclass(frozen=True, slots=True)
class WatchSettings:
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

    stability_delay: float = 1.0
    rescan_interval: float = 60.0
    decode_timeout: float = 30.0
    report_idle: float | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.stability_delay <= _DAY and 0 <= self.decode_timeout <= _DAY):
            raise ValueError(f"stability_delay and decode_timeout must lie between 0 and {_DAY} s")
        if not 0 < self.rescan_interval <= _DAY:
            raise ValueError(f"rescan_interval must lie above 0 and be at most {_DAY} s")
        if self.report_idle is not None and not 0 <= self.report_idle <= _DAY:
            raise ValueError(f"report_idle must lie between 0 and {_DAY} s")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a run can be told.

    Attributes:
        images: how images are read.
        watch: when `watch` takes a file.
        model: name or folder; None for the default model.
        provider: where the network runs.
        out: folder of the sidecars; None to write them beside the images.
        batch_size: crops a call of the network; None for what suits the provider.
        gpu_memory_mb: most memory of a GPU to take, MiB; None for no limit.
        decision: how probabilities become calls.
    """

    images: ImageSettings = field(default_factory=ImageSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)
    model: str | None = None
    provider: ProviderChoice = "auto"
    out: str | None = None
    batch_size: int | None = None
    gpu_memory_mb: int | None = None
    decision: DecisionSettings = field(default_factory=DecisionSettings)

    def __post_init__(self) -> None:
        if self.batch_size is not None and not 1 <= self.batch_size <= 4096:
            raise ValueError("batch_size must lie between 1 and 4096")
        if self.gpu_memory_mb is not None and not 64 <= self.gpu_memory_mb <= 1_000_000:
            raise ValueError("gpu_memory_mb must lie between 64 and 1,000,000")
        if any("\0" in (path or "") for path in (self.model, self.out)):
            raise ValueError("a path must not hold a NUL character")
        if "" in (self.model, self.out):
            raise ValueError("a path must not be empty")


@dataclass(frozen=True, slots=True)
class _FolderSettings:
    """What `ctcedge.toml` in the searched folder may hold."""

    images: ImageSettings = field(default_factory=ImageSettings)


def load_settings(
    folder: Path,
    config: Path | None = None,
    *,
    images: dict[str, object] | None = None,
    decision: dict[str, object] | None = None,
    watch: dict[str, object] | None = None,
    **flags: object,
) -> Settings:
    """Merge flags over the settings file over the defaults.

    Args:
        folder: the searched folder, whose `ctcedge.toml` is read when `config` is None.
        config: a settings file.
        images: flags that belong to `ImageSettings`; None values are 'not given'.
        decision: flags that belong to `DecisionSettings`.
        watch: flags that belong to `WatchSettings`.
        **flags: other fields of `Settings`.

    Raises:
        SettingsError: naming the key and the file.
    """
    if config is not None:
        settings = _read(Settings, config)
    elif (own := folder / FOLDER_CONFIG).exists() or own.is_symlink():
        settings = Settings(images=_read(_FolderSettings, own).images)
    else:
        settings = Settings()
    try:
        settings = _override(settings, flags)
        return dataclasses.replace(
            settings,
            images=_override(settings.images, images or {}),
            decision=_override(settings.decision, decision or {}),
            watch=_override(settings.watch, watch or {}),
        )
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _override(settings: T, flags: dict[str, object]) -> T:
    given = {name: value for name, value in flags.items() if value is not None}
    return dataclasses.replace(settings, **given)  # type: ignore[type-var]


def _read(kind: type[T], path: Path) -> T:
    try:
        # The folder's own file comes from outside, and could lead anywhere.
        data = read_limited(path, _MAX_CONFIG_BYTES, follow=kind is not _FolderSettings)
        return strict.build(kind, tomllib.loads(data.decode("utf-8")))
    except UnsuitableFileError:
        text = f"{path}: not a regular file of at most {_MAX_CONFIG_BYTES} bytes"
        raise SettingsError(text) from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from None
    except strict.StrictError as error:
        hint = ""
        if kind is _FolderSettings:
            hint = (
                f". {FOLDER_CONFIG} in the folder may hold [images] only; use --config for the rest"
            )
        raise SettingsError(f"{path}: {error}{hint}") from None
    except (ValueError, RecursionError) as error:  # also of numbers and bytes that cannot be read
        raise SettingsError(f"{path}: not valid TOML: {error}") from None
