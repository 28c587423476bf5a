"""Hidden patches of films, and how well a network fills them in.

hidden = hidden_patches(len(film), size_px=256, patch_px=16, share=0.6, rng=rng)
loss = filled_in_loss(network(covered(film, hidden)), film, hidden, patch_px=16)

The masks are SimMIM's (Xie et al., CVPR 2022): hidden pixels get one grey value, and the encoder sees them as any
others. The target is that of masked autoencoders (He et al., CVPR 2022): grey values by their patch's own mean and
spread, so that what counts is structure and not how a film was exposed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from DualFaceReconLib.networks.depth import OUTPUT_MM
from training.learning.data import Sample
from training.learning.recipe import Masking

matplotlib.use("Agg")  # no display

from matplotlib import pyplot as plt

HIDDEN_GREY = 0.0  # the middle of a film's -1 to 1
LEAST_SPREAD = 0.02  # of a patch, one hundredth of black to white; ours: the noise of air is not worth learning
MASK_SEED = 9002  # of what is hidden of the watched films
DRAWN_FILMS = 4


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


def filled_in_loss(predicted: Tensor, film: Tensor, hidden: Tensor, patch_px: int) -> Tensor:
    """Mean squared error over hidden pixels of grey values by their patch's statistics; films are (B, 1, n, n)."""
    mean, spread = patch_statistics(film, patch_px)
    return (predicted - (film - mean) / spread).square()[hidden].mean()


def filled_in(predicted: Tensor, film: Tensor, hidden: Tensor, patch_px: int) -> Tensor:
    """A film with its hidden patches as predicted; their mean and spread, which nobody predicts, are the true ones."""
    mean, spread = patch_statistics(film, patch_px)
    return torch.where(hidden, predicted * spread + mean, film)


# How a depth network with one channel is pretrained; see `tasks.py`


def masked_loss(masking: Masking, network: nn.Module, batch: Sample, rng: np.random.Generator) -> Tensor:
    """What a batch on the network's device is judged by; `rng` draws what is hidden."""
    film = batch["film"]
    hidden = hidden_patches(len(film), film.shape[-1], masking.patch_px, masking.share, rng).to(film.device)
    return filled_in_loss(_predicted(network, covered(film, hidden)), film, hidden, masking.patch_px)


@torch.no_grad()
def measure_masked(masking: Masking, network: nn.Module, watched: Sequence[Sample], device: str) -> dict[str, float]:
    """ "masked_loss" on watched films, and how much of what a flat grey leaves it "explained": 0 nothing, 1 all."""
    network.eval()
    losses = []
    for film, hidden in _hidden(masking, watched, device):
        predicted = _predicted(network, covered(film, hidden))
        both = predicted, torch.zeros_like(predicted)
        losses.append([float(filled_in_loss(patches, film, hidden, masking.patch_px)) for patches in both])
    mean, flat = np.mean(losses, axis=0)
    return {"masked_loss": float(mean), "explained": float(1 - mean / flat)}


@torch.no_grad()
def masked_picture(masking: Masking, network: nn.Module, watched: Sequence[Sample], path: Path, device: str) -> None:
    """The first watched films: masked, predicted, true."""
    network.eval()
    rows = []
    for film, hidden in _hidden(masking, watched[:DRAWN_FILMS], device):
        masked = covered(film, hidden)
        predicted = filled_in(_predicted(network, masked), film, hidden, masking.patch_px)
        rows.append([picture[0, 0].cpu() for picture in (masked, predicted, film)])
    figure, axes = plt.subplots(len(rows), 3, figsize=(9, 3.1 * len(rows)), layout="constrained", squeeze=False)
    titles = ("masked", "predicted, with each patch's\ntrue mean and spread", "true")
    for line, films in zip(axes, rows, strict=True):
        for axis, film, title in zip(line, films, titles, strict=True):
            axis.imshow(film.numpy(), cmap="gray", vmin=-1, vmax=1)
            axis.set_title(title, fontsize=8)
            axis.axis("off")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _predicted(network: nn.Module, film: Tensor) -> Tensor:
    """A depth network's one map (B, 1, n, n) in units of its output."""
    return network(film).flatten(1, 2) / OUTPUT_MM


def _hidden(masking: Masking, watched: Sequence[Sample], device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Each watched film (1, 1, n, n) with what is hidden of it, always the same."""
    rng = np.random.default_rng(MASK_SEED)
    for sample in watched:
        film = sample["film"][None].to(device)
        yield film, hidden_patches(1, film.shape[-1], masking.patch_px, masking.share, rng).to(device)
