"""A group's shape model brought to where some distances are small: turned, moved, grown, and shaped by its first modes.

vertices = fitted_to_surface(group, surface)  # of a stock's group, to a surface in the cube's frame
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from DualFaceReconLib.meshes import Mesh, sample_surface
from training.vertebrae.virtual import GroupStock

MODES = 12
PRIOR = 0.15  # mm that one standard deviation of a mode weighs
TURN_DEGREES, MOVE_MM, GROWTH = 10.0, 5.0, 0.1  # one unit of what is sought
SURFACE_POINTS = 1500
FAR_MM = 6.0  # a distance counts for this at most: what is so far away is no part of the vertebra, or not there
MOST_STEPS = 25


def fitted(
    group: GroupStock,
    apart: Callable[[np.ndarray], Sequence[np.ndarray]],
    steps: int,
    start_mm: np.ndarray | None = None,
) -> np.ndarray:
    """The model's vertices (V, 3) where the squares of `apart(vertices)`, and of what is unusual, are least.

    `start_mm` (3,): where its middle begins, else at 0.
    """
    modes = min(MODES, len(group.model.variances))
    middle = (group.model.mean.min(axis=0) + group.model.mean.max(axis=0)) / 2

    def placed(sought: np.ndarray) -> np.ndarray:
        """By turns (3), moves (3), growth (1) and modes."""
        turned = Rotation.from_rotvec(sought[:3] * TURN_DEGREES, degrees=True).apply(
            group.model.shape(sought[7:]) - middle
        )
        return turned * np.exp(GROWTH * sought[6]) + MOVE_MM * sought[3:6]

    start = np.zeros(7 + modes)
    start[3:6] = 0 if start_mm is None else start_mm / MOVE_MM
    found = least_squares(
        lambda sought: np.concatenate([*apart(placed(sought)), PRIOR * sought[7:]]),
        start,
        max_nfev=steps,
        diff_step=1e-3,
    )
    return placed(found.x)


def fitted_to_surface(group: GroupStock, surface: Mesh) -> np.ndarray:
    """The model's vertices (V, 3) on a surface that may have holes and specks."""
    points = sample_surface(*surface, SURFACE_POINTS, seed=0)
    tree = cKDTree(points)

    def apart(vertices: np.ndarray) -> list[np.ndarray]:
        both = tree.query(vertices)[0], cKDTree(vertices).query(points)[0]
        return [FAR_MM * np.tanh(away / FAR_MM) / np.sqrt(len(away)) for away in both]

    return fitted(group, apart, MOST_STEPS, np.median(points, axis=0))
