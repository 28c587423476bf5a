"""Drives a worker by pipes: for the console, headless batches and tests. No Qt, no torch.

    with Client() as worker:
        film = worker.ask(Open("film.dcm"))["film"]
        folder = worker.ask(Reconstruct(film), progress=print)["folder"]

The process starts with the first request, stays warm, and after a crash or `kill` starts anew with the next one; films
that were open are then to be opened again. What it writes lies in a folder that goes with the client.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.film.decoding import python_executable
from DualFaceReconLib.worker import log, protocol
from DualFaceReconLib.worker.protocol import Cancel, Request

READ_BYTES = 1 << 16
LOOK_S = 0.05  # how often `cancelled` is asked
PATIENCE_S = 5.0  # with a worker that is to stop or to end; then it is killed
STOPPED = "The engine stopped in the middle of its work: try again; where it stops again, report it with the details."

Progress = Callable[[str, float], None]  # words, share of the whole
Message = dict[str, Any]


class WorkerFailed(Exception):
    """A fault of the program, in one sentence; `log` is the tail of the worker's, which names nobody."""

    def __init__(self, text: str, log: list[str]) -> None:
        super().__init__(text)
        self.log = log


class Client:
    """One worker at a time; what several threads ask is answered one after the other."""

    def __init__(self, python: str | None = None, packages: str | Path | None = None) -> None:
        """`packages`: a folder of Python packages that the worker alone has on its path."""
        self._command = [python or python_executable(), packages]
        self._folder = tempfile.TemporaryDirectory(prefix="dualface-worker-", ignore_cleanup_errors=True)
        self._process: _Process | None = None
        self._starting = threading.Lock()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self,
        request: Request,
        *,
        progress: Progress = lambda words, share: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Message:
        """What `done` says. Raises Refusal, Cancelled, or WorkerFailed where the worker failed or died."""
        process, cancelled_at = self._started(), None
        with process.asked(request) as (id, messages):
            while True:
                try:
                    message = messages.get(timeout=LOOK_S)
                except queue.Empty:
                    if cancelled_at is None and cancelled():
                        cancelled_at = time.monotonic()
                        process.send(Cancel(id))
                    elif cancelled_at is not None and time.monotonic() - cancelled_at > PATIENCE_S:
                        process.kill()
                        raise Cancelled from None
                    continue
                match message["event"]:
                    case "progress":
                        progress(message["words"], message["share"])
                    case "done":
                        return message
                    case "refused":
                        raise Refusal(message["text"], message["code"], **message["values"])
                    case "cancelled":
                        raise Cancelled
                    case "failed":
                        raise WorkerFailed(message["text"], message["log"])
                    case _:  # it died
                        raise WorkerFailed(STOPPED, process.log_tail())

    def cancel(self) -> None:
        """Stops everything that is asked; whoever asked it gets Cancelled."""
        if self._process is not None:
            self._process.send(Cancel())

    def log_tail(self) -> list[str]:
        """The last lines that the worker printed, without names and paths."""
        return [] if self._process is None else self._process.log_tail()

    def kill(self) -> None:
        """Ends the worker and whatever it started, at once."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Ends the worker, and removes what it wrote into its own folder."""
        if self._process is not None:
            self._process.close()
        self._folder.cleanup()

    def _started(self) -> _Process:
        with self._starting:
            if self._process is not None and not self._process.lives():
                self._process.kill()
                self._process = None
            if self._process is None:
                python, packages = self._command
                self._process = _Process(python, packages, Path(self._folder.name))
            return self._process


class _Process:
    """One worker, and the threads that read what it says."""

    def __init__(self, python: str, packages: str | Path | None, folder: Path) -> None:
        how: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            how = {"creationflags": subprocess.CREATE_NO_WINDOW}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environment = protocol.environment(packages)
        self.popen = subprocess.Popen(protocol.command(python, folder), env=environment, **pipes, **how)
        self._pids = {self.popen.pid}  # and the worker's own, where we started a launcher of it
        self._ids = count(1)
        self._waiting: dict[int, queue.SimpleQueue[Message]] = {}
        self._changing, self._writing = threading.Lock(), threading.Lock()
        self._dead = False
        self._printed: deque[str] = deque(maxlen=log.TAIL_LINES)
        self._private: set[str] = set()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._read_log)]
        for thread in self._threads:
            thread.start()

    def lives(self) -> bool:
        return not self._dead and self.popen.poll() is None

    @contextmanager
    def asked(self, request: Request) -> Iterator[tuple[int, queue.SimpleQueue[Message]]]:
        """A request's id, and the queue of what comes back; without an event, it died."""
        id, messages = next(self._ids), queue.SimpleQueue[Message]()
        self._private.update(name for path in paths_in(request) for name in log.names_in(path))
        with self._changing:
            self._waiting[id] = messages
            if self._dead:
                messages.put(DEATH)
        try:
            self.send(request, id)
            yield id, messages
        finally:
            with self._changing:
                del self._waiting[id]

    def send(self, request: Request, id: int | None = None) -> None:
        """A line; whether anybody reads it shows in what comes back."""
        with suppress(OSError, ValueError), self._writing:  # ValueError: closed
            self.popen.stdin.write(protocol.request_line(next(self._ids) if id is None else id, request))
            self.popen.stdin.flush()

    def log_tail(self) -> list[str]:
        if self._dead:
            self._threads[1].join(PATIENCE_S)  # for its last words
        return list(self._printed)

    def kill(self) -> None:
        if os.name == "nt" or self.popen.poll() is None:
            kill_tree(self._pids)
        self._end()

    def close(self) -> None:
        """Ends it by the end of its stdin."""
        with suppress(OSError), self._writing:
            self.popen.stdin.close()
        try:
            self.popen.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        else:
            self._end()

    def _end(self) -> None:
        self.popen.wait()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            with suppress(OSError):
                pipe.close()

    def _read(self) -> None:
        lines = protocol.Lines()
        while data := self.popen.stdout.read1(READ_BYTES):
            for text in lines.fed(data):
                message = protocol.read_message(text)
                if message["event"] == "ready":
                    self._pids.add(message["pid"])
                with self._changing:
                    if message["id"] in self._waiting:
                        self._waiting[message["id"]].put(message)
        with self._changing:
            self._dead = True
            for messages in self._waiting.values():
                messages.put(DEATH)

    def _read_log(self) -> None:
        for line in self.popen.stderr:
            words = line.decode("utf-8", "replace").rstrip()
            self._printed.append(log.without_names(words, self._private))


def kill_tree(pids: Collection[int]) -> None:
    """Ends processes that lead groups of their own, and whatever they started: a launcher, its worker, decoders."""
    for pid in pids:
        if os.name == "nt":
            command = ["taskkill", "/F", "/T", "/PID", str(pid)]
            subprocess.run(command, check=False, capture_output=True, creationflags=subprocess.CREATE_NO_WINDOW)
            continue
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


DEATH: Message = {"event": "dead"}


def paths_in(request: Request) -> list[str]:
    """What in a request may be a path."""
    return [value for value in asdict(request).values() if isinstance(value, str) and ("/" in value or "\\" in value)]
