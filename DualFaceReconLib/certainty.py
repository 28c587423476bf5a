"""How sure the place of a completed bone's surface is, beside what its fit tells: the mirrored film, and the distance.

std_mm = with_mirrored(completion.std_mm, disagreement.depth_mm)    # of the bone's shape and place
total_mm = with_distance(vertices, triangles, std_mm, geometry)     # and of how far all bones are from the film
"""

from __future__ import annotations

import numpy as np

from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import unit_normals

USUAL_MIRRORED_MM = 1.5  # between a bone in a film and in its mirror image; is in a bundle's `surface_error_mm` already


def with_mirrored(std_mm: np.ndarray, apart_mm: float) -> np.ndarray:
    """Standard deviations (V,) mm of a bone that film and mirror image show so far apart.

    Their mean, which the bone is made of, lies half as far from either of them.
    """
    if not np.isfinite(apart_mm):
        return std_mm
    return np.sqrt(std_mm**2 + max(apart_mm**2 - USUAL_MIRRORED_MM**2, 0.0) / 4)


def with_distance(
    vertices: np.ndarray, triangles: np.ndarray, std_mm: np.ndarray, geometry: ProjectionGeometry
) -> np.ndarray:
    """Standard deviations (V,) mm of a surface's place, all bones' distance from the film included.

    Where bones lie nearer or farther, a vertex moves along its ray, or straight on where lengths are calibrated at the
    bones. The surface then is between the part of that across itself and the whole of it away from where it was, by how
    flat it is; the middle of both is taken, in squares.
    """
    spread = geometry.provenance["object_distance_mm"].spread
    if spread is None:
        return std_mm
    moved = np.broadcast_to([0.0, 1.0, 0.0], vertices.shape)  # for a mm of distance
    if not geometry.lengths_are_calibrated:
        moved = (vertices - geometry.source) / geometry.project(vertices)[1][:, None]
    across = np.einsum("vx,vx->v", moved, unit_normals(vertices, triangles))
    squared = (across**2 + np.einsum("vx,vx->v", moved, moved)) / 2
    return np.sqrt(std_mm**2 + spread**2 * squared)
