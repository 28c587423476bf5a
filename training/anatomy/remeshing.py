"""Bones as meshes: reading, closing, even templates, and carrying points from one mesh to another.

VTK is imported where bones are read and meshed anew: networks are trained where it is not installed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import Mesh, arrays, polydata, triangle_normals


def read_ply(path: Path) -> Mesh:
    """Vertices and triangles of a PLY file; Refusal where it is none, or has other faces."""
    from vtkmodules.vtkIOPLY import vtkPLYReader

    if not path.is_file():
        raise Refusal(f"There is no {path}: CONTRIBUTING.md says where the bones come from.")
    reader = vtkPLYReader()
    reader.SetFileName(str(path))
    reader.Update()
    mesh = reader.GetOutput()
    cells = mesh.GetPolys()
    if mesh.GetNumberOfPolys() == 0 or cells.GetNumberOfConnectivityIds() != 3 * cells.GetNumberOfCells():
        raise Refusal(f"{path} is no PLY mesh of triangles: export it again.")
    return arrays(mesh)


def closed(mesh: Mesh) -> Mesh:
    """The mesh with its few open edges filled, unused vertices dropped and normals pointing outward."""
    from vtkmodules.vtkFiltersCore import vtkCleanPolyData, vtkPolyDataNormals
    from vtkmodules.vtkFiltersModeling import vtkFillHolesFilter

    fill = vtkFillHolesFilter()
    fill.SetInputData(polydata(*mesh))
    fill.SetHoleSize(1000)
    clean = vtkCleanPolyData()
    clean.SetInputConnection(fill.GetOutputPort())
    clean.ConvertPolysToLinesOff()
    orient = vtkPolyDataNormals()
    orient.SetInputConnection(clean.GetOutputPort())
    orient.SplittingOff()
    orient.ConsistencyOn()
    orient.AutoOrientNormalsOn()
    orient.Update()
    return arrays(orient.GetOutput())


def open_edges(triangles: np.ndarray) -> int:
    """How many edges do not belong to exactly two triangles."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    return int(np.count_nonzero(np.unique(edges, axis=0, return_counts=True)[1] != 2))


def even_template(mesh: Mesh, vertices: int) -> Mesh:
    """A closed mesh of about `vertices` evenly spread vertices on the same surface."""
    import pyacvd
    import pyvista
    from vtkmodules.vtkFiltersModeling import vtkLinearSubdivisionFilter

    finer = vtkLinearSubdivisionFilter()
    finer.SetInputData(polydata(*mesh))
    finer.SetNumberOfSubdivisions(2)
    finer.Update()
    clusters = pyacvd.Clustering(pyvista.wrap(finer.GetOutput()))
    clusters.cluster(vertices)
    even = clusters.create_mesh()
    return closed((np.asarray(even.points, dtype=np.float64), even.faces.reshape(-1, 4)[:, 1:].astype(np.int64)))


def dense_points(
    mesh: Mesh, values: np.ndarray, count: int = 500_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points on a mesh (N, 3), the normals of their triangles, and values of the vertices (V,) between them."""
    vertices, triangles = mesh
    normals = triangle_normals(vertices, triangles)
    area = np.linalg.norm(normals, axis=1)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(triangles), count, p=area / area.sum())
    weights = rng.dirichlet((1, 1, 1), count)
    points = np.einsum("nc,ncx->nx", weights, vertices[triangles[chosen]])
    return points, normals[chosen] / area[chosen, None], (weights * values[triangles[chosen]]).sum(axis=1)


def anchors(points: np.ndarray, normals: np.ndarray, mesh: Mesh, candidates: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (N,) and barycentric weights (N, 3) of the nearest places on a mesh that face the same way.

    A point near a thin wing must not be caught by the wing's other side.
    """
    vertices, triangles = mesh
    corners = vertices[triangles]
    facing = triangle_normals(vertices, triangles)
    facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-12)
    near = cKDTree(corners.mean(axis=1)).query(points, k=min(candidates, len(triangles)))[1]
    weights, distance = _nearest_on_triangles(points[:, None], corners[near])
    distance[(facing[near] * normals[:, None]).sum(axis=2) < 0.2] += 1e6
    best = distance.argmin(axis=1)
    rows = np.arange(len(points))
    return near[rows, best], weights[rows, best]


def carried(triangles: np.ndarray, anchor: tuple[np.ndarray, np.ndarray], vertices: np.ndarray) -> np.ndarray:
    """Points (N, 3) that `anchors` fixed to a mesh, on another person's vertices of that mesh."""
    return np.einsum("nc,ncx->nx", anchor[1], vertices[triangles[anchor[0]]])


def _nearest_on_triangles(points: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Barycentric weights (..., 3) of, and distances to, the nearest points of triangles (..., 3, 3)."""
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    ab, ac, to = b - a, c - a, points - a
    d_ab, d_ac, cross = (ab * ab).sum(-1), (ac * ac).sum(-1), (ab * ac).sum(-1)
    t_ab, t_ac = (to * ab).sum(-1), (to * ac).sum(-1)
    determinant = np.maximum(d_ab * d_ac - cross**2, 1e-18)
    v, w = (d_ac * t_ab - cross * t_ac) / determinant, (d_ab * t_ac - cross * t_ab) / determinant
    inside = (v >= 0) & (w >= 0) & (v + w <= 1)
    along_ab = np.clip(t_ab / np.maximum(d_ab, 1e-18), 0, 1)
    along_ac = np.clip(t_ac / np.maximum(d_ac, 1e-18), 0, 1)
    bc = c - b
    along_bc = np.clip(((points - b) * bc).sum(-1) / np.maximum((bc * bc).sum(-1), 1e-18), 0, 1)
    zero = np.zeros_like(v)
    choices = np.stack(
        [
            np.stack([1 - v - w, v, w], -1),
            np.stack([1 - along_ab, along_ab, zero], -1),
            np.stack([1 - along_ac, zero, along_ac], -1),
            np.stack([zero, 1 - along_bc, along_bc], -1),
        ],
        axis=-2,
    )
    distance = np.linalg.norm(np.einsum("...kc,...cx->...kx", choices, corners) - points[..., None, :], axis=-1)
    distance[..., 0] = np.where(inside, distance[..., 0], np.inf)
    best = distance.argmin(axis=-1)
    return np.take_along_axis(choices, best[..., None, None], -2)[..., 0, :], np.take_along_axis(
        distance, best[..., None], -1
    )[..., 0]
