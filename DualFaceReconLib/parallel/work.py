"""What is done side by side, whoever does it: items, the work on each, and items that came to nothing.

Work is prepared once in every process, where it loads what it needs, and then does one item after another. Roads to it
are `processes.py` and `cluster.py`; each gives (index, result) as items are done, in any order.
"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Protocol

Work = Callable[[Any], Any]  # an item -> its result
Prepare = Callable[[], Work]  # called in every process; it travels there, so it is no function within another

LOCAL = "local"  # in the place of a scheduler's address: Dask workers on this machine
LONGEST_S = 300.0  # that an item may take
KILLS = "The process that worked on it ended twice"  # how the reason of an item begins that is not tried a third time
LATE = "It took longer than"  # how that of an item begins that was stopped


@dataclass(frozen=True)
class Lost:
    """An item that came to nothing, as its process ended or had to be ended."""

    reason: str  # a sentence for the user

    @property
    def kills(self) -> bool:
        """Whether it ended its process, as it would again."""
        return self.reason.startswith(KILLS)


@dataclass(frozen=True)
class Parcel:
    """Something on its way to another process, which whoever passes it on can neither open by chance nor print."""

    content: bytes

    @classmethod
    def of(cls, something: Any) -> Parcel:
        return cls(bytes(ForkingPickler.dumps(something)))

    def opened(self) -> Any:
        return ForkingPickler.loads(self.content)

    def __repr__(self) -> str:
        return f"Parcel({len(self.content)} bytes)"


class Road(Protocol):
    """One of the ways to do the same work on many items."""

    def sees(self, path: Path) -> bool:
        """Whether every process that does the work finds a file or folder."""
        ...

    def __call__(
        self,
        prepare: Prepare,
        items: Sequence[Any],
        *,
        began: Callable[[str], None] = lambda words: None,
        lost: Callable[[Any], None] = lambda item: None,
    ) -> Iterator[tuple[int, Any | Lost]]:
        """Gives (index, result) for every item.

        `began` is called once, before anything is done, with what the work says of itself, `str(work)`; an error of
        `prepare` or of the work is raised. `lost` is called with an item whose process has just ended, which may have
        left things behind; the item may be tried again.
        """
        ...


def scheduler_address(words: str) -> str:
    """An argument that names a Dask scheduler."""
    if words != LOCAL and not re.fullmatch(r"(?:\w+://)?.+:\d+", words):
        raise ArgumentTypeError(f'{words!a} is no address of a scheduler: give tcp://HOST:PORT, or "{LOCAL}"')
    return words


def late(seconds: float) -> Lost:
    """An item that took too long."""
    return Lost(f"{LATE} {seconds:g} s and was stopped: give it more time, or look at its film.")


def kills(how: str) -> Lost:
    """An item that ended its process a second time."""
    return Lost(f"{KILLS} ({how}): it is not tried again unless you ask for it.")
