"""Films on their way from the processes that make them to the network that learns, which waits for them or does not.

Processes are started once and make film after film, into the next epoch where it is there already: none of them waits
while the network is measured. Batches of an epoch come in an order that depends on how many processes there are, and
on nothing else.
"""

from __future__ import annotations

import queue
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from training.learning.compact import compact, stacked

if TYPE_CHECKING:  # which would load all that makes films
    from training.learning.data import Sample

    Made = tuple[int, int, Sample | None]  # by which process, of which epoch; None: it has no more of the epoch

AHEAD = 4  # batches or handfuls that a process makes in advance
HANDFUL = 8  # films that travel together where nobody waits for a batch
LOOKED_EVERY_S = 0.5  # whether a run is over, where nothing comes


class Batches(IterableDataset):
    """What a process makes: batches of an epoch after the other, compact."""

    def __init__(self, epoch: Callable[[int], Iterable[Sample]], epochs: range, size: int, whole: bool) -> None:
        """`epoch` gives this process's films of an epoch; `whole`: films too few for a batch of `size` are left out."""
        super().__init__()
        self.epoch, self.epochs, self.size, self.whole = epoch, epochs, size, whole

    def __iter__(self) -> Iterator[Made]:
        worker = get_worker_info()
        maker = 0 if worker is None else worker.id
        for number in self.epochs:
            films: list[Sample] = []
            for film in self.epoch(number):
                films.append(compact(film))
                if len(films) == self.size:
                    yield maker, number, stacked(films)
                    films = []
            if films and not self.whole:
                yield maker, number, stacked(films)
            yield maker, number, None


def loader(batches: Batches, workers: int, device: str, in_order: bool) -> DataLoader:
    """Processes that make batches; none: they are made where they are asked for."""
    apart = {"multiprocessing_context": "spawn", "prefetch_factor": AHEAD} if workers else {}
    return DataLoader(
        batches, batch_size=None, num_workers=workers, pin_memory=device == "cuda", in_order=in_order, **apart
    )


class Epochs:
    """Batches by epoch, in an order that is the same whichever process is fast."""

    def __init__(
        self, epoch: Callable[[int], Iterable[Sample]], epochs: range, size: int, workers: int, device: str
    ) -> None:
        self.workers = max(workers, 1)
        self.coming = iter(loader(Batches(epoch, epochs, size, whole=True), workers, device, in_order=True))
        self.early: dict[tuple[int, int], deque[Sample | None]] = defaultdict(deque)  # by process and epoch

    def of(self, epoch: int) -> Iterator[Sample]:
        """An epoch's batches, of each process in turn."""
        makers = list(range(self.workers))
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


class Arrivals:
    """Films by handfuls as they are ready, whoever made them; a context that ends with the processes.

    with Arrivals(source.epoch, first=0, workers=15, device="cuda") as arrivals:
        films = arrivals.take(wait=False)  # None where nothing is there yet
    """

    def __init__(self, epoch: Callable[[int], Iterable[Sample]], first: int, workers: int, device: str) -> None:
        """`first`: the number of the first epoch whose films are taken; there is no last one."""
        self.epoch = first  # the highest of which a film came
        batches = Batches(epoch, range(first, 2**31), HANDFUL, whole=False)
        self.coming = iter(loader(batches, workers, device, in_order=False))
        self.ready: queue.Queue[Made | BaseException] = queue.Queue(maxsize=2 * max(workers, 1))
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._receive, daemon=True) if workers else None
        if self.thread:
            self.thread.start()

    def take(self, wait: bool) -> Sample | None:
        """The next films; None where there are none, after half a second of waiting if asked."""
        if self.thread is None:
            return self._films(next(self.coming)) if wait else None
        try:
            made = self.ready.get(block=wait, timeout=LOOKED_EVERY_S)
        except queue.Empty:
            return None
        if isinstance(made, BaseException):
            raise made
        return self._films(made)

    def stop(self) -> None:
        """Lets the processes end, without waiting for them."""
        self.over.set()
        while not self.ready.empty():
            self.ready.get_nowait()

    def _films(self, made: Made) -> Sample | None:
        _, number, films = made
        self.epoch = max(self.epoch, number)
        return films

    def _receive(self) -> None:
        """Has whatever the processes made in `ready`, as long as somebody wants it."""
        try:
            for made in self.coming:
                while not self.over.is_set():
                    try:
                        self.ready.put(made, timeout=LOOKED_EVERY_S)
                        break
                    except queue.Full:
                        continue
                if self.over.is_set():
                    return
        except BaseException as error:  # what went wrong in a process is said where its films are missed
            if not self.over.is_set():
                self.ready.put(error)

    def __enter__(self) -> Arrivals:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self.thread:
            self.thread.join()
        del self.coming  # and with it the processes
