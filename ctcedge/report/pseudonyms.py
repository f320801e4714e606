"""Names that may leave the laboratory in place of those that may not.

A pseudonym is an HMAC of the name under a random key. The key stays with the sidecars: whoever can
read it there can read the names as well. So a folder's reports, made again, hold the same
pseudonyms, and nobody without the key can tell a name by trying.
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
    """Names as they are.

    Args:
        run: identifies the folder.
    """

    def __init__(self, run: Path) -> None:
        self._run = os.fsencode(run.resolve())

    def run_id(self) -> str:
        """The folder's identity, 64 hexadecimal digits."""
        return hashlib.sha256(b"run " + self._run).hexdigest()

    def folder(self, name: str) -> str:
        """The folder's own name."""
        return name

    def sample(self, name: str) -> str:
        """A sample's name."""
        return name

    def cell(self, path: str, name: str) -> str:
        """A cell's id; `path` tells apart equal ids."""
        return name

    def path(self, path: str, sample: str) -> str:
        """A crop's path."""
        return path

    def reviewer(self, name: str) -> str:
        """A person's name."""
        return name

    def note(self, text: str) -> str:
        """What a person wrote."""
        return text


class Pseudonyms(Names):
    """Pseudonyms under a key.

    Args:
        run: identifies the folder.
        key: 32 random bytes.
    """

    def __init__(self, run: Path, key: bytes) -> None:
        super().__init__(run)
        self._key = key

    def run_id(self) -> str:
        """The folder's identity, which tells nothing of its path."""
        return hmac.new(self._key, b"run " + self._run, hashlib.sha256).hexdigest()

    def folder(self, name: str) -> str:
        """A pseudonym."""
        return self._of("run", name)

    def sample(self, name: str) -> str:
        """A pseudonym, the same for each cell of the sample."""
        return self._of("sample", name)

    def cell(self, path: str, name: str) -> str:
        """A pseudonym, another for each crop."""
        return self._of("cell", path)

    def path(self, path: str, sample: str) -> str:
        """Pseudonyms of sample and cell."""
        return f"{self.sample(sample)}/{self._of('cell', path)}"

    def reviewer(self, name: str) -> str:
        """A pseudonym."""
        return self._of("reviewer", name)

    def note(self, text: str) -> str:
        """Nothing: a note may hold names."""
        return ""

    def _of(self, kind: str, name: str) -> str:
        text = f"{kind} {name}".encode("utf-8", "backslashreplace")
        return f"{kind}-{hmac.new(self._key, text, hashlib.sha256).hexdigest()[:12]}"


def key_of(root: Path) -> bytes:
    """Return the key of a folder of sidecars; it is made where there is none.

    Raises:
        OutputError: it cannot be read or written.
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
            f"{path}: {error.strerror}; pseudonyms need a key there, so that they stay the same:"
            " run it once as an account that may write there"
        ) from None
    if len(key) != _KEY_BYTES:
        raise OutputError(f"{path} is not a key of {_KEY_BYTES} bytes; remove it for a new one")
    return key
