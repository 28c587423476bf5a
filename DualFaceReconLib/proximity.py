"""How far points are from a surface: exactly, by the nearest triangle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from DualFaceReconLib.meshes import checked_corners, checked_points

GROUP = 16  # triangles to a bounding box, and boxes to the next larger one
PAIRS_AT_ONCE = 100_000  # pairs of point and box in work at a time, some 300 bytes each


def distances_to_surface(points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Exact distance (N,) mm from points (N, 3) to the nearest point of any triangle; the surface may be open.

    The triangle with the nearest centroid gives a first distance. From then on only triangles are computed whose
    bounding box, and those of the groups that they belong to, come closer than the best distance so far.
    """
    points, corners = checked_points(points), checked_corners(vertices, triangles)
    tree = cKDTree(corners.mean(axis=1))
    best = _distances_to_own(points, corners[tree.query(points, workers=-1)[1]])
    corners = corners[tree.indices]  # neighbours in space become neighbours in memory
    levels = _box_levels(corners)
    top = np.arange(len(levels[-1].half))
    tasks = [(len(levels) - 1, np.repeat(np.arange(len(points)), len(top)), np.tile(top, len(points)))]
    while tasks:
        level, point, box = tasks.pop()
        if len(point) > PAIRS_AT_ONCE:
            half = len(point) // 2
            tasks += [(level, point[half:], box[half:]), (level, point[:half], box[:half])]
            continue
        near = np.flatnonzero(levels[level].squared_distances(points[point], box) < best[point] ** 2)
        point, box = point[near], box[near]
        if level == 0:
            np.minimum.at(best, point, _distances_to_own(points[point], corners[box]))
        else:
            members = (box[:, None] * GROUP + np.arange(GROUP)).ravel()
            real = np.flatnonzero(members < len(levels[level - 1].half))
            tasks.append((level - 1, np.repeat(point, GROUP)[real], members[real]))
    return best


@dataclass(frozen=True)
class _Boxes:
    """Oriented boxes that enclose groups of triangles; a surface is flat from near, and so are they."""

    axes: np.ndarray  # (B, 3, 3), unit rows: along the surface's normal, along the group's length, across both
    centre: np.ndarray  # (B, 3) mm along these axes
    half: np.ndarray  # (B, 3) mm, half the extents

    def squared_distances(self, points: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Squared distance (N,) from each point (N, 3) to its own box, 0 inside."""
        outside = np.matmul(self.axes[box], points[:, :, None])[:, :, 0]
        outside -= self.centre[box]
        np.abs(outside, out=outside)
        outside -= self.half[box]
        np.maximum(outside, 0, out=outside)
        return _dot(outside, outside)


def _box_levels(corners: np.ndarray) -> list[_Boxes]:
    """Boxes of single triangles, then of groups of GROUP, GROUP^2, ... until few are left; corners are (T, 3, 3)."""
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    levels, size = [], 1
    while not levels or len(levels[-1].half) > GROUP:
        member = np.minimum(np.arange(-(-len(corners) // size) * size), len(corners) - 1).reshape(-1, size)
        enclosed = corners[member].reshape(len(member), -1, 3)
        normal = _unit(area[member].sum(axis=1), np.array([0.0, 0.0, 1.0]))
        to = enclosed - enclosed.mean(axis=1, keepdims=True)
        to -= np.einsum("bck,bk->bc", to, normal)[..., None] * normal[:, None]
        farthest = to[np.arange(len(to)), np.einsum("bck,bck->bc", to, to).argmax(axis=1)]
        across = _unit(np.cross(normal, farthest), np.cross(normal, np.eye(3)[np.abs(normal).argmin(axis=1)]))
        axes = np.stack([normal, np.cross(across, normal), across], axis=1)
        local = np.matmul(enclosed, axes.transpose(0, 2, 1))
        low, high = local.min(axis=1), local.max(axis=1)
        levels.append(_Boxes(axes, (low + high) / 2, (high - low) / 2))
        size *= GROUP
    return levels


def _unit(vectors: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Vectors (N, 3) at length 1; those too short to have a direction beyond rounding are replaced first."""
    vectors = np.where(_dot(vectors, vectors)[:, None] > 1e-16, vectors, fallback)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _distances_to_own(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Distance (N,) mm from each point (N, 3) to its own triangle (N, 3, 3).

    Every candidate is the distance to a point on the triangle: slivers and rounding can only lengthen the result,
    by no more than the sliver's width.
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac, to = b - a, c - a, points - a
    ab_ab, ab_ac, ac_ac, to_ab, to_ac = _dot(ab, ab), _dot(ab, ac), _dot(ac, ac), _dot(to, ab), _dot(to, ac)
    squared = np.minimum.reduce(
        [_squared_to_segment(to, ab), _squared_to_segment(to, ac), _squared_to_segment(points - b, c - b)]
    )
    determinant = ab_ab * ac_ac - ab_ac**2
    v, w = ac_ac * to_ab - ab_ac * to_ac, ab_ab * to_ac - ab_ac * to_ab
    above = np.flatnonzero((determinant > 0) & (v > 0) & (w > 0) & (v + w < determinant))
    v, w = ((part[above] / determinant[above])[:, None] for part in (v, w))
    off = to[above] - v * ab[above] - w * ac[above]
    squared[above] = np.minimum(squared[above], _dot(off, off))
    return np.sqrt(squared)


def _squared_to_segment(to: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Squared distance (N,) from points, given from a segment's start, to the segment `along` (N, 3)."""
    length = _dot(along, along)
    share = np.clip(_dot(to, along) / np.where(length > 0, length, 1), 0, 1)
    off = to - share[:, None] * along
    return _dot(off, off)


def _dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", first, second)
