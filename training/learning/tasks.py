"""What networks learn: everything in which depth, segmentation and pretraining differ, one object a task.

task = task_of(recipe)
loss = task.loss(network, batch, rng)  # of a batch on the network's device
task.measure(network, films, "cpu")    # {"depth_mm": 3.1}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.framing import NOMINAL_OBJECT_DISTANCE_MM
from DualFaceReconLib.networks.depth import DepthNetwork
from DualFaceReconLib.networks.ear import EarNetwork
from DualFaceReconLib.networks.segmentation import SegmentationNetwork
from DualFaceReconLib.networks.settings import settings_from
from DualFaceReconLib.networks.weights import weights_of
from training.learning.augment import augmented
from training.learning.cubes import augmented_cubes, cube_loss, cube_sheet, measure_cubes
from training.learning.data import Sample
from training.learning.losses import DEPTH_LOSSES, segmentation
from training.learning.masking import masked_loss, masked_picture, measure_masked
from training.learning.monitoring import depth_sheet, measure_depth, measure_masks, outline_sheet
from training.learning.recipe import SETTINGS, PretrainRecipe, Recipe, VertebraFilms
from training.learning.rivals import RivalNetwork
from training.learning.volume_losses import VOLUME_LOSSES


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a network learns, and how that is watched and kept."""

    network: type[nn.Module]
    bones: Sequence[str]  # channels of the films' truth, whose sides change places in a mirror
    augmented: Callable[[Sample, float, int, np.random.Generator], Sample]  # a batch, by a strength and some changes
    loss: Callable[[nn.Module, Sample, np.random.Generator], torch.Tensor]  # of a batch on the network's device
    measure: Callable[[nn.Module, Sequence[Sample], str], dict[str, float]]  # figures of watched films, on a device
    picture: Callable[[nn.Module, Sequence[Sample], Path, str], None]  # of watched films
    sheet: str  # the picture's file
    kept: Callable[[nn.Module], dict[str, torch.Tensor]]  # what is kept of a network in the end
    kept_as: str  # the name of its files
    flat: bool = True  # it sees films; else cubes


def task_of(recipe: Recipe) -> Task:
    """What a recipe's network learns."""
    tasks = {"depth": _depth, "segmentation": _segmentation, "pretrain": _pretraining}
    return tasks.get(recipe.task, _volume)(recipe)


def network_of(recipe: Recipe) -> nn.Module:
    """The untrained network of a recipe; Refusal where it cannot be built or does not take the recipe's films."""
    try:
        network = task_of(recipe).network(settings_from(SETTINGS[recipe.task], recipe.network))
    except ValueError as error:
        raise Refusal(f"The recipe's [network] cannot be built, {error}.") from error
    name = "side" if isinstance(recipe.films, VertebraFilms) else "size_px"
    if getattr(recipe.films, name) % network.stride:
        raise Refusal(f"The recipe's {name} must be a multiple of {network.stride}, the network's stride.")
    return network


def _depth(recipe: Recipe) -> Task:
    """The depths of every bone's faces, but for one shift a picture."""
    return Task(
        network=DepthNetwork,
        bones=BONES,
        augmented=partial(_changed, BONES),
        loss=partial(_depth_loss, DEPTH_LOSSES[recipe.learning.loss]),
        measure=measure_depth,
        picture=depth_sheet,
        sheet="sheet.png",
        kept=_halved,
        kept_as="network",
    )


def _segmentation(recipe: Recipe) -> Task:
    """Every bone's mask."""
    return Task(
        network=SegmentationNetwork,
        bones=BONES,
        augmented=partial(_changed, BONES),
        loss=lambda network, batch, rng: segmentation(network(batch["film"]), batch["mask"]),
        measure=measure_masks,
        picture=outline_sheet,
        sheet="sheet.png",
        kept=_halved,
        kept_as="network",
    )


def _pretraining(recipe: PretrainRecipe) -> Task:
    """What is hidden of a film, so that the encoder of a depth network learns to see films without their truth."""
    return Task(
        network=DepthNetwork,
        bones=(),
        augmented=partial(_changed, ()),
        loss=partial(masked_loss, recipe.masking),
        measure=partial(measure_masked, recipe.masking),
        picture=partial(masked_picture, recipe.masking),
        sheet="masked.png",
        kept=lambda network: weights_of(network.encoder),
        kept_as="encoder",
    )


def _volume(recipe: Recipe) -> Task:
    """A vertebra's volume, of two films that are laid back into a cube."""
    films = recipe.films
    return Task(
        network={"ear": EarNetwork, "rival": RivalNetwork}[recipe.task],
        bones=(),
        augmented=augmented_cubes,
        loss=partial(cube_loss, VOLUME_LOSSES[recipe.learning.loss], films),
        measure=partial(measure_cubes, films),
        picture=partial(cube_sheet, films),
        sheet="sheet.png",
        kept=_halved,
        kept_as="network",
        flat=False,
    )


def _changed(bones: Sequence[str], batch: Sample, strength: float, changes: int, rng: np.random.Generator) -> Sample:
    """A batch of films, augmented with their truth."""
    return augmented(batch, bones, strength, changes, rng)


def _depth_loss(
    loss: Callable[..., torch.Tensor], network: nn.Module, batch: Sample, rng: np.random.Generator
) -> torch.Tensor:
    """A loss of depths from the source, which the network's become by the nominal distance, never the truth's own."""
    predicted = network(batch["film"])
    nominal = (batch["sdd_mm"] - NOMINAL_OBJECT_DISTANCE_MM).float()[:, None, None, None, None]
    truth = batch["depth"][:, :, : predicted.shape[2]]
    valid = (batch["mask"][:, :, None] & (truth > 0)).flatten(1, 2)
    return loss((predicted + nominal).flatten(1, 2), truth.flatten(1, 2), valid)


def _halved(network: nn.Module) -> dict[str, torch.Tensor]:
    """A network's weights in half precision, as bundles have them."""
    weights = weights_of(network)
    return {name: value.half() if value.dtype.is_floating_point else value for name, value in weights.items()}
