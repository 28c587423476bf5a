"""Work in processes of this machine, each with one thread of every library where there are several.

    for index, result in InProcesses(jobs=4)(prepare, items): ...

A process that ends amid an item, killed by the system perhaps, costs that item alone: another one is started, and the
item is tried once more. One that takes too long on an item is ended. Whatever ends the caller, Ctrl-C or a kill, ends
the processes as well.
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing import connection as connections
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.parallel.work import LONGEST_S, Lost, Parcel, Prepare, Work, kills, late

ONE_THREAD = dict.fromkeys(  # libraries ask once, when they are loaded
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
        "VTK_SMP_MAX_THREADS",
    ),
    "1",
)
GRACE_S = 5.0  # in which a process that is asked to end may put things right
MOST_FAILED_STARTS = 3  # in a row
LOOK_S = 0.1  # how often the caller is asked whether it still wants an item
LONGEST_START_S = 300.0  # that a process may take to load what it needs


@dataclass(frozen=True)
class _Ready:
    words: str


@dataclass(frozen=True)
class _Done:
    result: Any


@dataclass(frozen=True)
class _Raised:
    error: Exception


def usable_cores() -> int:
    """Of this machine, those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class InProcesses:
    """The road of one machine."""

    jobs: int  # processes at a time
    longest_s: float = LONGEST_S  # that an item may take

    def sees(self, path: Path) -> bool:
        """As `work.Road` has it."""
        return path.exists()

    def __call__(
        self,
        prepare: Prepare,
        items: Sequence[Any],
        *,
        began: Callable[[str], None] = lambda words: None,
        lost: Callable[[Any], None] = lambda item: None,
    ) -> Iterator[tuple[int, Any | Lost]]:
        """As `work.Road` has it."""
        waiting = deque(range(len(items)))
        processes: list[_Process] = []
        deaths: Counter[int] = Counter()
        failed_starts, begun = 0, False
        try:
            while waiting or any(process.index is not None for process in processes):
                busy = sum(process.index is not None for process in processes)
                while len(processes) < min(self.jobs, busy + len(waiting)):
                    processes.append(_Process(prepare))
                for process in processes:
                    if process.ready and process.index is None and waiting:
                        index = waiting.popleft()
                        process.begin(index, items[index])
                for process in _heard(processes, self.longest_s):
                    index, answer = process.index, process.answer()
                    if isinstance(answer, _Raised):
                        raise answer.error
                    if isinstance(answer, _Ready):
                        failed_starts, process.ready, process.since = 0, True, time.monotonic()
                        if not begun:
                            begun = True
                            began(answer.words)
                    elif isinstance(answer, _Done):
                        assert index is not None
                        process.index = None
                        yield index, answer.result
                    elif answer is _ENDED or process.left_s(self.longest_s) <= 0:
                        processes.remove(process)
                        process.end()
                        if index is None:
                            failed_starts += not process.ready
                            if failed_starts == MOST_FAILED_STARTS:
                                raise cannot_begin(process.how())
                            continue
                        lost(items[index])
                        deaths[index] += answer is _ENDED
                        if answer is not _ENDED:
                            yield index, late(self.longest_s)
                        elif deaths[index] == 2:
                            yield index, kills(process.how())
                        else:
                            waiting.append(index)
        finally:
            interrupted = [(process, process.index) for process in processes]
            for process in processes:
                process.ask_to_end()
            for process, index in interrupted:
                process.end()
                if index is not None:
                    lost(items[index])


class Alone:
    """One process that does items as they are asked for, with the same care."""

    def __init__(self, prepare: Prepare | Parcel, longest_s: float = LONGEST_S) -> None:
        """Begins at once; an error of `prepare` is raised."""
        self._prepare, self._longest_s = prepare, longest_s
        self._process: _Process | None = None
        self.words = self._begun()

    def do(self, item: Any) -> Any | Lost:
        """The result of an item, or why it came to nothing; an error of the work is raised."""
        for _ in range(2):
            self._begun()
            assert self._process is not None
            self._process.begin(0, item)
            answer = self._process.waited(self._longest_s)
            if isinstance(answer, _Done):
                return answer.result
            if isinstance(answer, _Raised):
                self.end()
                raise answer.error
            how = self.end()
            if answer is None:
                return late(self._longest_s)
        return kills(how)

    def end(self) -> str:
        """Ends the process, and says how it ended; what it is at is broken off."""
        process, self._process = self._process, None
        if process is None:
            return ""
        process.end()
        return process.how()

    def _begun(self) -> str:
        """What the work says of itself, once there is a process that is ready."""
        how = ""
        for _ in range(MOST_FAILED_STARTS):
            if self._process is not None:
                return self.words
            self._process = _Process(self._prepare)
            answer = self._process.waited(LONGEST_START_S)
            if isinstance(answer, _Ready):
                self._process.ready = True
                return answer.words
            how = self.end()
            if isinstance(answer, _Raised):
                raise answer.error
        raise cannot_begin(how)


