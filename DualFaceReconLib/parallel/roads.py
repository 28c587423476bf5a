"""Which road is taken: this machine's cores, or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.parallel.processes import InProcesses, usable_cores
from DualFaceReconLib.parallel.work import LONGEST_S, Lost, Prepare, Road


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


def done_all(road: Road, prepare: Prepare, items: Sequence[Any], out: Path, say: Callable[[str], None]) -> list[Any]:
    """The results of all cases, in their order, which may write to a folder `out`.

    Refusal where one came to nothing, once all others are done.
    """
    if not road.sees(out):
        raise Refusal(f"Not every worker sees {out.name}: name a folder on a drive that all of them have.")
    results: list[Any] = [None] * len(items)
    lost: list[Lost] = []
    with closing(road(prepare, items)) as coming:
        for done, (index, result) in enumerate(coming, 1):
            results[index] = result
            if isinstance(result, Lost):
                lost.append(result)
            say(f"{done} of {len(items)} cases")
    if lost:
        raise Refusal(f"{len(lost)} of {len(items)} cases came to nothing. Of one: {lost[0].reason}")
    return results
