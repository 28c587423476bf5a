"""A mean shape placed by a bone's mask alone: what a segmentation is worth without depths.

    mesh = placed_by_mask(model, mask, geometry, depth_mm)

Rotation, place across the film and size are sought so that the shape's vertices project into the mask and leave nothing
of it uncovered. A mask has no depth: the shape's middle is put at a given one.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.optimize import least_squares
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import Mesh, sample_surface
from DualFaceReconLib.shape.shapemodel import ShapeModel

VERTICES, PIXELS = 1500, 600  # of the shape and of the mask that the search uses
# Priors of the pose: a deviation of this size weighs as much as a millimetre of outline. Ours.
TURN_SPREAD = np.deg2rad(10.0)
SIZE_SPREAD = 0.08  # share
STARTS = 2  # of the places to begin with, the best
EVALUATIONS = 15


def placed_by_mask(model: ShapeModel, mask: np.ndarray, geometry: ProjectionGeometry, depth_mm: float) -> Mesh:
    """The mean of `model`, turned, moved and sized to fill a mask (rows, cols) bool that has pixels."""
    search = _Search(model, mask, geometry, depth_mm)
    tried = sorted((np.r_[np.zeros(3), place, 0.0] for place in search.places()), key=search.cost)
    spread = np.r_[np.full(3, TURN_SPREAD), np.full(2, 10.0), SIZE_SPREAD]
    solutions = [
        least_squares(search.residuals, start, x_scale=spread, max_nfev=EVALUATIONS, diff_step=1e-4)
        for start in tried[:STARTS]
    ]
    best = min(solutions, key=lambda solution: solution.cost)
    return search.placed(best.x, model.mean), model.triangles


class _Search:
    """Residuals in mm at the depth; a pose is a rotation vector (3), place (R, S) and the logarithm of the size."""

    def __init__(self, model: ShapeModel, mask: np.ndarray, geometry: ProjectionGeometry, depth_mm: float) -> None:
        rng = np.random.default_rng(0)
        self.geometry, self.pixel_mm = geometry, np.array(geometry.pixel_size_at(depth_mm))
        self.middle = sample_surface(model.mean, model.triangles, 3000).mean(axis=0)
        self.base = geometry.back_project(np.array(geometry.principal_point_px), np.array(depth_mm))
        self.few = rng.permutation(model.mean)[:VERTICES]
        self.outside_mm = distance_transform_edt(~mask, sampling=self.pixel_mm)
        pixels = rng.permutation(np.argwhere(mask))[:PIXELS]
        self.wanted_mm = pixels * self.pixel_mm
        self.mask_mm = geometry.back_project(np.argwhere(mask), np.array(depth_mm))[:, [0, 2]]

    def places(self) -> list[np.ndarray]:
        """(R, S) to begin with: the shape's middle on the mask's, or an end on an end, as the film may cut the mask."""
        low, high = np.percentile(self.mask_mm, (1, 99), axis=0)
        own = (self.few - self.middle)[:, [0, 2]]
        own_low, own_high = own.min(axis=0), own.max(axis=0)
        ways = np.stack([(low + high - own_low - own_high) / 2, low - own_low, high - own_high])
        return [np.array([across, up]) - self.base[[0, 2]] for across, up in product(ways[:, 0], ways[:, 1])]

    def placed(self, pose: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) of the mean's frame in RAS mm."""
        turned = Rotation.from_rotvec(pose[:3]).apply(points - self.middle) * np.exp(pose[5])
        return turned + self.base + np.array([pose[3], 0.0, pose[4]])

    def residuals(self, pose: np.ndarray) -> np.ndarray:
        """Of the shape outside the mask, of the mask that the shape leaves bare, and of an unusual pose."""
        pixels = self.geometry.project(self.placed(pose, self.few))[0]
        on_film = ((pixels >= 0) & (pixels <= np.array(self.outside_mm.shape) - 1)).all(axis=1)
        beside = np.where(on_film, map_coordinates(self.outside_mm, pixels.T, order=1, mode="nearest"), 0.0)
        bare = cKDTree(pixels * self.pixel_mm).query(self.wanted_mm)[0]
        prior = np.r_[pose[:3] / TURN_SPREAD, pose[5] / SIZE_SPREAD]
        return np.concatenate([beside / np.sqrt(len(beside)), bare / np.sqrt(len(bare)), prior])

    def cost(self, pose: np.ndarray) -> float:
        """Sum of the squared residuals."""
        return float((self.residuals(pose) ** 2).sum())
