"""Recipes of networks so small that they learn within a test, and runs of them on made-up people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from training.learning.recipe import Learning, Recipe, TrainingFilms
from training.learning.train import train
from training.patients.population import Population
from training.simulate import one_thread

DEPTH = Recipe(
    "depth",
    3,
    {"encoder": "nf_regnet_b0", "stages": 3, "width": 32},
    TrainingFilms(
        size_px=64, mm_per_pixel=6.0, projections=4, reuse=2, pool=2, posture="wide", without="choosing", watched=2
    ),
    Learning(
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


def run(recipe: Recipe, population: Population, out: Path, **how) -> Path | None:
    """A run of `train` in this process, silently; `how` are its other arguments."""
    with one_thread():
        return train(
            recipe, Path("nowhere"), Path("nowhere"), out, 0, "cpu", say=lambda _: None, population=population, **how
        )
