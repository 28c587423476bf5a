"""Work for processes of their own that imports little, and leaves in a folder what it did."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from DualFaceReconLib.errors import Refusal


@dataclass(frozen=True)
class Prepare:
    """What processes begin with."""

    folder: Path

    def __call__(self):
        if (self.folder / "refuse").exists():
            raise Refusal("The weights are damaged.")
        if (self.folder / "die").exists():
            os._exit(7)
        return Deeds(self.folder)


class Deeds:
    """Does what the first word of an item says; a file named after the process tells what was begun."""

    def __init__(self, folder):
        self.folder = folder

    def __str__(self):
        return "ready"

    def __call__(self, item):
        try:
            return self.done(item)
        except KeyboardInterrupt:
            (self.folder / f"asked to end {item}").touch()
            time.sleep(0.3)  # what puts things right takes its time
            (self.folder / f"{item} broken off").touch()
            raise

    def done(self, item):
        with (self.folder / f"{os.getpid()}.begun").open("a") as file:
            file.write(f"{item}\n")
        deed = item.split()[0]
        if deed == "kill" or (deed == "kill-once" and not _before(self.folder / item)):
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "raise":
            raise ValueError(item)
        if deed == "sleep":
            time.sleep(600)
        return item, os.environ.get("OMP_NUM_THREADS")


def _before(path):
    """Whether this was asked before."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return True
    return False


def begun(folder):
    """What was begun, in all processes, in the order of names."""
    return sorted(line for path in folder.glob("*.begun") for line in path.read_text().splitlines())


def workers(folder):
    """The ids of the processes that began anything."""
    return [int(path.stem) for path in folder.glob("*.begun")]
