"""Recipes of networks so small that they learn within a test, and runs of them on made-up people."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from training.learning.films import Source, simulated
from training.learning.pretrain import unlabelled
from training.learning.recipe import (
    EpochLearning,
    Masking,
    PretrainRecipe,
    Recipe,
    TimeLearning,
    TrainingFilms,
    VertebraFilms,
)
from training.learning.run import Run
from training.learning.train import train
from training.patients.population import Population
from training.simulate import one_thread

DEPTH = Recipe(
    "depth",
    3,
    {"encoder": "nf_regnet_b0", "stages": 3, "width": 32},
    TrainingFilms(
        size_px=64,
        mm_per_pixel=6.0,
        projections=4,
        reuse=2,
        pool=2,
        postures=1,
        posture="wide",
        shapes="one-size",
        variety="wide",
        without="choosing",
        watched=2,
    ),
    EpochLearning(
        loss="casi_independent",
        batch=4,
        epochs=4,
        learning_rate=1e-3,
        weight_decay=1e-2,
        first_cycle=10,
        cycle_factor=2,
        clip=1.0,
        average=0.9,
        strength=0.3,
        changes=1,
        bfloat16=False,
    ),
)
SEGMENTATION = replace(
    DEPTH,
    task="segmentation",
    network={"features": [8, 16, 32]},
    learning=replace(DEPTH.learning, loss="segmentation"),
)
EAR = Recipe(
    "ear",
    3,
    {"widths": [2, 4, 4, 6, 8]},
    VertebraFilms(
        side=16,
        voxel_mm=7.0,
        projections=4,
        reuse=2,
        pool=2,
        in_situ=0.0,
        apart_degrees=90.0,
        oblique=0.0,
        click_mm=2.0,
        angle_degrees=0.0,
        distance_mm=0.0,
        mean_hu=12.0,
        deviation_hu=68.0,
        without=("clouthier/mean",),
        watched=2,
    ),
    EpochLearning(
        loss="ear",
        batch=2,
        epochs=2,
        learning_rate=3e-3,
        weight_decay=1e-5,
        first_cycle=2,
        cycle_factor=2,
        clip=1.0,
        average=0.5,
        strength=0.3,
        changes=3,
        bfloat16=False,
    ),
)
BY_EPOCHS_ALONE = ("epochs", "first_cycle", "cycle_factor")


def by_time(recipe: Recipe, views: int = 2) -> Recipe:
    """A recipe that learns by time."""
    shared = {name: value for name, value in asdict(recipe.learning).items() if name not in BY_EPOCHS_ALONE}
    return replace(recipe, learning=TimeLearning(**shared, schedule="time", views=views))


BFLOAT16 = replace(DEPTH, learning=replace(DEPTH.learning, bfloat16=True))
PRETRAIN = PretrainRecipe(
    "pretrain",
    3,
    {"encoder": "nf_regnet_b0", "stages": 3, "width": 32, "bones": 1, "faces": 1},
    DEPTH.films,
    replace(DEPTH.learning, loss="filled_in", epochs=3, learning_rate=3e-3, average=0.5),
    masking=Masking(patch_px=8, share=0.6),
)


def run(recipe: Recipe, population: Population, out: Path, **options: Any) -> Path | None:
    """`run_on` films of a population, measured on the people that it learns from."""
    source = simulated(recipe, population, lambda: population)
    return run_on(unlabelled(source) if recipe.task == "pretrain" else source, recipe, out, **options)


def run_on(
    source: Source,
    recipe: Recipe,
    out: Path,
    *,
    encoder: Path | None = None,
    bundle: Path | None = None,
    weights: Path | None = None,
    **limits: Any,
) -> Path | None:
    """A run of `train` in this process, silently; `limits` are fields of `Run`."""
    with one_thread():
        started = Run(out, **{"say": silent, **limits})
        return train(recipe, source, started, encoder=encoder, bundle=bundle, weights=weights)


def silent(sentence: str) -> None:
    """Instead of printing."""
