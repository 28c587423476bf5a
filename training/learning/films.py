"""Where the films of a run come from: virtual patients, here; `finetune` has cases, `pretrain` films without truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset

from training.learning.data import FilmStream, Sample
from training.learning.recipe import Recipe
from training.learning.torchrun import torchrun_place
from training.patients.kept_out import kept_out_people
from training.patients.population import Population, load_everybody, population_without
from training.raycast import compile_kernels
from training.simulate import Series

WATCHED_SEED = 9001  # of the films that every epoch is measured on


@dataclass(frozen=True, kw_only=True)
class Source:
    """The films of a run."""

    epoch: Callable[[int], IterableDataset]  # those of an epoch that this process learns from; processes take it along
    watched: Callable[[], list[Sample]]  # those that every epoch is measured on, of people who are not learnt from
    origin: Mapping[str, Any] = field(
        default_factory=dict
    )  # plain values; a run goes on with films of the same origin alone
    in_memory: bool = False  # so that no other processes need to make them


def virtual_patients(recipe: Recipe, bones: Path, cache: Path, say: Callable[[str], None]) -> Source:
    """Films of virtual patients of the sets of bones, but for the people whom a recipe keeps out and is measured on."""
    compile_kernels()
    kept_out = kept_out_people(recipe.films.without)
    everybody = load_everybody(bones, cache, say)  # once, with what is said of it, before many processes need them
    everybody.check(kept_out)  # here, as what processes refuse is said with all that led to it
    # Every process makes its population itself: handed to many, it is written and read by one after the other
    others = partial(population_without, bones, cache, kept_out)
    return simulated(recipe, others, lambda: everybody.only(kept_out))


def simulated(
    recipe: Recipe, population: Population | Callable[[], Population], kept_out: Callable[[], Population]
) -> Source:
    """Films of a population's patients; `kept_out` gives the population whose patients every epoch is measured on."""
    films = recipe.films

    def watched() -> list[Sample]:
        series = Series(
            seed=WATCHED_SEED,
            size_px=None,
            plain=True,
            mm_per_pixel=films.mm_per_pixel,
            posture=films.posture,
            shapes=films.shapes,
        )
        return list(FilmStream(kept_out(), series, projections=films.watched, size_px=films.size_px))

    return Source(epoch=stream_of(recipe, population).epoch, watched=watched)


def stream_of(recipe: Recipe, population: Population | Callable[[], Population]) -> FilmStream:
    """The films of a recipe's first epoch, of a population's patients."""
    films = recipe.films
    series = Series(
        seed=recipe.seed,
        size_px=None,
        mm_per_pixel=films.mm_per_pixel,
        posture=films.posture,
        postures=films.postures,
        variety=films.variety,
        shapes=films.shapes,
    )
    return FilmStream(
        population,
        series,
        films.reuse,
        films.pool,
        films.projections,
        size_px=films.size_px,
        share=torchrun_place(),
    )
