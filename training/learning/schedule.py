"""The learning rate, by epochs and by time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.learning.recipe import Recipe

WARM_UP = 0.02  # of the time: the moments of AdamW know nothing yet


def rate_at(recipe: Recipe, epoch: float, ending: Sequence[int] | None = None) -> float:
    """The learning rate by SGDR: cosines that start anew, each cycle longer than the one before.

    `ending`: the epoch from which, and that by which, a last cosine takes it to 0 instead.
    """
    if ending is not None and epoch >= ending[0]:
        share = (epoch - ending[0]) / (ending[1] - ending[0])
        return rate_at(recipe, ending[0]) * _cosine(share)
    length, start = float(recipe.learning.first_cycle), 0.0
    while epoch >= start + length:
        start += length
        length *= recipe.learning.cycle_factor
    return recipe.learning.learning_rate * _cosine((epoch - start) / length)


def rate_after(recipe: Recipe, share: float) -> float:
    """The learning rate after a share 0 to 1 of the time: a short rise, and one cosine to 0."""
    return recipe.learning.learning_rate * min(share / WARM_UP, 1.0) * _cosine(min(share, 1.0))


def _cosine(share: float) -> float:
    return 0.5 * (1 + float(np.cos(np.pi * share)))
