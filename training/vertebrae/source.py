"""Where the cubes of a run come from: virtual vertebrae, filmed and laid back while a network learns.

train(recipe, virtual_vertebrae(recipe, Path("../shared/vertebrae"), Path("out/vertebrae"), say=print), Run(out))
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from DualFaceReconLib.errors import Refusal
from training.learning.data import Sample
from training.learning.films import WATCHED_SEED, Source
from training.learning.recipe import Recipe, VertebraFilms
from training.learning.torchrun import torchrun_place
from training.raycast import compile_kernels
from training.vertebrae.correspondence import load_groups
from training.vertebrae.films import LATERAL_DEGREES, Errors, Grid, Study, filmed_vertebra
from training.vertebrae.kept import (
    LATERAL,
    OBLIQUE_DEGREES,
    OTHER,
    KeptSeries,
    read_series,
    read_study,
    study_files,
)
from training.vertebrae.pelvis import SET
from training.vertebrae.virtual import Stock, only

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
    rng = np.random.default_rng([seed, 31])
    in_situ, oblique, side = rng.random() < films.in_situ, rng.random() < films.oblique, rng.choice([-1.0, 1.0])
    apart = float(rng.choice(OBLIQUE_DEGREES)) if oblique else films.apart_degrees
    grid = Grid(side=films.side, voxel_mm=films.voxel_mm)
    angles = (0.0, side * apart)
    return filmed_vertebra(stock, seed, grid, in_situ=bool(in_situ), errors=errors_of(films), angles_degrees=angles)


def errors_of(films: VertebraFilms) -> Errors:
    """What is believed wrongly by a recipe."""
    return Errors(click_mm=films.click_mm, angle_degrees=films.angle_degrees, distance_mm=films.distance_mm)


def sample_of(study: Study, films: VertebraFilms) -> Sample:
    """The tensors of `training/learning/cubes.py`."""
    return _sample(study.projections(), study.truth_hu, films)


def kept_vertebrae(recipe: Recipe, folder: Path) -> Source:
    """Cubes of the studies in a folder; Refusal where they are made for other cubes, or of people who are kept out."""
    series, films = read_series(folder), recipe.films
    if (series.side, series.voxel_mm, set(series.without)) != (films.side, films.voxel_mm, set(people_of(films))):
        raise Refusal(f"The studies of {folder.name} are for other cubes or keep out other people than the recipe.")
    learnt, watched = study_files(folder, series)
    if len(watched) < films.watched:
        raise Refusal(f"{folder.name} has {len(watched)} studies to watch; the recipe wants {films.watched}.")
    for in_situ in (False, True):
        wanted = films.in_situ > 0 if in_situ else films.in_situ < 1
        if wanted and not _fitting(learnt, series, films, in_situ):
            raise Refusal(f"{folder.name} has no studies whose films are {films.apart_degrees:g} degrees apart.")

    def watch() -> list[Sample]:
        rng = np.random.default_rng(WATCHED_SEED)
        return [_sample(*read_study(file).sample(errors_of(films), rng), films) for file in watched[: films.watched]]

    knobs = json.dumps({**series.as_json(), "count": 0}, sort_keys=True)  # more may come
    origin = {"studies": hashlib.sha256(knobs.encode()).hexdigest()}
    if series.abdomen:
        origin["pelves"] = SET
    return Source(epoch=partial(KeptCubes, recipe, folder), watched=watch, origin=origin)


class KeptCubes(IterableDataset):
    """An epoch's cubes of the studies that are there: each kind's in turn, with clicks and beliefs of their own."""

    def __init__(self, recipe: Recipe, folder: Path, epoch: int) -> None:
        super().__init__()
        self.recipe, self.folder, self.epoch = recipe, folder, epoch

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        mine, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        process, processes = torchrun_place()
        seed, films = self.recipe.seed, self.recipe.films
        order, series = np.random.default_rng([seed, self.epoch, 33]), read_series(self.folder)
        files = study_files(self.folder, series)[0]
        kinds = {in_situ: _shuffled(_fitting(files, series, films, in_situ), order) for in_situ in (False, True)}
        for number in range(films.projections * films.reuse):
            file = next(kinds[bool(order.random() < films.in_situ)])
            if number % (workers * processes) != process * workers + mine:
                continue
            rng = np.random.default_rng([seed, self.epoch, number, 34])
            study = read_study(file)
            oblique = rng.random() < films.oblique or films.apart_degrees != LATERAL_DEGREES
            yield _sample(*study.sample(errors_of(films), rng, OTHER if oblique else LATERAL), films)


def _fitting(files: list[Path], series: KeptSeries, films: VertebraFilms, in_situ: bool) -> list[Path]:
    """Studies in situ or alone whose films are as far apart as a recipe has them."""
    plans = [(file, *series.planned(int(file.stem))) for file in files]
    lateral = films.apart_degrees == LATERAL_DEGREES
    return [file for file, amid, degrees in plans if amid == in_situ and (lateral or degrees == films.apart_degrees)]


def _shuffled(files: list[Path], rng: np.random.Generator) -> Iterator[Path]:
    """Files without end, all of them before one comes again."""
    while True:
        yield from (files[number] for number in rng.permutation(len(files)))


def _sample(cubes: torch.Tensor, truth_hu: np.ndarray, films: VertebraFilms) -> Sample:
    z = (torch.from_numpy(truth_hu) - films.mean_hu) / films.deviation_hu
    return {"film": cubes, "volume": z[None]}
