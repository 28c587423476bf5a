"""Meshes: (vertices (V, 3) float mm, triangles (T, 3) int), and what is asked of them anywhere in this project.

Sizes, normals, samples, cuts, mirroring, rigid fits, and the way to VTK and back. `proximity.py` has distances to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkPolyData

Mesh = tuple[np.ndarray, np.ndarray]
Seed = int | np.random.SeedSequence

MIRROR = np.array([-1.0, 1.0, 1.0])  # left becomes right, in RAS


# Surfaces


def sample_surface(
    vertices: np.ndarray, triangles: np.ndarray, count: int, seed: Seed = 0, area: np.ndarray | None = None
) -> np.ndarray:
    """`count` points (count, 3) mm, uniform by area over the triangles; `area` (T,): `double_areas`, where known."""
    vertices, triangles = np.asarray(vertices), checked_triangles(triangles)
    if not np.isfinite(vertices).all():
        checked_corners(vertices, triangles)  # which do not ask for vertices that no triangle has
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    area = double_areas(vertices, triangles) if area is None else area
    if not area.sum() > 0:
        raise ValueError("a surface without area cannot be sampled")
    rng = np.random.default_rng(seed)
    chosen = vertices[triangles[rng.choice(len(area), size=count, p=area / area.sum())]]
    root, along = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    return chosen[:, 0] * (1 - root) + chosen[:, 1] * (root * (1 - along)) + chosen[:, 2] * (root * along)


def area_mm2(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """Area of a mesh, mm^2; 0 without triangles."""
    return float(double_areas(np.asarray(vertices), np.asarray(triangles)).sum() / 2)


def volume_mm3(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """Volume of a closed mesh; negative where its triangles look inwards."""
    first, second, third = ((vertices - vertices.mean(axis=0))[triangles[:, k]] for k in range(3))
    return float((first * np.cross(second, third)).sum() / 6)


def triangle_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Outward normals (T, 3) of a mesh's triangles, each as long as twice the triangle's area in mm^2."""
    return np.stack(_triangle_normals(vertices, triangles), axis=1)


def double_areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Twice the areas (T,) of a mesh's triangles, mm^2."""
    x, y, z = _triangle_normals(vertices, triangles)
    return np.sqrt(x**2 + y**2 + z**2)


def unit_normals(vertices: np.ndarray, triangles: np.ndarray, fallback: np.ndarray | None = None) -> np.ndarray:
    """Outward unit normals (V, 3) of a mesh's vertices, averaged by area.

    Where a vertex has no triangles its normal is 0, or the direction of its `fallback` (V, 3).
    """
    triangles = triangles.astype(np.intp, copy=False)  # once, and not for every coordinate
    x, y, z = _corner_coordinates(vertices, triangles)
    corners = triangles.T.ravel()
    normals, area = np.empty_like(vertices), np.empty(x.shape)  # an area for each corner of a triangle
    for axis, (a, b) in enumerate(((y, z), (z, x), (x, y))):
        area[:] = (a[1] - a[0]) * (b[2] - b[0]) - (b[1] - b[0]) * (a[2] - a[0])
        normals[:, axis] = np.bincount(corners, area.ravel(), minlength=len(vertices))
    if fallback is not None:
        normals = np.where(normals.any(axis=1, keepdims=True), normals, fallback)
    return normals / np.maximum(np.sqrt(np.einsum("vx,vx->v", normals, normals)), 1e-12)[:, None]


