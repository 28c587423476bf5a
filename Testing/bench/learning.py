"""What learning takes beside making films: python Testing/bench/learning.py [--device cuda] [--recipe FILE ...]

By recipe: a step's time, augmentation's share of it, a film's bytes on its way; and with films that are ready made, how
many a second come through processes to the device, and what each costs the process that learns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.utils.data import IterableDataset

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

from support.bones import made_population
from support.recipes import silent

from training.learning.compact import compact, restored, stacked
from training.learning.data import FilmStream, Sample
from training.learning.learner import Plan, begun, prepared, step
from training.learning.recipe import Recipe, read_recipe
from training.learning.ring import Ring
from training.learning.run import Machine, Run
from training.learning.streaming import Arrivals
from training.simulate import Series

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
FILMS, WARM, STEPS, SECONDS = 8, 3, 8, 10.0


class ReadyMade(IterableDataset):
    """An epoch of the same films over and over, for processes that make nothing."""

    def __init__(self, films: list[Sample], epoch: int) -> None:
        super().__init__()
        self.films = films

    def __iter__(self) -> Iterator[Sample]:
        torch.set_num_threads(1)
        for _ in range(64):
            yield from self.films


def films_of(recipe: Recipe) -> list[Sample]:
    """Some films of virtual patients, from the shipped shape models."""
    series = Series(seed=3, size_px=None, mm_per_pixel=recipe.films.mm_per_pixel, posture=recipe.films.posture)
    return list(FilmStream(made_population(), series, projections=FILMS, size_px=recipe.films.size_px))


def seconds(task: Callable[[int], object], device: str) -> float:
    """A call on average, the last ones of several; without a GPU, of all cores together."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    for number in range(WARM):
        task(number)
    _wait(device)
    begin = clock()
    for number in range(STEPS):
        task(number)
    _wait(device)
    return (clock() - begin) / STEPS


def of_a_step(recipe: Recipe, films: list[Sample], device: str) -> None:
    """Prints what a step takes, and its parts that are no network."""
    with TemporaryDirectory() as folder:
        run = Run(Path(folder), Machine(device), say=silent)
        learner = begun(Plan(recipe=recipe, out=run.out), {}, run)
    learner.shared.train()
    small = [compact(film) for film in films]
    batch = stacked([small[number % FILMS] for number in range(recipe.learning.batch)])
    batch = {name: value.to(device) for name, value in batch.items()}
    ready = prepared(batch, learner, np.random.default_rng(0))
    unpacking = seconds(lambda _: restored(batch), device)
    both = seconds(lambda number: prepared(batch, learner, np.random.default_rng(number)), device)
    learning = seconds(lambda number: step(learner, ready, 1e-4, np.random.default_rng(number)), device)
    whole = both + learning
    layout = "last" if learner.channels_last else "first"
    print(
        f"{recipe.task}, {recipe.learning.batch} films of {recipe.films.size_px} px: {1000 * whole:.0f} ms a step "
        f"({recipe.learning.batch / whole:.0f} films a second, channels {layout}), "
        f"unpacking {unpacking / whole:.1%}, augmentation {(both - unpacking) / whole:.1%}"
    )


def on_their_way(recipe: Recipe, films: list[Sample], device: str, workers: int) -> None:
    """Prints how films come from processes to the device when they are ready made."""
    sizes = [sum(value.numel() * value.element_size() for value in film.values()) for film in (films[0],)]
    sizes.append(sum(value.numel() * value.element_size() for value in compact(films[0]).values()))
    print(f"a film of {recipe.films.size_px} px is {sizes[0] / 1e6:.2f} MB, on its way {sizes[1] / 1e6:.2f} MB")
    ring = Ring(64 * recipe.learning.batch, device)
    with Arrivals(partial(ReadyMade, films), 0, workers, device) as arrivals:
        while ring.came < ring.size:  # until all processes are there
            _add(ring, arrivals.take(wait=True))
        before, begin, cpu = ring.came, time.perf_counter(), time.process_time()
        while time.perf_counter() - begin < SECONDS:
            _add(ring, arrivals.take(wait=True))
        _wait(device)
        came, took, cpu = ring.came - before, time.perf_counter() - begin, time.process_time() - cpu
    print(
        f"ready-made films from {workers} processes: {came / took:.0f} a second, "
        f"{1000 * cpu / came:.2f} ms CPU each in the process that learns"
    )


def _add(ring: Ring, films: Sample | None) -> None:
    if films is not None:
        ring.add(films)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--recipe", type=Path, nargs="+")
    options = parser.parse_args()
    kind = "gpu" if options.device == "cuda" else "small"
    usual = [RECIPES / f"{kind}_{task}.toml" for task in ("depth", "segmentation")]
    recipes = [read_recipe(path) for path in options.recipe or usual]
    films = films_of(recipes[0])
    for recipe in recipes:
        of_a_step(recipe, films, options.device)
    on_their_way(recipes[0], films, options.device, options.workers)


if __name__ == "__main__":
    if "OPENBLAS_NUM_THREADS" in os.environ:
        main()
    else:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *sys.argv], env=environment, check=True)
