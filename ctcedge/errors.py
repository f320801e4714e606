"""Every exception that ctcedge raises on purpose.

    CtcEdgeError
    ├── SetupError            wrong use or set-up: the command line exits with 2
    │   ├── SettingsError     a flag, a pattern or a settings file
    │   ├── NoCropsError      nothing in the folder is a bright-field crop
    │   ├── ModelError        a model folder that cannot be trusted or used
    │   ├── ProviderError     the asked-for execution provider does not run
    │   └── OutputError       sidecars cannot or must not be written there
    └── BadImage              one image; becomes a sidecar, never stops a run

The text of a SetupError says what to do.
"""

from __future__ import annotations

from typing import Literal

BadStatus = Literal["unreadable", "unsupported"]


class CtcEdgeError(Exception):
    """Base of all errors of this package."""


class SetupError(CtcEdgeError):
    """Wrong use or set-up; the text says what to do."""


class SettingsError(SetupError):
    """A flag, a pattern or a settings file is wrong."""


class NoCropsError(SetupError):
    """The folder holds no bright-field crop."""


class ModelError(SetupError):
    """A model folder is missing, incomplete, changed or unfit."""


class ProviderError(SetupError):
    """The asked-for execution provider does not run here."""


class OutputError(SetupError):
    """Sidecars cannot, or must not, be written at the given place."""


class BadImage(CtcEdgeError):
    """One image cannot be classified.

    Attributes:
        status: `unreadable` (damaged, empty, no permission) or `unsupported` (whole, but of a kind
            or size that is not accepted).
    """

    def __init__(self, status: BadStatus, message: str) -> None:
        super().__init__(message)
        self.status: BadStatus = status
