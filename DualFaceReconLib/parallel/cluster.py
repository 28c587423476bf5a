"""Work on the machines of a cluster, which Dask hands out.

    with on_cluster("tcp://login-node:8786") as road:
        for index, result in road(prepare, items): ...

Every Dask worker has one process beside it that does one item after another, with the same care as on one machine:
so an item that kills its process or takes too long costs nobody else anything. A worker that is lost as a whole, with
its machine perhaps, costs what it was at, which the scheduler hands to another one. Items and results go through the
scheduler closed: its logs and pages know them by their number.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.parallel.processes import Alone
from DualFaceReconLib.parallel.work import LOCAL, LONGEST_S, Lost, Parcel, Prepare, kills

try:
    from dask import config
    from distributed import Client, KilledWorker, LocalCluster, Worker, WorkerPlugin, as_completed, get_worker
except ImportError as error:
    raise Refusal("A cluster needs Dask: install it with `pip install dualfacerecon[cluster]`.") from error

DEATHS = 1  # of workers amid an item, after which the scheduler hands it to another one; its own default is 3
PATIENCE = "20s"  # with a scheduler that does not answer
ANY_PORT = "127.0.0.1:0"  # of the scheduler's HTTP server, which is there without a dashboard, too, else at 8787
LOOK_S = 2.0  # between looks for workers where there are none


@contextmanager
def on_cluster(address: str, jobs: int, longest_s: float = LONGEST_S) -> Iterator[OnCluster]:
    """The road of a cluster with a scheduler, or of `jobs` Dask workers on this machine."""
    if address == LOCAL:
        with (
            config.set({"distributed.scheduler.allowed-failures": DEATHS}),
            LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": ANY_PORT},
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield OnCluster(client, longest_s)
        return
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise Refusal(f"No scheduler answers at {address}: start `dask scheduler`, or correct the address.") from error
    with client:
        yield OnCluster(client, longest_s)


class OnCluster:
    """The road of a cluster; `work.Road` says what its methods do."""

    def __init__(self, client: Client, longest_s: float) -> None:
        self._client, self._longest_s = client, longest_s

    def sees(self, path: Path) -> bool:
        """Of those workers that are there now; waits for the first."""
        self._wait_for_workers()
        return all(self._client.run(os.path.exists, str(path)).values())

    def __call__(
        self,
        prepare: Prepare,
        items: Sequence[Any],
        *,
        began: Callable[[str], None] = lambda words: None,
        lost: Callable[[Any], None] = lambda item: None,
    ) -> Iterator[tuple[int, Any | Lost]]:
        if len(items) == 0:
            return
        client, name = self._client, f"dualface-{uuid4().hex[:8]}"
        self._wait_for_workers()
        client.register_plugin(_Beside(Parcel.of(prepare), self._longest_s), name=name)
        indices, futures = count(), {}

        def hand_out() -> None:
            """One item for every worker: so none waits on a worker that may be lost."""
            free = max(sum(client.nthreads().values()), 1) - len(futures)
            for index in (next(indices) for _ in range(free)):
                if index < len(items):
                    item = Parcel.of(items[index])
                    future = client.submit(_do, name, item, key=f"{name}-{index:04d}", pure=False)
                    futures[future.key] = index
                    coming.add(future)

        coming = as_completed()
        try:
            began(client.submit(_words, name, pure=False).result())
            hand_out()
            for future in coming:
                try:
                    result = future.result()
                    result = result.opened() if isinstance(result, Parcel) else result
                except KilledWorker:
                    result = kills("with the machine that it ran on, or by it")
                index = futures.pop(future.key)
                future.release()
                if isinstance(result, Lost):
                    lost(items[index])
                hand_out()
                yield index, result
        finally:
            with suppress(KeyError, OSError):  # of workers that have just gone, or just come
                if futures:
                    client.cancel(list(futures))
                client.unregister_worker_plugin(name)

    def _wait_for_workers(self) -> None:
        while not self._client.nthreads():
            threading.Event().wait(LOOK_S)


class _Beside(WorkerPlugin):
    """A process beside a Dask worker, which loads what the work needs once."""

    def __init__(self, prepare: Parcel, longest_s: float) -> None:
        self._prepare, self._longest_s = prepare, longest_s

    async def setup(self, worker: Worker) -> None:
        self._one_at_a_time = threading.Lock()
        self._alone = await asyncio.to_thread(self._begun)

    def teardown(self, worker: Worker) -> None:
        self._alone.end()

    def _begun(self) -> Alone:
        with _parent():
            return Alone(self._prepare, self._longest_s)

    def words(self) -> str:
        return self._alone.words

    def do(self, item: Parcel) -> Parcel | Lost:
        with self._one_at_a_time, _parent():
            return self._alone.do(item)


def _words(name: str) -> str:
    return get_worker().plugins[name].words()


def _do(name: str, item: Parcel) -> Parcel | Lost:
    return get_worker().plugins[name].do(item)


@contextmanager
def _parent() -> Iterator[None]:
    """Lets a Dask worker start processes: it is a daemon, to which multiprocessing refuses that.

    It does so as they would outlive one that is killed; ours end by themselves.
    """
    settings = multiprocessing.current_process()._config
    before = settings.get("daemon")
    settings["daemon"] = False
    try:
        yield
    finally:
        settings["daemon"] = before
