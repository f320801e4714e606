"""Command line: `python -m train --help`."""

from .app import app

__all__ = ["app"]
