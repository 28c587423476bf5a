"""Which road is taken: this machine's cores, or a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from DualFaceReconLib.parallel.processes import InProcesses, usable_cores
from DualFaceReconLib.parallel.work import LONGEST_S, Road


@contextmanager
def road_to(scheduler: str | None, jobs: int | None, longest_s: float = LONGEST_S) -> Iterator[Road]:
    """`scheduler`: an address, "local" for Dask workers on this machine, or None for plain processes on it."""
    jobs = jobs or usable_cores()
    if scheduler is None:
        yield InProcesses(jobs, longest_s)
        return
    from DualFaceReconLib.parallel.cluster import on_cluster  # with Dask, which an extra installs

    with on_cluster(scheduler, jobs, longest_s) as road:
        yield road
