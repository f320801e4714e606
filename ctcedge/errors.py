"""Exceptions that ctcedge raises on purpose.

    CtcEdgeError
    ├── SetupError            wrong usage or set-up: the command line exits with code 2
    │   ├── SettingsError     an option, a pattern or a settings file
    │   ├── NoCropsError      the folder has no bright-field crop
    │   ├── ModelError        a model folder that is damaged or cannot be used
    │   ├── ProviderError     the requested execution provider does not run
    │   └── OutputError       sidecars or results cannot or must not be written there
    └── BadImage              one image; it is recorded in a sidecar and never stops a run

The message of a SetupError contains the remedy.
"""

from __future__ import annotations

from typing import Literal

BadStatus = Literal["unreadable", "unsupported"]


class CtcEdgeError(Exception):
    """Base class of the exceptions of this package."""


class SetupError(CtcEdgeError):
    """Wrong usage or set-up; the message contains the remedy."""


class SettingsError(SetupError):
    """An option, a pattern or a settings file is wrong."""


class NoCropsError(SetupError):
    """The folder has no bright-field crop."""


class ModelError(SetupError):
    """A model folder is missing, incomplete, changed or unsuitable."""


class ProviderError(SetupError):
    """The requested execution provider does not run here."""


class OutputError(SetupError):
    """Sidecars or results cannot, or must not, be written there."""


class BadImage(CtcEdgeError):
    """One image cannot be classified.

    Attributes:
        status: `unreadable` (damaged, empty, no permission) or `unsupported` (intact, but of a
            format or size that is not accepted).
    """

    def __init__(self, status: BadStatus, message: str) -> None:
        super().__init__(message)
        self.status: BadStatus = status

    def __reduce__(self) -> tuple[type[BadImage], tuple[BadStatus, str]]:
        return type(self), (self.status, str(self))
