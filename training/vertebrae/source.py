"""Where the cubes of a run come from: virtual vertebrae, filmed and laid back while a network learns.

train(recipe, virtual_vertebrae(recipe, Path("../shared/vertebrae"), Path("out/vertebrae"), say=print), Run(out))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from training.learning.data import Sample
from training.learning.films import WATCHED_SEED, Source
from training.learning.recipe import Recipe, VertebraFilms
from training.learning.torchrun import torchrun_place
from training.raycast import compile_kernels
from training.vertebrae.correspondence import VertebraGroup, load_groups
from training.vertebrae.films import Errors, Grid, Study, filmed_vertebra
from training.vertebrae.virtual import Stock

SEEDS_OF_A_RUN = 10_000_000  # seeds of vertebrae of a recipe's seed


def virtual_vertebrae(recipe: Recipe, folder: Path, cache: Path, say: Callable[[str], None]) -> Source:
    """Cubes of virtual vertebrae of everybody but those whom a recipe keeps out, and is measured on."""
    compile_kernels()
    groups = load_groups(folder, cache, say)  # once, before many processes need them
    kept_out = people_of(recipe.films)
    Stock.of(groups, kept_out)  # here, as what processes refuse is said with all that led to it
    return sourced(recipe, partial(_stock_without, folder, cache, kept_out), lambda: only(groups, kept_out))


def people_of(films: VertebraFilms) -> tuple[str, ...]:
    """Whom a recipe keeps out."""
    return (films.without,) if isinstance(films.without, str) else films.without


def only(groups: dict[str, VertebraGroup], people: tuple[str, ...]) -> Stock:
    """The stock of some people alone, in the groups of which they have two vertebrae or more."""
    others = {person for group in groups.values() for person in group.bones.people} - set(people)
    of_people = {name: group.without(others) for name, group in groups.items()}
    return Stock.of({name: group for name, group in of_people.items() if len(group.levels) > 1})


def sourced(recipe: Recipe, stock: Callable[[], Stock], kept_out: Callable[[], Stock]) -> Source:
    """Cubes of a stock's vertebrae; `kept_out` gives the stock on whose vertebrae every epoch is measured."""
    films = recipe.films

    def watched() -> list[Sample]:
        own = kept_out()
        return [sample_of(study_of(own, films, WATCHED_SEED + number), films) for number in range(films.watched)]

    return Source(epoch=partial(VertebraCubes, recipe, stock), watched=watched)


@lru_cache(maxsize=1)
def _stock_without(folder: Path, cache: Path, without: tuple[str, ...]) -> Stock:
    """Everybody but some people; a process that asks again has the same."""
    return Stock.of(load_groups(folder, cache, lambda words: None), without)


class VertebraCubes(IterableDataset):
    """An epoch's cubes: every pair `reuse` times, shuffled within a pool."""

    def __init__(self, recipe: Recipe, stock: Callable[[], Stock], epoch: int) -> None:
        super().__init__()
        self.recipe, self.stock, self.epoch = recipe, stock, epoch

    def __iter__(self) -> Iterator[Sample]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        mine, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        process, processes = torchrun_place()
        films, stock = self.recipe.films, self.stock()
        step = films.pool * processes * workers
        for start in range((process * workers + mine) * films.pool, films.projections, step):
            yield from self._pool(stock, range(start, min(start + films.pool, films.projections)))

    def _pool(self, stock: Stock, numbers: range) -> Iterator[Sample]:
        """Every pair is made when it is first met, and forgotten when it was seen for the last time."""
        films = self.recipe.films
        rng = np.random.default_rng([self.recipe.seed, self.epoch, numbers.start, 25])
        left = dict.fromkeys(numbers, films.reuse)
        made: dict[int, Sample] = {}
        for number in rng.permutation(np.repeat(np.array(numbers), films.reuse)).tolist():
            if number not in made:
                seed = self.recipe.seed * SEEDS_OF_A_RUN + self.epoch * films.projections + number
                made[number] = sample_of(study_of(stock, films, seed), films)
            left[number] -= 1
            yield made[number] if left[number] else made.pop(number)


def study_of(stock: Stock, films: VertebraFilms, seed: int) -> Study:
    """The pair of films of a seed, as a recipe has them."""
    errors = Errors(click_mm=films.click_mm, angle_degrees=films.angle_degrees, distance_mm=films.distance_mm)
    grid = Grid(side=films.side, voxel_mm=films.voxel_mm)
    return filmed_vertebra(stock, seed, grid, in_situ=films.in_situ, errors=errors)


def sample_of(study: Study, films: VertebraFilms) -> Sample:
    """The tensors of `training/learning/cubes.py`."""
    z = (torch.from_numpy(study.truth_hu) - films.mean_hu) / films.deviation_hu
    return {"film": study.projections(), "volume": z[None]}
