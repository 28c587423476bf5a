"""A run of a training command: what `train`, `pretrain`, `finetune` and `folds` have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """What the work runs on; another one changes last digits alone."""

    device: str = "cpu"  # "cpu" or "cuda"
    workers: int = 0  # processes that make films while a network learns; 0: the one that learns
    jobs: int = 1  # processes that measure, in `folds`


@dataclass(frozen=True)
class Run:
    """Where a run writes, what it runs on and how long it may take."""

    out: Path  # a folder; a run that was cut goes on from what is there
    machine: Machine = Machine()
    minutes: float | None = None  # by epochs: it stops after the one in which they are over; by time: it takes as many
    last: int | None = None  # an epoch before the recipe's end, by which the rate falls to 0 from where the run stands
    say: Callable[[str], None] = print
    parts_mb: float | None = None  # finished weights are left in parts of this size as well
    until: int | None = None  # by epochs: it stops when so many are done, and goes on another time
    started: float = field(default_factory=time.monotonic)  # from when on the minutes count
    clock: Callable[[], float] = time.monotonic  # seconds, as in `started`; `process_time` where others share the cores
