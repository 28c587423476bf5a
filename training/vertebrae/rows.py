"""What is judged: a network's volumes, and rows that need no network. Each gives HU in the cube of a pair of films."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from DualFaceReconLib.backprojection import Cube
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.levels import LEVELS, group_of
from DualFaceReconLib.networks.weights import give_weights
from DualFaceReconLib.vertebra.fitting import fitted_to_surface
from training.learning.finished import read_finished
from training.learning.recipe import OF_VERTEBRAE, Recipe, recipe_of
from training.learning.tasks import network_of
from training.vertebrae.density import MIDDLING, density
from training.vertebrae.films import Grid, Study
from training.vertebrae.parts import dimensions
from training.vertebrae.silhouettes import fitted_vertices
from training.vertebrae.sizes import measured_size
from training.vertebrae.surfaces import surface_of
from training.vertebrae.virtual import GroupStock, Stock

COMPLETED = "network, then shape model"
EXACT = "exact volume"
FITTED = "shape model on true silhouettes"
OUTLINED = "shape model on the network's silhouettes"
MEAN = "mean vertebra at its centre and size"
USUAL = "mean vertebra where it was clicked"
Row = Callable[[Study], np.ndarray]  # (side, side, side) HU


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A finished run's network."""

    recipe: Recipe
    network: nn.Module  # in use
    sha256: str

    def __call__(self, study: Study) -> np.ndarray:
        """(side, side, side) HU that it makes of a pair of films."""
        return self._hu(study.projections()[None])[0]

    def mirrored_too(self, study: Study) -> np.ndarray:
        """The mean of that and of what it makes of the films' mirror image, as a bundle's network is asked."""
        projections = study.projections()
        plain, mirrored = self._hu(torch.stack([projections, projections.flip(1)]))
        return (plain + mirrored[::-1]) / 2

    def _hu(self, projections: torch.Tensor) -> np.ndarray:
        films = self.recipe.films
        with torch.no_grad():
            z = self.network(projections)[:, 0]
        return z.numpy() * films.deviation_hu + films.mean_hu


def trained_network(run: Path) -> TrainedNetwork:
    """The network of a finished run's folder; Refusal where there is none, or none of vertebrae."""
    metadata, weights = read_finished(run)
    recipe = recipe_of(metadata["recipe"])
    if recipe.task not in OF_VERTEBRAE:
        raise Refusal(f"{run.name} holds a network of hips: name a run of `training vertebrae train`.")
    network = network_of(recipe)
    give_weights(network, weights)
    return TrainedNetwork(recipe=recipe, network=network.eval(), sha256=metadata["sha256"])


def exact_volume(study: Study) -> np.ndarray:
    """The truth itself: what is left in its surface's figures are the voxels'."""
    return study.truth_hu


def mean_vertebra(stock: Stock, grid: Grid) -> Row:
    """The mean of a stock's vertebrae of a level, at the true one's middle and with its body's true width, depth and
    height, upright in the patient's frame and of middling bone. Where nobody has the level: of the nearest one."""

    def row(study: Study) -> np.ndarray:
        vertebra = study.vertebra
        group, nearest = _nearest_level(stock, vertebra.level)
        size = measured_size(dimensions(vertebra.mesh[0], vertebra.parts))
        return _upright(group, nearest, size, _middle(study.mesh[0]), grid)

    return row


def usual_vertebra(stock: Stock, grid: Grid) -> Row:
    """As above, of the size that it usually has and where it was clicked: what one knows without any network."""

    def row(study: Study) -> np.ndarray:
        group, nearest = _nearest_level(stock, study.vertebra.level)
        return _upright(group, nearest, group.sizes[nearest].mean(axis=0), np.zeros(3), grid)

    return row


def _nearest_level(stock: Stock, level: str) -> tuple[GroupStock, np.ndarray]:
    """The group of a level, and which of its vertebrae are of the level or of the nearest that somebody has."""
    group = stock.groups[group_of(level)]
    away = np.array([abs(LEVELS.index(other) - LEVELS.index(level)) for other in group.levels])
    return group, away == away.min()


def _upright(
    group: GroupStock, which: np.ndarray, size_mm: np.ndarray, middle_mm: np.ndarray, grid: Grid
) -> np.ndarray:
    """HU of the mean of some vertebrae of a group, at a size (3,) and a place (3,) in the cube."""
    placed = group.shapes[which].mean(axis=0) * size_mm
    placed = placed + middle_mm - _middle(placed)
    cube = Cube((0.0, 0.0, 0.0), grid.side, grid.voxel_mm)
    return density((placed, group.triangles), group.parts, MIDDLING, cube, seed=0)


def fitted_model(stock: Stock, grid: Grid) -> Row:
    """The group's shape model on the true silhouettes of both films, of middling bone."""

    def row(study: Study) -> np.ndarray:
        group = stock.groups[group_of(study.vertebra.level)]
        cube = Cube((0.0, 0.0, 0.0), grid.side, grid.voxel_mm)
        return density((fitted_vertices(study, stock), group.triangles), group.parts, MIDDLING, cube, seed=0)

    return row


def completed_network(network: Row, threshold_hu: float, stock: Stock, grid: Grid, silhouettes: bool = False) -> Row:
    """The group's shape model on the surface of a network's volume, or on that surface's silhouettes on both films, of
    middling bone; nothing where it has none."""

    def row(study: Study) -> np.ndarray:
        surface = surface_of(network(study), threshold_hu, grid)
        if surface is None:
            return np.zeros_like(study.truth_hu)
        group = stock.groups[group_of(study.vertebra.level)]
        fitted = fitted_vertices(study, stock, surface) if silhouettes else fitted_to_surface(group.model, surface)
        cube = Cube((0.0, 0.0, 0.0), grid.side, grid.voxel_mm)
        return density((fitted, group.triangles), group.parts, MIDDLING, cube, seed=0)

    return row


def remembered(row: Row) -> Row:
    """A row that two others ask of the same study, one after the other, and that answers once."""
    last: list[tuple[Study, np.ndarray]] = []

    def answer(study: Study) -> np.ndarray:
        if not last or last[0][0] is not study:
            last[:] = [(study, row(study))]
        return last[0][1]

    return answer


def _middle(vertices: np.ndarray) -> np.ndarray:
    """(3,) of the box around vertices."""
    return (vertices.min(axis=0) + vertices.max(axis=0)) / 2
