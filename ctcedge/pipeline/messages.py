"""Messages between a process and its worker processes, sent as pickles over a socket pair."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctcedge.classification.decision import DecisionRule
from ctcedge.classification.fingerprints import Fingerprint
from ctcedge.model.folder import Model
from ctcedge.model.session import ModelOutput, Provider
from ctcedge.model.spec import Variant
from ctcedge.pipeline.crash_journal import SlotAddress
from ctcedge.pipeline.loader import FolderIdentity
from ctcedge.pipeline.task import Done, Failed, Request


class RemoteEngine(NamedTuple):
    """Provider and graph of a session in another process."""

    provider: Provider
    variant: Variant


class Setup(NamedTuple):
    """What a worker process needs to classify crops; the first message to it.

    Attributes:
        folder: the searched folder.
        out: root of the sidecars; None for beside the images.
        lock: inherited descriptor of the root, which holds its lock; None where there is none.
        journal: slot of the crash journal.
        model: the model.
        rule: decision rule.
        engine: session of the other process, on a GPU; None to open one on the CPU.
        fingerprint: of the settings.
        batch_size: inference batch size.
        log_level: level of ctcedge's logger.
        max_idle_s: seconds without work after which the worker ends.
    """

    folder: Path
    out: Path | None
    lock: int | None
    journal: SlotAddress
    model: Model
    rule: DecisionRule
    engine: RemoteEngine | None
    fingerprint: Fingerprint
    batch_size: int
    log_level: int
    max_idle_s: float


class Work(NamedTuple):
    """Crops to classify.

    Attributes:
        requests: the crops.
        force: as for `Pipeline.run`.
        identity: of the searched folder at the begin of the run.
        quarantined: SHA-256, in hex, of images on which an earlier process ended.
    """

    requests: list[Request]
    force: bool
    identity: FolderIdentity
    quarantined: frozenset[str] = frozenset()


class Inferred(NamedTuple):
    """The answer to `Infer`."""

    output: ModelOutput
    engine: RemoteEngine


class Ready(NamedTuple):
    """The worker can take work."""


class Infer(NamedTuple):
    """Inputs, (n, size, size) uint8, for the session of the other process."""

    inputs: NDArray[np.uint8]


class Waits(NamedTuple):
    """A wait for an image that may hang the decoder has begun or ended."""


class LogLine(NamedTuple):
    """A log record of the worker."""

    record: logging.LogRecord


class Result(NamedTuple):
    """What became of the crops of `Work`, in order.

    Attributes:
        tasks: one for each crop.
        cleared: SHA-256, in hex, of images that were released from quarantine.
    """

    tasks: list[Done | Failed]
    cleared: list[str]


class Failure(NamedTuple):
    """The work ended with an exception."""

    error: BaseException


ToWorker: TypeAlias = Setup | Work | Inferred | None
"""None: end."""

FromWorker: TypeAlias = Ready | Infer | Waits | LogLine | Result | Failure
