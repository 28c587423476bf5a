"""Folds of skin and what clothes press into it, over the ilia, the groins and the thighs. Shares are ours.

flesh = replace(flesh, folds=(*flesh.folds, *more_folds(skeleton, adiposity, rng)))
"""

from __future__ import annotations

import numpy as np

from training.patients.flesh import Fold, Skeleton

BELLY_SHARE = (0.15, 0.75)  # of patients with a fold of the belly across the ilia: of slim and of heavy ones
GROIN_SHARE, BUTTOCK_SHARE, CLOTH_SHARE = 0.45, 0.4, 0.2
HEAVY_SHARE, HEAVY = 0.15, (1.5, 3.0)  # of patients who are heavier than the others, and by what factor their fat is


def draw_heaviness(rng: np.random.Generator) -> float:
    """The factor of a patient's fat, mostly 1."""
    return float(rng.uniform(*HEAVY)) if rng.random() < HEAVY_SHARE else 1.0


def more_folds(skeleton: Skeleton, adiposity: float, rng: np.random.Generator) -> tuple[Fold, ...]:
    """Folds beside the apron that `draw_flesh` gives to some."""
    folds = []

    def put(middle: float, up: float, half_width: float, sag: float, thickness: float, reach: float) -> None:
        folds.append(
            Fold(
                middle=(float(middle), float(up)),
                half_width_mm=float(half_width),
                sag_mm=float(sag),
                thickness_mm=float(thickness),
                reach_mm=float(reach),
            )
        )

    high = skeleton.crest - skeleton.trochanter
    if rng.random() < np.interp(adiposity, [0.7, 2.0], BELLY_SHARE):
        for _ in range(rng.integers(1, 3)):  # rolls, one above the other
            up = skeleton.trochanter + rng.uniform(0.05, 1.05) * high
            thick = rng.uniform(3, 12) * max(adiposity, 0.6)
            put(
                skeleton.middle + rng.normal(0, 10),
                up,
                skeleton.half_width * rng.uniform(0.9, 1.2),
                rng.uniform(-10, 60),
                thick,
                rng.uniform(15, 90),
            )
    if rng.random() < GROIN_SHARE:
        for sign in (-1, 1):  # from the pubis up and outwards
            put(
                skeleton.middle + sign * rng.uniform(0.0, 0.1) * skeleton.half_width,
                skeleton.crotch + rng.uniform(-10, 40),
                skeleton.half_width,
                rng.uniform(60, 150),
                rng.uniform(1, 5) * max(adiposity, 0.7) ** 0.5,
                rng.uniform(6, 40),
            )
    if rng.random() < BUTTOCK_SHARE:  # an air-filled crease below the buttocks, dark
        for sign in (-1, 1):
            put(
                skeleton.middle + sign * 0.55 * skeleton.half_width,
                skeleton.crotch - rng.uniform(5, 45),
                0.5 * skeleton.half_width * rng.uniform(0.7, 1.0),
                rng.uniform(-25, 10),
                -rng.uniform(3, 14),
                rng.uniform(1.5, 5),
            )
    if rng.random() < CLOTH_SHARE:  # an elastic band or a seam
        up = skeleton.trochanter + rng.uniform(-0.1, 1.3) * high
        wide = rng.uniform(1.5, 20)
        thick = rng.uniform(0.8, 3.0)
        for edge, step in ((0.0, thick), (wide, -thick)):  # on at one edge, off at the other
            put(skeleton.middle, up + edge, skeleton.half_width * 1.3, rng.uniform(0, 25), step, 400.0)
    return tuple(folds)
