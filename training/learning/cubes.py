"""What is learnt of cubes: their loss, their augmentation, and how a network that learns them is watched.

A sample is "film" (2, N, N, N), two films laid back into a cube, and "volume" (1, N, N, N), the truth in z-scores of
the training set; both are indexed [R, A, S].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Tensor, nn

from training.learning.data import Sample
from training.learning.recipe import VertebraFilms
from training.learning.volume_losses import EdgeScale, VolumeLoss, volume_loss

matplotlib.use("Agg")  # no display

from matplotlib import pyplot as plt

BONE_HU, BONE_WIDTH_HU = 150.0, 50.0  # half bone, and how soft the step is, where edges are looked for
MIRRORED_SHARE = 0.5
MOST_GAIN, MOST_OFFSET, MOST_NOISE = 0.3, 0.3, 0.1  # of a film's grey values at full strength, in its deviations
TOGETHER = 2  # cubes that a network looks at at once
DRAWN = 4  # on a sheet


def edge_scale(films: VertebraFilms) -> EdgeScale:
    """What is bone, in a recipe's z-scores."""
    return EdgeScale(middle=(BONE_HU - films.mean_hu) / films.deviation_hu, width=BONE_WIDTH_HU / films.deviation_hu)


def cube_loss(
    loss: VolumeLoss, films: VertebraFilms, network: nn.Module, batch: Sample, rng: np.random.Generator
) -> Tensor:
    """A loss of a batch's volumes."""
    return volume_loss(network(batch["film"]), batch["volume"], edge_scale(films), loss.weights, loss.euclidean)


def augmented_cubes(batch: Sample, strength: float, changes: int, rng: np.random.Generator) -> Sample:
    """Cubes mirrored, and each film's grey values changed in gain, offset and noise: the first `changes` of them.

    A mirrored patient is seen from the other side; both films and the truth turn over together.
    """
    if strength == 0:
        return batch
    film, volume = batch["film"], batch["volume"]
    mirrored = torch.from_numpy(rng.random(len(film)) < MIRRORED_SHARE).to(film.device)[:, None, None, None, None]
    film, volume = (torch.where(mirrored, values.flip(-3), values) for values in (film, volume))
    drawn = rng.uniform(-strength, strength, (2, *film.shape[:2])).astype(np.float32)
    gain, offset = torch.from_numpy(drawn).to(film.device)[..., None, None, None]
    seed = int(rng.integers(2**31))
    if changes > 0:
        film = film * (1 + MOST_GAIN * gain)
    if changes > 1:
        film = film + MOST_OFFSET * offset
    if changes > 2:
        generator = torch.Generator(film.device).manual_seed(seed)
        noise = torch.randn(film.shape, generator=generator, device=film.device)
        film = film + MOST_NOISE * strength * noise
    return {**batch, "film": film, "volume": volume}


@torch.no_grad()
def measure_cubes(films: VertebraFilms, network: nn.Module, watched: Sequence[Sample], device: str) -> dict[str, float]:
    """Means over cubes: "mse" and "mae" in z-scores, "dice" of what is more than BONE_HU."""
    predicted = _predicted(network, watched, device)
    truth = torch.stack([sample["volume"] for sample in watched]).to(predicted)
    bone = (BONE_HU - films.mean_hu) / films.deviation_hu
    of_both = [(values > bone).flatten(1) for values in (predicted, truth)]
    both, either = (of_both[0] & of_both[1]).sum(1), of_both[0].sum(1) + of_both[1].sum(1)
    return {
        "mse": float((predicted - truth).square().mean()),
        "mae": float((predicted - truth).abs().mean()),
        "dice": float((2 * both / either.clamp(min=1)).mean()),
    }


@torch.no_grad()
def cube_sheet(films: VertebraFilms, network: nn.Module, watched: Sequence[Sample], path: Path, device: str) -> None:
    """The first watched cubes: both films' sections through the middle, and the truth and the prediction, brightest."""
    shown = list(watched)[:DRAWN]
    figure, lines = plt.subplots(len(shown), 6, figsize=(11, 1.9 * len(shown)), layout="constrained", squeeze=False)
    for line, sample, predicted in zip(lines, shown, _predicted(network, shown, device).cpu(), strict=True):
        middle = sample["film"].shape[-1] // 2
        panels = [("film 1", sample["film"][0][:, middle].flip(0)), ("film 2", sample["film"][1][middle])]
        for name, volume in (("true", sample["volume"][0]), ("predicted", predicted[0])):
            hu = volume * films.deviation_hu + films.mean_hu
            panels += [(f"{name}, front", hu.amax(1).flip(0)), (f"{name}, right", hu.amax(0))]
        for axis, (name, panel) in zip(line, panels, strict=True):
            window = {} if name.startswith("film") else {"vmin": 0, "vmax": 900}
            axis.imshow(panel.T.flip(0).numpy(), cmap="gray", **window)
            axis.set_title(name, fontsize=7)
            axis.axis("off")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _predicted(network: nn.Module, samples: Sequence[Sample], device: str) -> Tensor:
    """(samples, 1, N, N, N) z-scores."""
    network.eval()
    cubes = torch.stack([sample["film"] for sample in samples])
    return torch.cat([network(some.to(device)) for some in cubes.split(TOGETHER)])
