"""Processes that learn together, where torchrun started several: which one this is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.distributed import broadcast, destroy_process_group, init_process_group, is_initialized


def torchrun_place() -> tuple[int, int]:
    """This process's number and how many there are."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def agreed(value: float, device: str) -> float:
    """The first process's value in all of them, where there are several; they wait for each other."""
    if torchrun_place()[1] == 1:
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    broadcast(shared, src=0)
    return float(shared)


@contextmanager
def joined_by_torchrun(device: str) -> Iterator[None]:
    """Joins the other processes on their devices, where there are some, and leaves them in the end."""
    if torchrun_place()[1] > 1 and not is_initialized():
        init_process_group("nccl" if device == "cuda" else "gloo")
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        yield
    finally:
        if is_initialized():
            destroy_process_group()
