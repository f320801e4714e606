"""The processes of a distributed fit, as started by `torchrun`; otherwise a single one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process and the group that it belongs to.

    Attributes:
        rank: number of this process; only process 0 writes files and output.
        size: number of processes.
        device: of this process.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and output for the group."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """Join the process group of `torchrun`, if any, on CUDA where there is a GPU."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    joins = distributed.is_torchelastic_launched() and not distributed.is_initialized()
    if joins:
        distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        if distributed.is_initialized():
            yield ProcessGroup(distributed.get_rank(), distributed.get_world_size(), device)
        else:
            yield ProcessGroup(0, 1, device)
    finally:
        if joins:
            distributed.destroy_process_group()
