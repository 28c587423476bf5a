"""python -m DualFaceReconLib.worker [FOLDER]: reads requests on stdin, answers on stdout, logs on stderr.

One thread reads: it answers what must be answered at once, and hands the rest on. The main thread computes. FOLDER is
for previews and results, and stays; without it they go with the process.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DualFaceReconLib import __version__
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.worker import log, protocol

if os.name == "nt":
    import msvcrt

if TYPE_CHECKING:
    from DualFaceReconLib.worker.engine import Engine

GRACE_S = 2.0  # for a request to stop once nobody is there any more; then the process ends without it
READ_BYTES = 1 << 16
FAILED = "The program failed: try again; where it fails again, report it with the details."
NO_MEMORY = "There was not enough memory: close other programs, or scale the film down."


@dataclass(eq=False)
class Asked:
    """A request that is not answered yet."""

    id: Any
    request: protocol.Request
    stop: threading.Event = field(default_factory=threading.Event)


class Server:
    """The requests that are not answered, and the way back."""

    def __init__(self, requests: int, answers: int, temporary: Path | None) -> None:
        """`requests` and `answers` are file descriptors; the folder `temporary` goes when the process ends."""
        self.requests, self.answers, self.temporary = requests, answers, temporary
        self.writing = threading.Lock()
        self.changed = threading.Condition()  # of the next three
        self.waiting: deque[Asked] = deque()
        self.computed: Asked | None = None
        self.ended = False

    def send(self, id: Any, event: str, **values: Any) -> None:
        """A line to whoever asks."""
        self.write(protocol.line({"id": id, "event": event, **values}))

    def write(self, data: bytes) -> None:
        """Where nobody reads any more, everything ends."""
        try:
            with self.writing:
                while data:
                    data = data[os.write(self.answers, data) :]
        except OSError:
            self.end()

    def read(self) -> None:
        """Until stdin ends: answers what must not wait, hands the rest to the main thread."""
        lines = protocol.Lines()
        while data := _read(self.requests):
            for text in lines.fed(data):
                if text.strip():
                    self._take(text)
        self.end()

    def work(self, engine: Engine) -> None:
        """What was asked, in the order in which it was asked, until everything ends."""
        while (asked := self._next()) is not None:
            answer = _answer(engine, asked, self)
            with self.changed:
                self.computed = None
            self.write(answer)

    def end(self) -> None:
        """Ends the process: at once, or as soon as what is computed has stopped, or else by a clock."""
        with self.changed:
            if self.ended:
                return
            self.ended = True
            self.waiting.clear()
            if self.computed is None:
                self.end_process(0)
            self.computed.stop.set()
        clock = threading.Timer(GRACE_S, self.end_process, [1])
        clock.daemon = True
        clock.start()

    def end_process(self, code: int) -> None:
        """At once, with the decoders that we started."""
        if self.temporary is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)
        if code and os.name == "nt":
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(os.getpid())], check=False, capture_output=True)
        elif os.name != "nt" and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGTERM)  # which leaves us alone, as we have a handler for it
        os._exit(code)

    def _next(self) -> Asked | None:
        with self.changed:
            self.changed.wait_for(lambda: self.ended or self.waiting)
            self.computed = None if self.ended else self.waiting.popleft()
            return self.computed

    def _take(self, text: bytes) -> None:
        try:
            id, request = protocol.read_request(text)
        except protocol.NoRequest as error:
            self.send(error.id, "refused", code="no-request", text=str(error), values={})
            return
        match request:
            case protocol.Ping():
                self.send(id, "done")
            case protocol.Cancel(target):
                self._cancel(id, target)
            case protocol.Shutdown():
                self.send(id, "done")
                self.end()
            case _:
                with self.changed:
                    self.waiting.append(Asked(id, request))
                    self.changed.notify()

    def _cancel(self, id: Any, target: Any) -> None:
        """Who waits is answered here, what is computed where it ends."""
        with self.changed:
            dropped = [asked for asked in self.waiting if target in (None, asked.id)]
            for asked in dropped:
                self.waiting.remove(asked)
            computed = self.computed
            stopped = [] if computed is None or target not in (None, computed.id) else [computed]
        self.send(id, "done", cancelled=[asked.id for asked in (*stopped, *dropped)])
        for asked in stopped:
            asked.stop.set()
        for asked in dropped:
            self.send(asked.id, "cancelled")


def _answer(engine: Engine, asked: Asked, server: Server) -> bytes:
    """The final line of a request, whatever happens."""
    from DualFaceReconLib.worker.engine import Job

    def tell(stage: str, words: str, share: float) -> None:
        server.send(asked.id, "progress", stage=stage, words=words, share=round(share, 3))

    def final(event: str, **values: Any) -> bytes:
        log.say(f"{name} {event}")
        return protocol.line({"id": asked.id, "event": event, **values})

    name = protocol.name_of(asked.request)
    log.say(f"{name} begun")
    try:
        return final("done", **getattr(engine, name)(asked.request, Job(asked.stop.is_set, tell)))
    except Cancelled:
        return final("cancelled")
    except Refusal as refusal:
        return final("refused", code=refusal.code, text=refusal.text, values=refusal.values)
    except protocol.NoRequest as error:
        return final("refused", code="no-request", text=str(error), values={})
    except MemoryError:
        return final("refused", code="no-memory", text=NO_MEMORY, values={})
    except Exception as error:
        engine.forget_bundle()
        for words in log.error_lines(error):
            log.say(words)
        return final("failed", text=FAILED, log=list(log.TAIL))


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, READ_BYTES)
    except OSError:
        return b""


def own_channels() -> tuple[int, int]:
    """The descriptors of stdin and stdout for us alone; whatever else is printed goes to stderr, nothing else reads."""
    requests, answers = os.dup(0), os.dup(1)
    if os.name == "nt":
        for descriptor in (requests, answers):
            msvcrt.setmode(descriptor, os.O_BINARY)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # there is no stderr
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
    os.close(nothing)
    sys.stdout = sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    return requests, answers


def own_group() -> None:
    """Puts us, and the decoders that we start, into a process group by which all can be ended together."""
    if os.name != "nt" and os.getpgrp() != os.getpid() and not os.isatty(0):  # a terminal gives input to its own group
        os.setpgid(0, 0)


def main() -> None:
    # Bones are completed side by side, as DualFaceReconLib/__main__.py has it; asked when NumPy is imported
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    own_group()
    channels = own_channels()
    log.set_up()
    temporary = None if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="dualface-worker-"))
    folder = temporary or Path(sys.argv[1])
    tempfile.tempdir = str(folder)  # decoders leave films there, which then go with all the rest
    server = Server(*channels, temporary)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.end())
    server.send(None, "ready", pid=os.getpid(), protocol=protocol.PROTOCOL, version=__version__, folder=str(folder))
    threading.Thread(target=server.read, daemon=True).start()
    from DualFaceReconLib.worker.engine import Engine

    server.work(Engine(folder))
    server.end_process(0)


if __name__ == "__main__":
    main()
