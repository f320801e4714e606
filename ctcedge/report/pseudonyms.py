"""Pseudonyms for names of samples, cells, files and persons.

A pseudonym is an HMAC of the name with a random key. The key is stored with the sidecars, and only
the account that created it may read it; another account's key, as an export may bring one along,
is refused. Later reports of a folder contain the same pseudonyms, and without the key nobody can
find a name by guessing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from ctcedge.errors import OutputError
from ctcedge.fs.descriptors import close_unwritten
from ctcedge.fs.paths import state_folder
from ctcedge.fs.unfinished import UnfinishedFile, make_folders, open_folder, sync_folder

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

    def patient(self, name: str) -> str:
        """Return a patient's name."""
        return name

    def kind(self, text: str) -> str:
        """Return the laboratory's words for a kind of sample."""
        return text

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

    def patient(self, name: str) -> str:
        """Return a pseudonym, the same for all samples of the patient."""
        return self._pseudonym("patient", name)

    def kind(self, text: str) -> str:
        """Return nothing: the words may contain names."""
        return ""

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


class _NoPermissionsError(Exception):
    """The file system does not keep the owner and the permissions of files."""


def load_key(root: Path) -> bytes:
    """Return the key of a folder of sidecars; create it if there is none.

    Where the file system keeps no permissions, so that others could read the key, it is in the
    state folder of this account.

    Raises:
        OutputError: the key cannot be read or written, or is not this account's alone.
    """
    try:
        return _load_or_create(root, KEY_NAME)
    except _NoPermissionsError:
        pass
    try:
        folder = state_folder() / "pseudonym-keys"
        make_folders(folder, 0o700)
        name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()
        return _load_or_create(folder, f"{name}.key")
    except (OSError, RuntimeError, _NoPermissionsError) as error:
        reason = getattr(error, "strerror", None) or "neither does that of the state folder"
        raise OutputError(
            f"the file system of {root} keeps no permissions, so that others could read the key of"
            f" the pseudonyms there, and it cannot be kept elsewhere: {reason}; CTCEDGE_STATE names"
            " another folder"
        ) from None


def _load_or_create(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        directory = open_folder(folder)
        try:
            try:
                return _read_key(path, directory)
            except FileNotFoundError:
                _create_key(name, directory)
            return _read_key(path, directory)
        finally:
            close_unwritten(directory)
    except OSError as error:
        raise OutputError(
            f"{path}: {error.strerror}; pseudonyms need a key file there to stay the same: make"
            " room, or run the command once with an account that can write there"
        ) from None


def _create_key(name: str, directory: int) -> None:
    """Create a key, whole or not at all; one that another process created meanwhile is kept."""
    file = UnfinishedFile(directory, 0o600)
    try:
        status = os.fstat(file.descriptor)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise _NoPermissionsError
        file.write(secrets.token_bytes(_KEY_BYTES))
        os.fsync(file.descriptor)
        with contextlib.suppress(FileExistsError):
            file.create(name)
    finally:
        file.close()
    sync_folder(directory)


def _read_key(path: Path, directory: int) -> bytes:
    """Read a key that belongs to this account alone.

    Raises:
        OutputError: it is another account's, or damaged.
        OSError: it cannot be read.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path.name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise OutputError(f"{path} is a link, not a key; remove it for a new key") from None
    try:
        status = os.fstat(descriptor)
        regular = stat.S_ISREG(status.st_mode)
        key = os.read(descriptor, _KEY_BYTES + 1) if regular else b"-"
    finally:
        close_unwritten(descriptor)
    new = "remove it for a new key; later reports then have other pseudonyms"
    if not key:
        raise OutputError(
            f"{path} is empty, as a full disk or a power cut leaves it; it was never a key: remove"
            " it for a new one"
        )
    if len(key) != _KEY_BYTES:
        raise OutputError(f"{path} is not a key of {_KEY_BYTES} bytes; {new}")
    if status.st_uid != os.geteuid():
        raise OutputError(
            f"{path} belongs to another account (user id {status.st_uid}), which can find the names"
            f" behind the pseudonyms; run the command as that account, or {new}"
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise OutputError(
            f"{path} is open to other accounts (mode {mode:03o}), which can find the names behind"
            f" the pseudonyms; {new}. If nobody has read it: chmod 600"
        )
    return key
