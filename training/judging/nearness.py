"""Distances from points to a surface, as in `DualFaceReconLib.proximity`, by Warp: an evaluation asks for millions.

In single precision, about the surface's middle: some 1e-5 mm off.
"""

from __future__ import annotations

import numpy as np
import warp as wp

from DualFaceReconLib.meshes import checked_corners, checked_points

FARTHEST_MM = 1e5


def quick_distances(points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Distance (N,) mm from points (N, 3) to the nearest point of any triangle; the surface may be open."""
    points, corners = checked_points(points), checked_corners(vertices, triangles)
    middle = corners.mean(axis=(0, 1))
    mesh = wp.Mesh(
        points=wp.array((corners - middle).reshape(-1, 3), dtype=wp.vec3, device="cpu"),
        indices=wp.array(np.arange(3 * len(corners)), dtype=wp.int32, device="cpu"),
    )
    places = wp.array(points - middle, dtype=wp.vec3, device="cpu")
    distances = wp.zeros(len(points), dtype=wp.float32, device="cpu")
    wp.launch(_nearest, dim=len(points), inputs=[mesh.id, places], outputs=[distances], device="cpu")
    return distances.numpy().astype(np.float64)


@wp.kernel
def _nearest(mesh: wp.uint64, points: wp.array(dtype=wp.vec3), distances: wp.array(dtype=float)) -> None:
    number = wp.tid()
    place = points[number]
    hit = wp.mesh_query_point_no_sign(mesh, place, FARTHEST_MM)
    distances[number] = wp.length(wp.mesh_eval_position(mesh, hit.face, hit.u, hit.v) - place)
