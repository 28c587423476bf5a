"""Meshes: (vertices (V, 3) float mm, triangles (T, 3) int), and what is asked of them anywhere in this project.

Sizes, normals, samples, exact distances to triangles, cuts, rigid fits, mirroring, and the way to VTK and back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

Mesh = tuple[np.ndarray, np.ndarray]
Seed = int | np.random.SeedSequence

MIRROR = np.array([-1.0, 1.0, 1.0])  # left becomes right, in RAS
GROUP = 16  # triangles to a bounding box, and boxes to the next larger one
PAIRS_AT_ONCE = 100_000  # pairs of point and box in work at a time, some 300 bytes each


# Surfaces


def sample_surface(vertices: np.ndarray, triangles: np.ndarray, count: int, seed: Seed = 0) -> np.ndarray:
    """`count` points (count, 3) mm, uniform by area over the triangles."""
    corners = _corners(vertices, triangles)
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if not area.sum() > 0:
        raise ValueError("a surface without area cannot be sampled")
    rng = np.random.default_rng(seed)
    chosen = corners[rng.choice(len(area), size=count, p=area / area.sum())]
    root, along = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    return chosen[:, 0] * (1 - root) + chosen[:, 1] * (root * (1 - along)) + chosen[:, 2] * (root * along)


def area_mm2(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """Area of a mesh, mm^2; 0 without triangles."""
    first, second, third = (np.asarray(vertices)[np.asarray(triangles)[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(second - first, third - first), axis=1).sum() / 2)


def volume_mm3(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """Volume of a closed mesh; negative where its triangles look inwards."""
    first, second, third = ((vertices - vertices.mean(axis=0))[triangles[:, k]] for k in range(3))
    return float((first * np.cross(second, third)).sum() / 6)


def distances_to_surface(points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Exact distance (N,) mm from points (N, 3) to the nearest point of any triangle; the surface may be open.

    The triangle with the nearest centroid gives a first distance. From then on only triangles are computed whose
    bounding box, and those of the groups that they belong to, come closer than the best distance so far.
    """
    points, corners = checked_points(points), _corners(vertices, triangles)
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


def distances_to_points(points: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """Distance (N,) mm from points (N, 3) to the nearest point of a cloud (M, 3).

    Against a sampled surface it is never below `distances_to_surface`, and above it by up to the samples' gaps.
    """
    return cKDTree(checked_points(cloud)).query(checked_points(points), workers=-1)[0]


def unit_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Outward normals (V, 3) of a mesh's vertices, averaged by area."""
    x, y, z = vertices.T[:, triangles.T]  # each (3, T)
    corners = triangles.T.ravel()
    normals = np.empty_like(vertices)
    for axis, (a, b) in enumerate(((y, z), (z, x), (x, y))):
        area = (a[1] - a[0]) * (b[2] - b[0]) - (b[1] - b[0]) * (a[2] - a[0])
        normals[:, axis] = np.bincount(corners, np.tile(area, 3), minlength=len(vertices))
    return normals / np.maximum(np.sqrt(np.einsum("vx,vx->v", normals, normals)), 1e-12)[:, None]


def clip_to_planes(
    vertices: np.ndarray, triangles: np.ndarray, plane_points: np.ndarray, plane_normals: np.ndarray
) -> Mesh:
    """The part of a mesh on the inner side of every plane, left open where it was cut.

    Planes are points (P, 3) mm and inward normals (P, 3). Truth is clipped to the viewing frustum
    (`ProjectionGeometry.frustum_planes`): what the picture cannot show is not an error.
    """
    vertices, triangles = np.asarray(vertices, dtype=np.float64), np.asarray(triangles)
    for point, normal in zip(plane_points, plane_normals, strict=True):
        vertices, triangles = _clip_to_plane(vertices, triangles, (vertices - point) @ np.asarray(normal))
    used, triangles = np.unique(triangles, return_inverse=True)
    return vertices[used], triangles.reshape(-1, 3)


def _clip_to_plane(vertices: np.ndarray, triangles: np.ndarray, height: np.ndarray) -> Mesh:
    """Keep where `height` (V,) above the plane is not negative; cut edges get one shared vertex each."""
    inside = height >= 0
    kept = inside[triangles].sum(axis=1)
    cut = triangles[(kept == 1) | (kept == 2)]
    lone_is_inside = inside[cut].sum(axis=1) == 1
    lone = np.argmax(inside[cut] == lone_is_inside[:, None], axis=1)  # the corner alone on its side comes first
    first, second, third = (cut[np.arange(len(cut)), (lone + k) % 3] for k in range(3))

    edges = np.sort(np.concatenate([np.stack([first, second], 1), np.stack([first, third], 1)]), axis=1)
    edges, which = np.unique(edges, axis=0, return_inverse=True)
    near, far = edges.T
    share = (height[near] / (height[near] - height[far]))[:, None]
    on_second, on_third = (which.reshape(2, -1) + len(vertices)).astype(triangles.dtype)
    one, two = lone_is_inside, ~lone_is_inside
    pieces = [
        triangles[kept == 3],
        np.stack([first, on_second, on_third], axis=1)[one],
        np.stack([on_second, second, third], axis=1)[two],
        np.stack([on_second, third, on_third], axis=1)[two],
    ]
    return np.concatenate([vertices, vertices[near] * (1 - share) + vertices[far] * share]), np.concatenate(pieces)


# Fits


def rigid_fit(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and translation (3,) that bring source (V, 3) closest to target (V, 3), without scaling."""
    middle_source, middle_target = source.mean(axis=0), target.mean(axis=0)
    left, _, right = np.linalg.svd((target - middle_target).T @ (source - middle_source))
    rotation = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
    return rotation, middle_target - rotation @ middle_source


def sphere_through(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (3,) and radius of the sphere nearest to points (N, 3) in the sense of least squares."""
    middle = points.mean(axis=0)  # near the origin rounding does no harm
    terms = np.column_stack([2 * (points - middle), np.ones(len(points))])
    *centre, rest = np.linalg.lstsq(terms, ((points - middle) ** 2).sum(axis=1), rcond=None)[0]
    return np.array(centre) + middle, float(np.sqrt(rest + np.dot(centre, centre)))


# VTK


def polydata(vertices: np.ndarray, triangles: np.ndarray) -> vtkPolyData:
    """A mesh of vertices (V, 3) mm, kept in their precision, and triangles (T, 3)."""
    mesh, points, cells = vtkPolyData(), vtkPoints(), vtkCellArray()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(vertices), deep=True))
    rows = np.column_stack([np.full(len(triangles), 3), triangles]).astype(np.int64)
    cells.ImportLegacyFormat(numpy_to_vtkIdTypeArray(rows.ravel(), deep=True))
    mesh.SetPoints(points)
    mesh.SetPolys(cells)
    return mesh


def arrays(mesh: vtkPolyData) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64 and triangles (T, 3) int64 of a mesh of triangles."""
    triangles = vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return vtk_to_numpy(mesh.GetPoints().GetData()).astype(np.float64), triangles.astype(np.int64)


# Nearest triangles


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


def checked_points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise ValueError(f"points must be (N, 3) with N > 0, not {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite, but some are NaN or infinite")
    return points


def _corners(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The triangles' corners (T, 3, 3)."""
    triangles = np.asarray(triangles)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or len(triangles) == 0:
        raise ValueError(f"triangles must be (T, 3) with T > 0, not {triangles.shape}")
    return checked_points(np.asarray(vertices)[triangles].reshape(-1, 3)).reshape(-1, 3, 3)
