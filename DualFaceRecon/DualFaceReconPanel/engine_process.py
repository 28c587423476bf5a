"""The engine in a process of its own, driven from Slicer's event loop: nothing here waits, and nothing here computes.

    engine = EngineProcess()
    engine.ask(protocol.Open("film.dcm"), on_answer)  # called back with the answer, in the event loop
    engine.close()

It starts with the first request and stays warm; where it died it starts anew with the next one. What it wrote lies in a
folder that goes with it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from DualFaceReconLib.film.decoding import python_executable
from DualFaceReconLib.worker import log, protocol
from DualFaceReconLib.worker.client import STOPPED, kill_tree, paths_in

Message = dict[str, Any]
Answered = Callable[[Message], None]  # the event that ends a request, one of protocol.FINAL
Progress = Callable[[str, float], None]  # words, share of the whole

PATIENCE_MS = 5000  # with an engine that is to stop; then it is killed


class EngineProcess:
    """One worker at a time."""

    def __init__(self, packages: Path | None = None) -> None:
        """`packages`: a folder of Python packages that the worker alone has on its path."""
        self.packages = packages
        self.number = 0  # of the workers that were started
        self._process: Any = None
        self._lines = protocol.Lines()
        self._log = protocol.Lines()
        self._private: set[str] = set()  # what paths that were asked for may say of a patient
        self._pids: set[int] = set()
        self._count = 0
        self._waiting: dict[int, tuple[Answered, Progress]] = {}
        self._printed: deque[str] = deque(maxlen=log.TAIL_LINES)
        self._folder = Path(tempfile.mkdtemp(prefix="dualface-panel-"))
        self._cancelling = qt.QTimer()
        self._cancelling.setSingleShot(True)
        self._cancelling.setInterval(PATIENCE_MS)
        self._cancelling.connect("timeout()", self.kill)

    def ask(self, request: protocol.Request, answered: Answered, progress: Progress = lambda words, share: None) -> int:
        """Sends a request and comes back at once; gives its id."""
        if self._process is None:
            self._start()
        self._count += 1
        self._private.update(name for path in paths_in(request) for name in log.names_in(path))
        self._waiting[self._count] = answered, progress
        self._process.write(qt.QByteArray(protocol.request_line(self._count, request)))
        return self._count

    def cancel(self) -> None:
        """Stops everything that is asked; whoever asked it is answered with `cancelled`."""
        if self._process is not None and self._waiting:
            self._count += 1
            self._process.write(qt.QByteArray(protocol.request_line(self._count, protocol.Cancel())))
            self._cancelling.start()

    def kill(self) -> None:
        """Ends the worker and whatever it started, at once; what was asked is answered with `failed`."""
        if self._process is not None:
            self._end()
            self._answer_all(STOPPED)

    def is_of(self, number: int) -> bool:
        """Whether the worker that runs is that one, and has what it had opened."""
        return self._process is not None and self.number == number

    def log_tail(self) -> list[str]:
        """The last lines that the worker printed, which name nobody."""
        return list(self._printed)

    def close(self) -> None:
        """Ends the worker without waiting for what is asked, and removes what it wrote; nobody is called back."""
        self._waiting.clear()
        if self._process is not None:
            self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self) -> None:
        process, self._process = self._process, None
        self._cancelling.stop()
        for signal, slot in self._slots():
            process.disconnect(signal, slot)
        kill_tree(self._pids | {int(process.processId())} - {0})
        process.waitForFinished(PATIENCE_MS)
        process.deleteLater()

    def _slots(self) -> tuple[tuple[str, Callable[..., None]], ...]:
        return (
            ("readyReadStandardOutput()", self._read),
            ("readyReadStandardError()", self._read_log),
            ("finished(int,QProcess::ExitStatus)", self._ended),
            ("errorOccurred(QProcess::ProcessError)", self._not_started),
        )

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lines, self._log, self._pids = protocol.Lines(), protocol.Lines(), set()
        self._printed.clear()
        self._private.clear()
        self.number += 1
        self._process = process = qt.QProcess()
        environment = qt.QProcessEnvironment()
        for name, value in protocol.environment(self.packages, os.environ).items():
            environment.insert(name, value)
        process.setProcessEnvironment(environment)
        process.setProcessChannelMode(qt.QProcess.SeparateChannels)
        for signal, slot in self._slots():
            process.connect(signal, slot)
        program, *arguments = protocol.command(python_executable(), self._folder)
        process.start(program, arguments)

    def _read(self) -> None:
        for text in self._lines.fed(_bytes(self._process.readAllStandardOutput())):
            message = protocol.read_message(text)
            if message["event"] == "ready":
                self._pids.add(message["pid"])
            elif message["event"] == "progress":
                if message["id"] in self._waiting:
                    self._waiting[message["id"]][1](message["words"], message["share"])
            else:
                self._answer(message["id"], message)

    def _read_log(self) -> None:
        for line in self._log.fed(_bytes(self._process.readAllStandardError())):
            self._printed.append(log.without_names(line.decode("utf-8", "replace"), self._private))

    def _ended(self, *_: object) -> None:
        self._read_log()  # its last words
        self._died(STOPPED)

    def _not_started(self, error: object) -> None:
        if error == qt.QProcess.FailedToStart:  # of a crash, `finished` tells
            text = _("The engine could not be started: restart Slicer; where that does not help, install it again.")
            self._died(text)

    def _died(self, text: str) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.deleteLater()
        self._cancelling.stop()
        self._answer_all(text)

    def _answer_all(self, text: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for answered, _progress in waiting.values():
            answered({"event": "failed", "text": text, "log": self.log_tail()})

    def _answer(self, id: Any, message: Message) -> None:
        answered, _progress = self._waiting.pop(id, (None, None))
        if not self._waiting:
            self._cancelling.stop()
        if answered is not None:
            answered(message)


def _bytes(array: Any) -> bytes:
    """Of a QByteArray."""
    data = array.data()
    return data.encode("utf-8") if isinstance(data, str) else bytes(data)
