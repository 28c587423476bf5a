"""Whether a network is faster with channels last in memory: tried on the GPU before it learns, as it depends on both.

Networks whose weights are standardised anew in each step do not keep a layout of their own: it is the film's that goes
through them.
"""

from __future__ import annotations

import copy
import time

import numpy as np
import torch
from torch import nn

from training.learning.data import Sample
from training.learning.recipe import Recipe
from training.learning.tasks import Task

WARM_STEPS, TIMED_STEPS = 2, 4


def laid_out(network: nn.Module, channels_last: bool) -> nn.Module:
    """A network with its weights in one layout."""
    return network.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def laid_out_film(film: torch.Tensor, channels_last: bool) -> torch.Tensor:
    """Films (B, 1, n, n) in one layout, which their one channel leaves open: what follows them takes it over.

    Cubes of vertebrae stay as they are.
    """
    if film.ndim != 4:
        return film
    rows, cols = film.shape[-2:]
    strides = (rows * cols, 1, cols, 1) if channels_last else (rows * cols, rows * cols, cols, 1)
    return film.contiguous().as_strided(film.shape, strides)


def faster_with_channels_last(network: nn.Module, task: Task, recipe: Recipe) -> bool:
    """Whether steps of a network on its CUDA device take less time so."""
    return _seconds(network, task, recipe, channels_last=True) < _seconds(network, task, recipe, channels_last=False)


def _seconds(network: nn.Module, task: Task, recipe: Recipe, channels_last: bool) -> float:
    """Of some steps on films that show nothing."""
    tried = laid_out(copy.deepcopy(network).train(), channels_last)
    device = next(tried.parameters()).device
    batch = _empty_batch(recipe, len(task.bones), device)
    batch["film"] = laid_out_film(batch["film"], channels_last)
    begin = 0.0
    for number in range(WARM_STEPS + TIMED_STEPS):
        if number == WARM_STEPS:
            _wait(device)
            begin = time.monotonic()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.learning.bfloat16):
            loss = task.loss(tried, batch, np.random.default_rng(number))
        loss.backward()
        tried.zero_grad(set_to_none=True)
    _wait(device)
    return time.monotonic() - begin


def _empty_batch(recipe: Recipe, bones: int, device: torch.device) -> Sample:
    """Grey films with bones everywhere, (B, ...) as `learning.data.sample` has them as far as losses look."""
    count, size = recipe.learning.batch, recipe.films.size_px
    return {
        "film": torch.zeros(count, 1, size, size, device=device),
        "mask": torch.ones(count, bones, size, size, dtype=torch.bool, device=device),
        "depth": torch.full((count, bones, 2, size, size), 900.0, device=device),
        "sdd_mm": torch.full((count,), 1000.0, device=device),
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
