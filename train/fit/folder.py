"""The files of a run: written whole, never over another run's, under a lock."""

from __future__ import annotations

import fcntl
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ctcedge.fs.files import atomic_write
from ctcedge.fs.unfinished import TEMPORARY

RUN_NAME = "run.json"
PRETRAINING_NAME = "pretraining.json"
"""Record of a pretraining instead of that of a fit."""
CELLS_NAME = "cells.npz"
WEIGHTS_NAME = "weights.pt"
LOG_NAME = "log.json"


class RunError(ValueError):
    """A run folder cannot be used."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run folder against other processes that train; the folder is created if missing.

    The lock is a system lock on the folder itself, which ends with the process in any case.

    Raises:
        RunError: another process trains there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems cannot lock a folder
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"another process is fitting in {folder}; wait for it, stop it, or"
                    " choose another --out"
                ) from None
        yield
    finally:
        os.close(descriptor)


def save(folder: Path, name: str, record: dict[str, Any], columns: dict[str, NDArray[Any]]) -> None:
    """Write the record and the cells of a run; a folder with the same run is not changed.

    Args:
        folder: of the run.
        name: of the record's file.
        record: settings, and digests of the rest.
        columns: of the cells.

    Raises:
        RunError: the folder contains another run, or something else.
    """
    path = folder / name
    if path.is_file():
        if differ := differences(folder, record, name):
            raise RunError(
                f"{folder} contains a run with {'; '.join(differ)}; choose another"
                " --out, or remove it"
            )
        return
    # Files of a run that was interrupted while it was written.
    unfinished = {CELLS_NAME, f".{CELLS_NAME}.tmp", f".{name}.tmp"}
    names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    if any(other not in unfinished and not TEMPORARY.fullmatch(other) for other in names):
        raise RunError(f"{folder} contains something other than a run; choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / CELLS_NAME, npz_bytes(columns))
    # Last, so that a folder with a record is complete.
    write_json(path, record)


def differences(folder: Path, record: dict[str, Any], name: str = RUN_NAME) -> list[str]:
    """Return the differences of a folder's run from a record, or from a recipe alone.

    Raises:
        RunError: the run's own record cannot be read.
    """
    stored, wanted = read_json(folder / name), json.loads(json.dumps(record))
    differ = [
        f"{setting} {stored.get(part, {}).get(setting)} instead of {value}"
        for part in ("settings", "input")
        for setting, value in wanted[part].items()
        if stored.get(part, {}).get(setting) != value
    ]
    texts = {"cells": "other cells, labels or splits", "init": "other initial weights"}
    differ += [
        text for part, text in texts.items() if part in wanted and stored.get(part) != wanted[part]
    ]
    return differ


def read_json(path: Path) -> dict[str, Any]:
    """Read the record of a run.

    Raises:
        RunError: it cannot be read.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None
    return record


def write_json(path: Path, record: object) -> None:
    """Write a JSON file atomically."""
    atomic_write(path, (json.dumps(record, indent=2) + "\n").encode())


def npz_bytes(arrays: dict[str, NDArray[Any]]) -> bytes:
    """Return arrays by name as the contents of an npz file."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def save_tensors(path: Path, tensors: dict[str, Any]) -> None:
    """Write tensors by name atomically."""
    file = io.BytesIO()
    torch.save(tensors, file)
    atomic_write(path, file.getvalue())


def load_weights(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read tensors by name."""
    loaded: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return loaded
