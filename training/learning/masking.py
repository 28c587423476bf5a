"""Hidden patches of films, and how well a network fills them in.

hidden = hidden_patches(len(film), size_px=256, patch_px=16, share=0.6, rng=rng)
loss = filled_in_loss(network(covered(film, hidden)), film, hidden, patch_px=16)

The masks are SimMIM's (Xie et al., CVPR 2022): hidden pixels get one grey value, and the encoder sees them as any
others. The target is that of masked autoencoders (He et al., CVPR 2022): grey values by their patch's own mean and
spread, so that what counts is structure and not how a film was exposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

matplotlib.use("Agg")  # no display

from matplotlib import pyplot as plt

HIDDEN_GREY = 0.0  # the middle of a film's -1 to 1
LEAST_SPREAD = 0.02  # of a patch, one hundredth of black to white; ours: the noise of air is not worth learning


def hidden_patches(films: int, size_px: int, patch_px: int, share: float, rng: np.random.Generator) -> Tensor:
    """(films, 1, n, n) bool: the same number of patches in every film, drawn by `rng`."""
    side = size_px // patch_px
    places = rng.random((films, side * side)).argsort(axis=1)
    hidden = torch.from_numpy(places < round(share * side * side)).reshape(films, 1, side, side)
    return hidden.repeat_interleave(patch_px, dim=2).repeat_interleave(patch_px, dim=3)


def covered(film: Tensor, hidden: Tensor) -> Tensor:
    """Films (B, 1, n, n) with one grey where they are hidden."""
    return film.masked_fill(hidden, HIDDEN_GREY)


def patch_statistics(film: Tensor, patch_px: int) -> tuple[Tensor, Tensor]:
    """Mean and spread of the patch that a pixel belongs to, both (B, 1, n, n); the spread is never 0."""
    mean = interpolate(avg_pool2d(film, patch_px), scale_factor=patch_px, mode="nearest")
    variance = interpolate(avg_pool2d((film - mean).square(), patch_px), scale_factor=patch_px, mode="nearest")
    return mean, (variance + LEAST_SPREAD**2).sqrt()


def filled_in_loss(found: Tensor, film: Tensor, hidden: Tensor, patch_px: int) -> Tensor:
    """Mean squared error over hidden pixels of grey values by their patch's statistics; films are (B, 1, n, n)."""
    mean, spread = patch_statistics(film, patch_px)
    return (found - (film - mean) / spread).square()[hidden].mean()


def filled_in(found: Tensor, film: Tensor, hidden: Tensor, patch_px: int) -> Tensor:
    """A film with its hidden patches as predicted; their mean and spread, which nobody predicts, are the true ones."""
    mean, spread = patch_statistics(film, patch_px)
    return torch.where(hidden, found * spread + mean, film)


def masked_picture(rows: Sequence[tuple[Tensor, Tensor, Tensor]], path: Path) -> None:
    """Films (n, n) side by side: masked, predicted, true."""
    figure, axes = plt.subplots(len(rows), 3, figsize=(9, 3.1 * len(rows)), layout="constrained", squeeze=False)
    titles = ("masked", "predicted, with each patch's\ntrue mean and spread", "true")
    for line, films in zip(axes, rows, strict=True):
        for axis, film, title in zip(line, films, titles, strict=True):
            axis.imshow(film.numpy(), cmap="gray", vmin=-1, vmax=1)
            axis.set_title(title, fontsize=8)
            axis.axis("off")
    figure.savefig(path, dpi=100)
    plt.close(figure)
