"""What tests of learning networks need not spend their time on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from training.learning import data
from training.patients.population import Population
from training.simulate import Series, Taken

MOST_TAKEN = 100
_taken: OrderedDict[tuple, tuple[Population, Taken]] = OrderedDict()  # the oldest first


@contextmanager
def patients_taken_once() -> Iterator[None]:
    """Networks of all tests learn from films of the same patients, which a process makes once.

    That they are the same whenever they are made is for tests of films to show.
    """
    take = data.take

    def taken(population: Population, series: Series, number: int, device: str = "cpu") -> Taken:
        key = id(population), series, number
        if key not in _taken:
            _taken[key] = (
                population,
                take(population, series, number, device),
            )  # which keeps the population's id its own
            while len(_taken) > MOST_TAKEN:
                _taken.popitem(last=False)
        return _taken[key][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "take", taken)
        yield


@contextmanager
def curves_undrawn() -> Iterator[None]:
    """The pictures of a run's progress are composed but not drawn, which takes half a second an epoch."""
    draw = Figure.savefig

    def drawn(self: Figure, path: Path, **how: object) -> None:
        if Path(path).name in ("curves.png", "sheet.png", "masked.png"):
            Path(path).touch()
        else:
            draw(self, path, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", drawn)
        yield
