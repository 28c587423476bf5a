"""Ctrl-C that waits for what must not be cut in two."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class CtrlC:
    """Whether Ctrl-C comes at once or is kept for later.

    Python raises KeyboardInterrupt between any two instructions of the main thread: also after a file is made and
    before anybody knows of it, or in the midst of a `finally`. Other threads never meet it, and change nothing here.
    """

    def __init__(self) -> None:
        self._kept = False
        self._handler = signal.getsignal(signal.SIGINT)
        self._ours = callable(self._handler) and threading.current_thread() is threading.main_thread()

    def hold(self) -> None:
        """From here on it is kept for later."""
        if self._ours:
            signal.signal(signal.SIGINT, self._keep)

    def release(self) -> None:
        """From here on it comes at once, beginning with one that was kept."""
        if self._ours:
            signal.signal(signal.SIGINT, self._handler)
            if self._kept:
                self._kept = False
                self._handler(signal.SIGINT, None)

    def _keep(self, number: int, frame: FrameType | None) -> None:
        self._kept = True
