"""A group's shape model fitted to a vertebra's silhouettes on two films: a row that needs no network.

The silhouettes are the true ones, as if somebody had drawn them without fault; where the films were taken from is what
is believed. So this is what two outlines tell of a shape, with what is known of other people's. Who has no true ones
may take those of a network's surface.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt, map_coordinates
from scipy.optimize import least_squares
from scipy.spatial import cKDTree

from DualFaceReconLib.biplanar import PlacedFilm
from DualFaceReconLib.levels import group_of
from DualFaceReconLib.meshes import Mesh
from DualFaceReconLib.vertebra.fitting import PRIOR, SHAPE, PlacedModel
from training.raycast import cast
from training.vertebrae.films import Study
from training.vertebrae.virtual import Stock

OUTLINE_POINTS = 250  # of a silhouette, at most
SLACK_MM = 1.5  # vertices stand so far apart, so that an outline between two of them is not missed
MOST_STEPS = 30


@dataclass(frozen=True)
class Silhouette:
    """A silhouette on one film."""

    film: PlacedFilm  # as believed, for points that are counted from the cube's middle
    outside_mm: np.ndarray  # (rows, cols) to the silhouette, at the bone; 0 within
    points: np.ndarray  # (N, 2) pixels of its outline
    pixel_mm: float  # at the bone


def fitted_vertices(study: Study, stock: Stock, surface: Mesh | None = None) -> np.ndarray:
    """The model's vertices (V, 3) mm from the cube's middle.

    `surface`: a mesh in the cube, whose silhouettes are taken in the place of the true ones.
    """
    placed = PlacedModel.of(stock.groups[group_of(study.vertebra.level)].model)
    outlines = _outlines(study, surface)

    def apart(sought: np.ndarray) -> np.ndarray:
        vertices = placed.vertices(sought)
        parts = [part for outline in outlines for part in _apart(outline, vertices)]
        return np.concatenate([*parts, PRIOR * sought[SHAPE]])

    return placed.vertices(least_squares(apart, placed.start(), max_nfev=MOST_STEPS, diff_step=1e-3).x)


def _apart(outline: Silhouette, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far vertices lie outside a silhouette, and its outline from them: mm over the roots of their numbers."""
    pixels, _ = outline.film.project(vertices)
    outside = map_coordinates(outline.outside_mm, pixels.T, order=1, mode="nearest")
    beyond = cKDTree(pixels).query(outline.points)[0] * outline.pixel_mm - SLACK_MM
    return outside / np.sqrt(len(outside)), np.maximum(beyond, 0) / np.sqrt(len(beyond))


def _outlines(study: Study, surface: Mesh | None) -> list[Silhouette]:
    """The silhouettes of a study, the true ones or a surface's, on films as they are believed to be."""
    believed_centre = np.array(study.believed_cube.centre)
    outlines = []
    for true, believed in zip(
        (study.pair.first, study.pair.second), (study.believed.first, study.believed.second), strict=True
    ):
        vertices, triangles = study.mesh if surface is None else surface
        place, centre = (true, study.centre) if surface is None else (believed, believed_centre)
        mesh = place.to_film(vertices + centre), triangles
        mask = cast({"vertebra": mesh}, place.geometry, "cpu").maps.mask[0]
        film = replace(believed, translation=believed.translation + believed.rotation @ believed_centre)
        pixel_mm = film.geometry.pixel_size_at(float(film.project(np.zeros(3))[1]))[0]
        outline = np.argwhere(mask & ~binary_erosion(mask)).astype(float)
        outline = outline[:: max(len(outline) // OUTLINE_POINTS, 1)]
        outlines.append(Silhouette(film, distance_transform_edt(~mask) * pixel_mm, outline, pixel_mm))
    return outlines
