"""Prometheus' own checks; tests that need them skip where they are missing."""

from __future__ import annotations

import shutil
import subprocess

import pytest

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian package prometheus) is not installed"
)


def promtool(*words: object, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool, with a text on standard input; output and errors come in `stdout` together."""
    return subprocess.run(
        ["promtool", *map(str, words)],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
