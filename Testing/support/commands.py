"""The `dualface` command in a process of its own that is there at once.

How the command starts by itself is the matter of the tests that run `python -m DualFaceReconLib`. POSIX alone.
"""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from support.processes import at_once


def started(*arguments: object, errors: Path | None = None) -> BaseProcess:
    """`dualface` with these arguments, running; nobody hears what it prints, but for errors in a file."""
    process = at_once().Process(target=_command, args=([str(argument) for argument in arguments], errors))
    process.start()
    return process


def _command(arguments: list[str], errors: Path | None) -> None:
    from DualFaceReconLib.__main__ import main

    for stream, path in ((1, os.devnull), (2, errors or os.devnull)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored in the background
    sys.argv[1:] = arguments
    sys.exit(main())
