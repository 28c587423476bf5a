"""Which voxels lie in a closed mesh; in NumPy alone, as vertebrae are filmed where there is no VTK."""

from __future__ import annotations

import numpy as np

from DualFaceReconLib.meshes import Mesh

ROOM = 2  # voxels around a mesh
# Lines along S stand beside the voxels' centres by so much, so that none meets an edge or a vertex
BESIDE_MM = np.array([1.9e-6, 3.1e-6])


def inside_of(mesh: Mesh, voxel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Whether voxels' centres lie in a mesh, bool [R, A, S] around it, and the first centre (3,) mm."""
    vertices, _ = mesh
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    first = low - ROOM * voxel_mm
    count = np.ceil((high - first) / voxel_mm).astype(int) + ROOM + 1
    return inside_on_grid(mesh, first, count, voxel_mm), first


def inside_on_grid(mesh: Mesh, first: np.ndarray, count: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Whether the centres of a grid lie in a closed mesh, bool [R, A, S]; its first centre (3,) mm, `count` (3,).

    A line along S through a column of centres is inside after an odd number of triangles.
    """
    vertices, triangles = mesh
    places = (vertices - first) / voxel_mm
    places[:, :2] -= BESIDE_MM / voxel_mm
    columns, heights = _crossings(places[triangles], count)
    above = np.clip(np.ceil(heights).astype(int), 0, int(count[2]))  # the first centre beyond
    across, high = int(count[0]) * int(count[1]), int(count[2]) + 1
    turns = np.bincount(columns * high + above, minlength=across * high).reshape(across, high)
    odd = np.cumsum(turns[:, :-1].astype(np.uint8), axis=1, dtype=np.uint8) & 1
    return odd.astype(bool).reshape(tuple(int(side) for side in count))


def _crossings(corners: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where lines along S meet triangles (T, 3, 3), all in voxels: the lines' numbers (N,) and the heights (N,)."""
    low = np.maximum(np.ceil(corners[..., :2].min(axis=1)).astype(int), 0)
    high = np.minimum(np.floor(corners[..., :2].max(axis=1)).astype(int), np.asarray(count[:2]) - 1)
    sides = np.maximum(high - low + 1, 0)
    lines = sides.prod(axis=1)  # in a triangle's box
    triangle = np.repeat(np.arange(len(corners)), lines)
    number = np.arange(len(triangle)) - np.repeat(np.cumsum(lines) - lines, lines)
    at = low[triangle] + np.stack([number // sides[triangle, 1], number % sides[triangle, 1]], axis=1)
    a, b, c = (corners[triangle, corner] for corner in range(3))
    whole = _cross(b - a, c - a)
    first, second = _cross(at - a[:, :2], c - a), _cross(b - a, at - a[:, :2])
    with np.errstate(divide="ignore", invalid="ignore"):  # of triangles that stand upright
        v, w = first / whole, second / whole
        meets = (v >= 0) & (w >= 0) & (v + w <= 1)
        heights = a[:, 2] + v * (b - a)[:, 2] + w * (c - a)[:, 2]
    return at[meets, 0] * int(count[1]) + at[meets, 1], heights[meets]


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of the first two coordinates (N, 2 or more)."""
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
