"""Processes that are there at once, and as new as any.

They are forked from a process that has imported what takes seconds, and has done nothing else. POSIX alone.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest

IMPORTED = [
    "DualFaceReconLib.cli",
    "DualFaceReconLib.networks.depth",
    "DualFaceReconLib.results",
    "training.anatomy.folder",
    "training.learning.data",
]


def at_once() -> BaseContext:
    """In the place of "spawn"; which it is where there is no fork."""
    if os.name == "nt":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


@contextmanager
def started_at_once() -> Iterator[None]:
    """Whoever spawns processes gets such ones."""
    context = at_once()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing, "get_context", lambda method: context)
        yield


def ran(program: str, folder: Path, printed: Path) -> int:
    """The exit code of Python's text in a process that stands in a folder; what it prints goes into a file."""
    process = at_once().Process(target=_run, args=(program, folder, printed))
    process.start()
    process.join()
    return process.exitcode


def _run(program: str, folder: Path, printed: Path) -> None:
    os.chdir(folder)
    file = os.open(printed, os.O_WRONLY | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)
    exec(program, {"__name__": "__main__"})
