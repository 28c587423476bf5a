"""Films on their way from the processes that make them to the network that learns, which waits for them or does not.

Processes are started once and make film after film, into the next epoch where it is there already: none of them waits
while the network is measured. Batches of an epoch come in an order that depends on how many processes there are, and
on nothing else.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from types import TracebackType
from typing import TYPE_CHECKING, Self

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from training.learning.compact import compact, stacked

if TYPE_CHECKING:  # which would load all that makes films
    from multiprocessing.synchronize import Event

    from training.learning.data import Sample

    Made = tuple[int, int, Sample | None]  # by which process, of which epoch; None: it has no more of the epoch

AHEAD = 4  # batches or handfuls that a process makes in advance
HANDFUL = 8  # films that travel together where nobody waits for a batch
ENDLESS = 2**31  # epochs
LOOKED_EVERY_S = 0.5  # whether a run is over, where nothing comes


class Batches(IterableDataset):
    """What a process makes: batches of an epoch after the other, compact."""

    def __init__(
        self, epoch: Callable[[int], Iterable[Sample]], epochs: range, size: int, whole: bool, over: Event
    ) -> None:
        """`epoch` gives this process's films of an epoch; `whole`: films too few for a batch of `size` are left out.

        `over`: nobody wants any more.
        """
        super().__init__()
        self.epoch, self.epochs, self.size, self.whole, self.over = epoch, epochs, size, whole, over

    def __iter__(self) -> Iterator[Made]:
        worker = get_worker_info()
        maker = 0 if worker is None else worker.id
        if worker is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # warp would open every GPU in every process
        for number in self.epochs:
            films: list[Sample] = []
            for film in self.epoch(number):
                if self.over.is_set():
                    return
                films.append(compact(film))
                if len(films) == self.size:
                    yield maker, number, stacked(films)
                    films = []
            if films and not self.whole:
                yield maker, number, stacked(films)
            yield maker, number, None


class Makers:
    """Processes that make batches, or this one; a context, after which they have ended."""

    def __init__(
        self,
        epoch: Callable[[int], Iterable[Sample]],
        epochs: range,
        size: int,
        *,
        whole: bool,
        workers: int,
        device: str,
    ) -> None:
        self.workers = workers
        self.over = get_context("spawn").Event()
        batches = Batches(epoch, epochs, size, whole, self.over)
        apart = {"multiprocessing_context": "spawn", "prefetch_factor": AHEAD} if workers else {}
        pinned = device == "cuda"
        self.coming: Iterator[Made] = iter(
            DataLoader(batches, batch_size=None, num_workers=workers, pin_memory=pinned, in_order=whole, **apart)
        )

    def end(self) -> None:
        """Takes what is still on its way: processes that are cut off while they hand something over may crash."""
        self.over.set()
        failed = 0
        while self.workers > failed:
            try:
                next(self.coming)
            except StopIteration:
                return
            except Exception:  # each process may have failed once
                failed += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class Epochs(Makers):
    """Batches by epoch, in an order that is the same whichever process is fast.

    with Epochs(source.epoch, range(30), size=8, workers=2, device="cpu") as films:
        for batch in films.of(0): ...
    """

    def __init__(
        self, epoch: Callable[[int], Iterable[Sample]], epochs: range, size: int, workers: int, device: str
    ) -> None:
        super().__init__(epoch, epochs, size, whole=True, workers=workers, device=device)
        self.early: dict[tuple[int, int], deque[Sample | None]] = defaultdict(deque)  # by process and epoch

    def of(self, epoch: int) -> Iterator[Sample]:
        """An epoch's batches, of each process in turn."""
        makers = list(range(max(self.workers, 1)))
        while makers:
            for maker in list(makers):
                while not self.early[maker, epoch]:
                    by, number, batch = next(self.coming)
                    self.early[by, number].append(batch)
                batch = self.early[maker, epoch].popleft()
                if batch is None:
                    makers.remove(maker)
                else:
                    yield batch


class Arrivals(Makers):
    """Films by handfuls as they are ready, whoever made them.

    with Arrivals(source.epoch, first=0, workers=15, device="cuda") as arrivals:
        films = arrivals.take(wait=False)  # None where nothing is there yet
    """

    def __init__(self, epoch: Callable[[int], Iterable[Sample]], first: int, workers: int, device: str) -> None:
        """`first`: the number of the first epoch whose films are taken; there is no last one."""
        super().__init__(epoch, range(first, ENDLESS), HANDFUL, whole=False, workers=workers, device=device)
        self.epoch = first  # the highest of which a film came
        self.ready: queue.Queue[Made | Exception] = queue.Queue(maxsize=2 * max(workers, 1))
        self.thread = threading.Thread(target=self._receive, daemon=True)
        if workers:
            self.thread.start()

    def take(self, wait: bool) -> Sample | None:
        """The next films; None where there are none, after half a second of waiting if asked."""
        if not self.workers:
            return self._films(next(self.coming)) if wait else None
        try:
            made = self.ready.get(block=wait, timeout=LOOKED_EVERY_S)
        except queue.Empty:
            return None
        if isinstance(made, Exception):
            raise made
        return self._films(made)

    def stop(self) -> None:
        """Lets the processes end, without waiting for them."""
        self.over.set()

    def end(self) -> None:
        self.stop()
        if self.workers:
            self.thread.join()

    def _films(self, made: Made) -> Sample | None:
        _, number, films = made
        self.epoch = max(self.epoch, number)
        return films

    def _receive(self) -> None:
        """Has what the processes made in `ready`, and what went wrong in them, as long as somebody wants it."""
        while not self.over.is_set():
            try:
                made: Made | Exception = next(self.coming)
            except Exception as error:  # said where its films are missed
                made = error
            while not self.over.is_set():
                try:
                    self.ready.put(made, timeout=LOOKED_EVERY_S)
                    break
                except queue.Full:
                    continue
        super().end()
