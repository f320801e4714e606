"""The processes that fit one network together, as `torchrun` starts them; else there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process among its equals.

    Attributes:
        rank: its number; 0 alone writes files and speaks.
        size: number of processes.
        device: where it computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until all are here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """Join the processes that `torchrun` started, once; CUDA where there is a GPU, else the CPU."""
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