class Begun:
    """One process that begins now and is asked later, with all threads that libraries take."""

    def __init__(self, prepare: Prepare) -> None:
        self._process = _Process(prepare, one_thread=False)
        self._words = ""
        self._failed: Exception | None = None  # while it was to become ready
        self._becoming_ready = threading.Lock()

    def words(self, cancelled: Callable[[], bool] = lambda: False) -> str:
        """What the work says of itself, once it is ready; an error of `prepare` is raised.

        May be asked while another thread waits for an item.
        """
        with self._becoming_ready:
            if self._failed is not None:
                raise self._failed
            if not self._process.ready:
                try:
                    self._words = self._answer(cancelled).words
                except Exception as error:
                    self._failed = error
                    raise
                self._process.ready = True
        return self._words

    def do(self, item: Any, cancelled: Callable[[], bool] = lambda: False) -> Any:
        """The result of an item; an error of the work is raised, and Cancelled where the caller wants no more.

        One item at a time.
        """
        self.words(cancelled)
        self._process.begin(0, item)
        return self._answer(cancelled).result

    def end(self) -> None:
        """Ends it, whatever it is at."""
        self._process.kill()

    def _answer(self, cancelled: Callable[[], bool]) -> Any:
        while (answer := self._process.waited(LOOK_S)) is None:
            if cancelled():
                raise Cancelled
        if answer is _ENDED:
            self._process.kill()
            raise Refusal(f"The process that was asked has ended ({self._process.how()}): is there memory for it?")
        if isinstance(answer, _Raised):
            raise answer.error
        return answer


def cannot_begin(how: str) -> Refusal:
    """What is raised where processes end again and again before they can do anything."""
    return Refusal(
        f"The processes that do the work end while they begin ({how}): is there memory for them? Take fewer at a time."
    )


_ENDED = object()


class _Process:
    """A process that does one item after another."""

    def __init__(self, prepare: Prepare | Parcel, one_thread: bool = True) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, prepare), daemon=True)
        with _one_thread_each() if one_thread else nullcontext(), _ctrl_c_kept_from_children():
            self._process.start()
        theirs.close()
        self.ready = False
        self.index: int | None = None  # of the item that it is at
        self.since = time.monotonic()

    def begin(self, index: int, item: Any) -> None:
        self.index, self.since = index, time.monotonic()
        with suppress(OSError):  # it has just ended, as its end of the connection will say
            self._connection.send(item)

    def answer(self) -> Any:
        """What it says; None where it says nothing, `_ENDED` where it has ended."""
        try:
            return self._connection.recv() if self._connection.poll() else None
        except (EOFError, OSError):
            return _ENDED

    def waited(self, longest_s: float) -> Any:
        """What it says next; None where it says nothing for so long, `_ENDED` where it has ended."""
        connections.wait([self._connection], None if longest_s == math.inf else longest_s)
        return self.answer()

    def left_s(self, longest_s: float) -> float:
        """Seconds until it is late."""
        if self.ready and self.index is None:
            return math.inf
        return self.since + (longest_s if self.ready else LONGEST_START_S) - time.monotonic()

    def how(self) -> str:
        """How it ended."""
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"by signal {-code}"
        return f"exit code {code}"

    def ask_to_end(self) -> None:
        """An item that it is at is broken off."""
        if os.name != "nt" and self.ready and self.index is not None and self._process.is_alive():
            with suppress(ProcessLookupError):  # it has just ended, and another thread of ours knows it already
                os.kill(self._process.pid, signal.SIGINT)
        self._connection.close()

    def end(self) -> None:
        """Returns when it is gone."""
        self.ask_to_end()
        self._process.join(GRACE_S if self.ready and (os.name != "nt" or self.index is None) else 0)
        if self._process.is_alive():
            self.kill()

    def kill(self) -> None:
        """It is gone, and nothing that it was at is put right."""
        self._connection.close()
        self._process.kill()
        self._process.join()


def _heard(processes: Sequence[_Process], longest_s: float) -> list[_Process]:
    """Waits until one says something, ends, or is late, and gives those."""
    soonest = min(process.left_s(longest_s) for process in processes)
    speaking = connections.wait(
        [process._connection for process in processes], None if soonest == math.inf else max(soonest, 0)
    )
    return [process for process in processes if process._connection in speaking or process.left_s(longest_s) <= 0]


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that are started here have one thread of every library."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _ctrl_c_kept_from_children() -> Iterator[None]:
    """Processes that are started here hear of Ctrl-C when they ask for it, not amid their imports."""
    if os.name == "nt":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# In the process


def _serve(connection: Connection, prepare: Prepare | Parcel) -> None:
    """Does the items that come until nobody is there who sends any."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        signal.signal(signal.SIGINT, _interrupted)
        if os.name != "nt":
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        gc.disable()  # looking for unused circles among what is loaded, which stays, takes a tenth of the time
        work = _caught(lambda: (prepare.opened() if isinstance(prepare, Parcel) else prepare)())
        gc.freeze()
        gc.enable()
        connection.send(work if isinstance(work, _Raised) else _Ready(str(work)))
        while not isinstance(work, _Raised):
            item = connection.recv()
            done = _caught(lambda item=item: _done(work, item))
            connection.send(done if isinstance(done, _Raised) else _Done(done))
    except (KeyboardInterrupt, EOFError, OSError):
        pass  # nobody wants more


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Breaks off what this process is at; asked again, by its caller or by Ctrl-C, it goes on putting things right."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _done(work: Work, item: Any) -> Any:
    """The result of an item; of one in a parcel it is in one, too."""
    return Parcel.of(work(item.opened())) if isinstance(item, Parcel) else work(item)


def _caught(call: Callable[[], Any]) -> Any:
    """What a call gives, or the error that it raised, with where that was."""
    try:
        return call()
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        return _Raised(error)


def _end_with_parent() -> None:
    """Ends this process when its parent has ended, however that came."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    if os.name == "nt":  # the item is broken off, as by Ctrl-C
        signal.raise_signal(signal.SIGINT)
    else:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    time.sleep(GRACE_S)
    os._exit(1)
