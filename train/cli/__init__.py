"""Command line: `ctcedge-train --help`."""

from .app import app

__all__ = ["app"]
