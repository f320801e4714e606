"""Pseudonyms for names of samples, cells, files and persons.

A pseudonym is an HMAC of the name with a random key. The key is stored with the sidecars, where
everybody who can read it can read the names too. Later reports of a folder contain the same
pseudonyms, and without the key nobody can find a name by guessing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from ctcedge.errors import OutputError
from ctcedge.fs.files import UnsuitableFileError, read_limited

KEY_NAME = ".ctcedge.pseudonym-key"
_KEY_BYTES = 32


class Names:
    """Names without change.

    Args:
        run: the folder.
    """

    def __init__(self, run: Path) -> None:
        self._run = os.fsencode(run.resolve())

    def run_id(self) -> str:
        """Return an id of the folder, 64 hexadecimal digits."""
        return hashlib.sha256(b"run " + self._run).hexdigest()

    def folder(self, name: str) -> str:
        """Return the folder's own name."""
        return name

    def sample(self, name: str) -> str:
        """Return a sample's name."""
        return name

    def cell(self, path: str, name: str) -> str:
        """Return a cell's id; `path` distinguishes equal ids."""
        return name

    def path(self, path: str, sample: str) -> str:
        """Return a crop's path."""
        return path

    def reviewer(self, name: str) -> str:
        """Return a person's name."""
        return name

    def note(self, text: str) -> str:
        """Return a person's note."""
        return text


class Pseudonyms(Names):
    """Pseudonyms instead of names.

    Args:
        run: the folder.
        key: 32 random bytes.
    """

    def __init__(self, run: Path, key: bytes) -> None:
        super().__init__(run)
        self._key = key

    def run_id(self) -> str:
        """Return an id of the folder that does not reveal its path."""
        return hmac.new(self._key, b"run " + self._run, hashlib.sha256).hexdigest()

    def folder(self, name: str) -> str:
        """Return a pseudonym."""
        return self._pseudonym("run", name)

    def sample(self, name: str) -> str:
        """Return a pseudonym, the same for all cells of the sample."""
        return self._pseudonym("sample", name)

    def cell(self, path: str, name: str) -> str:
        """Return a pseudonym, different for each crop."""
        return self._pseudonym("cell", path)

    def path(self, path: str, sample: str) -> str:
        """Return the pseudonyms of sample and cell."""
        return f"{self.sample(sample)}/{self._pseudonym('cell', path)}"

    def reviewer(self, name: str) -> str:
        """Return a pseudonym."""
        return self._pseudonym("reviewer", name)

    def note(self, text: str) -> str:
        """Return nothing: a note may contain names."""
        return ""

    def _pseudonym(self, kind: str, name: str) -> str:
        text = f"{kind} {name}".encode("utf-8", "backslashreplace")
        return f"{kind}-{hmac.new(self._key, text, hashlib.sha256).hexdigest()[:12]}"


def load_key(root: Path) -> bytes:
    """Return the key of a folder of sidecars; create it if there is none.

    Raises:
        OutputError: the key cannot be read or written.
    """
    path = root / KEY_NAME
    try:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(path, flags, 0o600), "wb") as new:
                new.write(secrets.token_bytes(_KEY_BYTES))
        except FileExistsError:
            pass
        try:
            key = read_limited(path, _KEY_BYTES)
        except UnsuitableFileError:
            key = b""
    except OSError as error:
        raise OutputError(
            f"{path}: {error.strerror}; pseudonyms need a key file there to stay the same: run the"
            " command once with an account that can write there"
        ) from None
    if len(key) != _KEY_BYTES:
        raise OutputError(f"{path} is not a key of {_KEY_BYTES} bytes; remove it for a new one")
    return key
