"""The pages of the documentation as tests see them: their blocks, and a place to run commands."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.cli_runner import DEADLINE, until

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [
    README,
    *(path for path in [ROOT / "CONTRIBUTING.md"] if path.exists()),
    *sorted((ROOT / "docs").rglob("*.md")),
]

_FENCE = re.compile(r"^( *)```(\w+)([^\n]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: its path.
        language: after the fence.
        title: what follows the language.
        text: its lines.
    """

    page: Path
    language: str
    title: str
    text: str

    def commands(self) -> list[str]:
        """Return the shell commands, one each, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = (shlex.split(line, comments=True) for line in lines)
        joined = (shlex.join(line) for line in words if line)
        return [part for line in joined for part in line.split(" '&&' ")]


def blocks(page: Path, language: str | None = None) -> list[Block]:
    found = [
        Block(page, match[2], match[3], textwrap.dedent(match[4]))
        for match in _FENCE.finditer(page.read_text(encoding="utf-8"))
    ]
    return [block for block in found if language in (None, block.language)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT / "docs" if page.is_relative_to(ROOT / "docs") else ROOT))


@dataclass(frozen=True)
class Lab:
    """A folder as the pages assume it: sample crops, an export and a place for calls."""

    root: Path

    def run(self, command: str) -> str:
        """Run a command as a user would; return what it prints."""
        words = [self._word(word) for word in shlex.split(command)]
        if words[0] == "ctcedge":
            words[:1] = [sys.executable, "-m", "ctcedge"]
            if words[3] == "watch":
                return self._watch(words)
        elif words[0] == "ctcedge-train":
            words[:1] = [sys.executable, "-m", "ctcedge_train"]
        elif words[0] == "python":
            words[0] = sys.executable
        done = subprocess.run(
            words,
            cwd=self.root,
            env=self._env(),
            capture_output=True,
            text=True,
            timeout=DEADLINE * 5,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def _word(self, word: str) -> str:
        for folder in ("deparray", "data"):
            word = re.sub(rf"^/{folder}\b", str(self.root / folder), word)
        return word.removeprefix(".venv/bin/")

    def _watch(self, words: list[str]) -> str:
        """Run until it logs that it watches, then stop it as `systemctl stop` does."""
        log = self.root / "watch.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(words, cwd=self.root, env=self._env(), stderr=errors)
        try:
            until(lambda: log.stat().st_size > 0 or process.poll() is not None)
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0, log.read_text()
        finally:
            process.kill()
        return log.read_text()

    def _env(self) -> dict[str, str]:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        return {**os.environ, "PYTHONPATH": path, "COLUMNS": "100"}
