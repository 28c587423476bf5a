"""Films that are made once and kept on disk, for networks that are to learn from the very same ones.

    kept = KeptFilms(recipe, Path("out/films"), epochs=4)
    source = kept.source(virtual_patients(recipe, bones, cache, say=print), until=2, workers=2)

They are those of the first epochs of a recipe, compact, a file for each pool; what is there is not made again. Later
epochs have the same films once more, in another order. It depends on the recipe's seed and the epoch's number alone:
not on how many processes read the films, nor on the network that learns.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import IterableDataset, get_worker_info

from DualFaceReconLib.disk.files import write_file, write_text
from DualFaceReconLib.errors import Refusal
from training.learning.compact import compact, restored, stacked
from training.learning.data import FilmStream, Sample
from training.learning.films import Source
from training.learning.learner import plain
from training.learning.recipe import Recipe
from training.learning.torchrun import torchrun_place

WATCHED = "watched.safetensors"


@dataclass(frozen=True)
class KeptFilms:
    """Films of a recipe in a folder."""

    recipe: Recipe
    folder: Path
    epochs: int  # of which films are kept; those after them begin anew

    def source(self, simulated: Source, until: int, workers: int = 0, say: Callable[[str], None] = print) -> Source:
        """The films of a run of `until` epochs and those that are watched, made by `simulated` where missing.

        `workers`: processes that make them; 0: this one. Refusal where the folder holds films of other knobs.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        films = {"seed": self.recipe.seed, "films": plain(self.recipe)["films"], "epochs": self.epochs}
        knobs, kept = json.dumps(films, indent=1), self.folder / "films.json"
        if kept.exists() and kept.read_text(encoding="utf-8") != knobs:
            raise Refusal(f"{self.folder.name} holds films of another seed or of other knobs: give another folder.")
        write_text(kept, knobs)
        wanted = [
            (pool, file)
            for epoch in range(min(until, self.epochs))
            for pool, file in zip(_pools(simulated.epoch(epoch)), self.files(epoch), strict=True)
        ]
        missing = [(pool, file) for pool, file in wanted if not file.exists()]
        for done in _made(missing, workers):
            say(f"{len(wanted) - len(missing) + done} of {len(wanted)} pools of films")
        if not (self.folder / WATCHED).exists():
            _write(simulated.watched(), self.folder / WATCHED)
        return Source(
            epoch=partial(KeptEpoch, self),
            watched=lambda: [_film(self.folder / WATCHED, number) for number in range(_count(self.folder / WATCHED))],
            origin={"films": hashlib.sha256(knobs.encode()).hexdigest()},
        )

    def files(self, epoch: int) -> list[Path]:
        """Those of an epoch."""
        films = self.recipe.films
        pools = -(-films.projections // films.pool)
        first = epoch % self.epochs * pools
        return [self.folder / f"pool_{number:04d}.safetensors" for number in range(first, first + pools)]


class KeptEpoch(IterableDataset):
    """An epoch of kept films, in whole batches, so that in however many processes they come in one order."""

    def __init__(self, kept: KeptFilms, epoch: int) -> None:
        super().__init__()
        self.kept, self.epoch = kept, epoch

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        mine, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        process, processes = torchrun_place()
        recipe = self.kept.recipe
        batch = recipe.learning.batch
        places = [(file, number) for file in self.kept.files(self.epoch) for number in range(_count(file))]
        order = np.random.default_rng([recipe.seed, self.epoch, 9]).permutation(len(places))
        batches = order[: len(order) // batch * batch].reshape(-1, batch)
        for number in batches[process * workers + mine :: processes * workers].flat:
            yield _film(*places[number])


def _pools(stream: FilmStream) -> list[FilmStream]:
    """A stream's pools, each a stream of its own."""
    pools = []
    for first in range(stream.first, stream.first + stream.projections, stream.pool):
        pool = copy(stream)
        pool.first, pool.projections = first, min(stream.pool, stream.first + stream.projections - first)
        pools.append(pool)
    return pools


def _made(missing: Sequence[tuple[FilmStream, Path]], workers: int) -> Iterator[int]:
    """Makes pools of films; says after each how many there are."""
    if workers < 2 or len(missing) < 2:
        for done, (pool, file) in enumerate(missing, 1):
            _write(pool, file)
            yield done
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as processes:
        pools, files = zip(*missing, strict=True)
        for done, _ in enumerate(processes.map(_write, pools, files), 1):
            yield done


def _write(films: Sequence[Sample] | FilmStream, file: Path) -> None:
    batch = stacked([compact(film) for film in films])
    write_file(file, lambda beside: save_file({name: value.contiguous() for name, value in batch.items()}, beside))


def _count(file: Path) -> int:
    with safe_open(file, "pt") as films:
        return films.get_slice("film").get_shape()[0]


def _film(file: Path, number: int) -> Sample:
    with safe_open(file, "pt") as films:
        batch = {name: films.get_slice(name)[number : number + 1] for name in films.keys()}  # noqa: SIM118
    return {name: value[0] for name, value in restored(batch).items()}
