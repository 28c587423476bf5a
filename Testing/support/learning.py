"""What tests of learning networks need not spend their time on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from training.learning import data
from training.patients.population import Population
from training.simulate import Person, Series, Taken

MOST_MADE = 200
_made: OrderedDict[tuple, tuple[Population, Person | Taken]] = OrderedDict()  # the oldest first


@contextmanager
def patients_taken_once() -> Iterator[None]:
    """Networks of all tests learn from films of the same patients, which a process makes once.

    That they are the same whenever they are made is for tests of films to show.
    """
    draw_person, take = data.draw_person, data.take

    def once(make: Callable[[], Person | Taken], population: Population, *key: object) -> Person | Taken:
        whole = (id(population), *key)
        if whole not in _made:
            _made[whole] = (population, make())  # which keeps the population's id its own
            while len(_made) > MOST_MADE:
                _made.popitem(last=False)
        return _made[whole][1]

    def drawn(population: Population, series: Series, number: int) -> Person:
        return once(lambda: draw_person(population, series, number), population, "person", series, number)

    def taken(population: Population, series: Series, number: int, device: str, person: Person) -> Taken:
        return once(lambda: take(population, series, number, device, person), population, "taken", series, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "draw_person", drawn)
        patch.setattr(data, "take", taken)
        yield


@contextmanager
def curves_undrawn() -> Iterator[None]:
    """The pictures of a run's progress are composed but not drawn, which takes half a second an epoch."""
    with _put_off():
        yield


@contextmanager
def curves_drawn_at_the_end() -> Iterator[None]:
    """Of the pictures of a run's progress the last ones alone are drawn, as each takes the place of the one before."""
    with _put_off() as last:
        yield
    for draw in last.values():
        draw()


@contextmanager
def _put_off() -> Iterator[dict[Path, Callable[[], None]]]:
    """Leaves empty files where pictures of a run's progress belong, and gives what draws the last of each."""
    save, last = Figure.savefig, {}

    def put_off(self: Figure, path: Path, **how: object) -> None:
        if Path(path).name in ("curves.png", "sheet.png", "masked.png"):
            path.touch()
            last[path] = partial(save, self, path, **how)
        else:
            save(self, path, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", put_off)
        yield last
