"""What of a bone's mesh an X-ray sees as a surface: where its rays first enter it and where they leave it last."""

from __future__ import annotations

import numpy as np

from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import first_sides, unit_normals
from DualFaceReconLib.rasterising import covered_pixels

STEEPEST = 6.0  # mm of depth for a mm across; a surface steeper than that is seen from its side
SLACK_MM = 1.0


def rays_to(points: np.ndarray, geometry: ProjectionGeometry) -> np.ndarray:
    """Unit directions (N, 3) in which the X-rays pass through points (N, 3)."""
    rays = points - geometry.source
    return rays / np.sqrt(np.einsum("nx,nx->n", rays, rays))[:, None]


def entry_and_exit_depths(
    vertices: np.ndarray, triangles: np.ndarray, geometry: ProjectionGeometry
) -> tuple[np.ndarray, np.ndarray]:
    """Depths (rows, cols) in mm of a mesh's first entry and last exit along every pixel's ray; 0 beside the mesh.

    A z-buffer: exact at the pixels' centres, and fast where triangles cover few pixels.
    """
    return _entry_and_exit_depths(*geometry.project(vertices), triangles, geometry.size_px)


def _entry_and_exit_depths(
    pixels: np.ndarray, depth: np.ndarray, triangles: np.ndarray, size_px: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The same of vertices at pixels (V, 2) [row, col] and depths (V,)."""
    nearness = np.where(depth > 0, 1 / np.where(depth > 0, depth, 1), np.nan)  # linear across the picture, depth is not
    nearest, farthest = np.zeros(size_px), np.full(size_px, np.inf)

    near = np.take(nearness, triangles)
    for member, place, v, w in covered_pixels(np.take(pixels, triangles, axis=0), size_px):
        at = near[member, 0] * (1 - v - w) + near[member, 1] * v + near[member, 2] * w
        np.maximum.at(nearest, tuple(place.T), at)
        np.minimum.at(farthest, tuple(place.T), at)
    hit = nearest > 0
    return np.where(hit, 1 / np.where(hit, nearest, 1), 0), np.where(hit, 1 / farthest, 0)


def entry_and_exit_vertices(
    vertices: np.ndarray, triangles: np.ndarray, geometry: ProjectionGeometry, normals: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Which vertices (V,) are first entries of their rays, and which last exits, inside the viewing frustum.

    Depths of the outermost layers come from a z-buffer about as fine as the mesh. A vertex belongs to a layer if its
    depth agrees with its pixel's, as far as the slope of the surface allows, and if it faces the right way.
    `normals` (V, 3): the unit normals, where they are known.
    """
    inside = geometry.sees(vertices)
    if not inside.any():
        return inside, inside
    edge = first_sides(vertices, triangles).mean()
    pixel = geometry.pixel_size_at(float(np.median(geometry.depth(vertices[inside]))))
    coarse = geometry.resized([max(round(n * size / edge), 1) for n, size in zip(geometry.size_px, pixel, strict=True)])
    pixels, depth = coarse.project(vertices)
    front, back = _entry_and_exit_depths(pixels, depth, triangles, coarse.size_px)

    nearest = np.clip(np.rint(np.nan_to_num(pixels, nan=-1)).astype(np.int64), 0, np.array(coarse.size_px) - 1)
    nearest = tuple(nearest.T)
    empty = front[nearest] == 0  # at the silhouette: no other layer there
    normals = unit_normals(vertices, triangles) if normals is None else normals
    cosine = np.einsum("vx,vx->v", normals, rays_to(vertices, geometry))
    slope = np.sqrt(1 - np.minimum(cosine**2, 1)) / np.maximum(np.abs(cosine), 1e-9)
    slack = SLACK_MM + 0.71 * edge * np.minimum(slope, STEEPEST)  # a vertex lies up to half a diagonal from its pixel
    first = inside & (cosine < 0) & (empty | (depth <= front[nearest] + slack))
    last = inside & (cosine > 0) & (empty | (depth >= back[nearest] - slack))
    return first, last