def first_sides(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The lengths (T,) of one side of every triangle, mm."""
    first, second = np.ascontiguousarray(triangles.T[:2])
    x, y, z = (coordinate[first] - coordinate[second] for coordinate in np.ascontiguousarray(vertices.T))
    return np.sqrt(x**2 + y**2 + z**2)


def _triangle_normals(vertices: np.ndarray, triangles: np.ndarray) -> list[np.ndarray]:
    """x, y and z (T,) of `triangle_normals`."""
    x, y, z = _corner_coordinates(vertices, triangles)
    return [(a[1] - a[0]) * (b[2] - b[0]) - (b[1] - b[0]) * (a[2] - a[0]) for a, b in ((y, z), (z, x), (x, y))]


def _corner_coordinates(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and z (3, T) of triangles' corners, each in one piece of memory: half the time of what follows."""
    corners = np.ascontiguousarray(triangles.T, dtype=np.intp)
    x, y, z = (coordinate[corners] for coordinate in np.ascontiguousarray(vertices.T))
    return x, y, z


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
    pieces = [
        triangles[kept == 3],
        np.stack([first, on_second, on_third], axis=1)[lone_is_inside],
        np.stack([on_second, second, third], axis=1)[~lone_is_inside],
        np.stack([on_second, third, on_third], axis=1)[~lone_is_inside],
    ]
    return np.concatenate([vertices, vertices[near] * (1 - share) + vertices[far] * share]), np.concatenate(pieces)


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one; their vertices stay apart."""
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in meshes[:-1])])
    faces = [triangles + start for (_, triangles), start in zip(meshes, starts, strict=True)]
    return np.concatenate([vertices for vertices, _ in meshes]), np.concatenate(faces)


def mirrored(mesh: Mesh) -> Mesh:
    """The other side's mesh, outward again; `vertices` may be a stack (..., V, 3) of shapes."""
    vertices, triangles = mesh
    return vertices * MIRROR, triangles[:, ::-1]


# Vectors


def unit(vector: np.ndarray) -> np.ndarray:
    """The vector (3,) at length 1."""
    return vector / np.linalg.norm(vector)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, 3) at length 1; those of no length stay as they are."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


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


# VTK, imported only here: networks are trained where it is not installed


def add_point_data(mesh: vtkPolyData, name: str, values: np.ndarray) -> None:
    """Values (V,) of a mesh's points, under a name."""
    from vtkmodules.util.numpy_support import numpy_to_vtk

    array = numpy_to_vtk(values, deep=True)
    array.SetName(name)
    mesh.GetPointData().AddArray(array)


def point_data(mesh: vtkPolyData, name: str) -> np.ndarray:
    """Values (V,) of a mesh's points by their name, in the mesh's own memory."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(mesh.GetPointData().GetArray(name))


def decimated(mesh: Mesh, share: float) -> tuple[np.ndarray, np.ndarray]:
    """About a share of a closed mesh's triangles: which vertices (V,) int stay, and triangles (T, 3) of these."""
    from vtkmodules.vtkFiltersCore import vtkDecimatePro

    whole = polydata(*mesh)
    add_point_data(whole, "number", np.arange(len(mesh[0])))
    decimate = vtkDecimatePro()
    decimate.SetInputData(whole)
    decimate.SetTargetReduction(1 - share)
    decimate.PreserveTopologyOn()
    decimate.Update()
    fewer = decimate.GetOutput()
    return point_data(fewer, "number").copy(), arrays(fewer)[1]


def polydata(vertices: np.ndarray, triangles: np.ndarray) -> vtkPolyData:
    """A mesh of vertices (V, 3) mm, kept in their precision, and triangles (T, 3)."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

    mesh, points, cells = vtkPolyData(), vtkPoints(), vtkCellArray()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(vertices), deep=True))
    rows = np.column_stack([np.full(len(triangles), 3), triangles]).astype(np.int64)
    cells.ImportLegacyFormat(numpy_to_vtkIdTypeArray(rows.ravel(), deep=True))
    mesh.SetPoints(points)
    mesh.SetPolys(cells)
    return mesh


def arrays(mesh: vtkPolyData) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64 and triangles (T, 3) int64 of a mesh of triangles."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    triangles = vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return vtk_to_numpy(mesh.GetPoints().GetData()).astype(np.float64), triangles.astype(np.int64)


# Checks


def checked_points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise ValueError(f"points must be (N, 3) with N > 0, not {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite, but some are NaN or infinite")
    return points


def checked_corners(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The triangles' corners (T, 3, 3)."""
    triangles = checked_triangles(triangles)
    return checked_points(np.asarray(vertices)[triangles].reshape(-1, 3)).reshape(-1, 3, 3)


def checked_triangles(triangles: np.ndarray) -> np.ndarray:
    triangles = np.asarray(triangles)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or len(triangles) == 0:
        raise ValueError(f"triangles must be (T, 3) with T > 0, not {triangles.shape}")
    return triangles
