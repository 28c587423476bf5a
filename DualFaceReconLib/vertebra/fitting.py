"""A shape model of vertebrae on the surface that a network found: what the films did not tell comes from other people.

    vertices = fitted_to_surface(model, surface)    # with the model's triangles a whole vertebra, closed

Turned, moved, grown and shaped by the model's first modes until distances in both directions are small. A surface may
have holes and specks: beyond FAR_MM a distance counts no more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from DualFaceReconLib.meshes import Mesh, sample_surface
from DualFaceReconLib.shape.shapemodel import ShapeModel

MODES = 12
PRIOR = 0.15  # mm that one standard deviation of a mode weighs
TURN_DEGREES, MOVE_MM, GROWTH = 10.0, 5.0, 0.1  # one unit of what is sought
TURNS, MOVES, SIZE, SHAPE = slice(0, 3), slice(3, 6), 6, slice(7, None)  # where it stands
SURFACE_POINTS = 1500
FAR_MM = 6.0  # a distance counts for this at most: what is so far away is no part of the vertebra, or not there
MOST_STEPS = 25


@dataclass(frozen=True, kw_only=True)
class PlacedModel:
    """A shape model as it is sought: three turns, three moves, a growth and modes, in the units above."""

    mean: np.ndarray  # (V, 3) mm, around the middle of its box
    modes: np.ndarray  # (V, 3, K) mm that a standard deviation moves

    @classmethod
    def of(cls, model: ShapeModel) -> PlacedModel:
        middle = (model.mean.min(axis=0) + model.mean.max(axis=0)) / 2
        modes = model.modes[:, :, :MODES] * np.sqrt(model.variances[:MODES])
        return cls(mean=model.mean - middle, modes=modes)

    def start(self, middle_mm: np.ndarray | None = None) -> np.ndarray:
        """The mean, upright, with its middle somewhere, else at 0."""
        sought = np.zeros(SHAPE.start + self.modes.shape[2])
        sought[MOVES] = 0 if middle_mm is None else middle_mm / MOVE_MM
        return sought

    def vertices(self, sought: np.ndarray) -> np.ndarray:
        """(V, 3) mm."""
        shape = self.mean + self.modes @ sought[SHAPE]
        turned = Rotation.from_rotvec(sought[TURNS] * TURN_DEGREES, degrees=True).apply(shape)
        return turned * np.exp(GROWTH * sought[SIZE]) + MOVE_MM * sought[MOVES]

    def slopes(self, sought: np.ndarray) -> np.ndarray:
        """(V, 3, all that is sought): how vertices move with it."""
        rotation, size = Rotation.from_rotvec(sought[TURNS] * TURN_DEGREES, degrees=True), np.exp(GROWTH * sought[SIZE])
        turn = size * rotation.as_matrix()
        shape = self.mean + self.modes @ sought[SHAPE]
        axes = np.radians(TURN_DEGREES) * _right_jacobian(np.radians(TURN_DEGREES) * sought[TURNS])
        slopes = np.empty((*shape.shape, len(sought)))
        for number, axis in enumerate(axes.T):
            slopes[:, :, number] = np.cross(axis, shape) @ turn.T
        slopes[:, :, MOVES] = MOVE_MM * np.eye(3)
        slopes[:, :, SIZE] = GROWTH * shape @ turn.T
        slopes[:, :, SHAPE] = np.einsum("xy,vyk->vxk", turn, self.modes)
        return slopes


def fitted_to_surface(model: ShapeModel, surface: Mesh) -> np.ndarray:
    """The model's vertices (V, 3) on a surface, RAS mm."""
    placed, points = PlacedModel.of(model), sample_surface(*surface, SURFACE_POINTS, seed=0)
    tree = cKDTree(points)

    def pairs(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers of vertices, the way (N, 3) to each from the nearest point, and roots of how many there are a side;
        every vertex with its nearest point, then every point with its nearest vertex."""
        nearest, numbers = tree.query(vertices)[1], cKDTree(vertices).query(points)[1]
        ways = np.concatenate([vertices - points[nearest], vertices[numbers] - points])
        roots = np.repeat(np.sqrt([len(vertices), len(points)]), [len(vertices), len(points)])
        return np.concatenate([np.arange(len(vertices)), numbers]), ways, roots

    def apart(sought: np.ndarray) -> np.ndarray:
        _, ways, roots = pairs(placed.vertices(sought))
        return np.concatenate([FAR_MM * np.tanh(np.linalg.norm(ways, axis=1) / FAR_MM) / roots, PRIOR * sought[SHAPE]])

    def steepness(sought: np.ndarray) -> np.ndarray:
        numbers, ways, roots = pairs(placed.vertices(sought))
        away = np.linalg.norm(ways, axis=1)
        weights = (1 - np.tanh(away / FAR_MM) ** 2) / roots / np.maximum(away, 1e-9)
        of_distances = np.einsum("nx,nxk->nk", ways * weights[:, None], placed.slopes(sought)[numbers])
        of_prior = np.eye(len(sought))[SHAPE] * PRIOR
        return np.concatenate([of_distances, of_prior])

    start = placed.start(np.median(points, axis=0))
    return placed.vertices(least_squares(apart, start, jac=steepness, max_nfev=MOST_STEPS).x)


def _right_jacobian(turn: np.ndarray) -> np.ndarray:
    """(3, 3): a small change of a rotation's vector (3,) as the turn that it is, before the rotation."""
    angle = float(np.linalg.norm(turn))
    cross = np.cross(np.eye(3), turn)  # the matrix by which the turn is crossed with a vector
    first, second = 0.5, 1 / 6
    if angle > 1e-4:
        first, second = (1 - np.cos(angle)) / angle**2, (1 - np.sinc(angle / np.pi)) / angle**2
    return np.eye(3) - first * cross + second * cross @ cross
