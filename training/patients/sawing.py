"""Bones that were sawn: what is left after a cut, closed where the saw went."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkIdList
from vtkmodules.vtkCommonDataModel import vtkPolygon
from vtkmodules.vtkFiltersCore import vtkClipPolyData, vtkTriangleFilter

from DualFaceReconLib.meshes import Mesh, arrays, polydata
from DualFaceReconLib.shape.repair import crossing_triangles
from training.anatomy.remeshing import open_edges


def sawn(mesh: Mesh, point: np.ndarray, inwards: np.ndarray, beside: np.ndarray, sideways: np.ndarray) -> Mesh | None:
    """The largest piece of a closed mesh after a cut with a corner; None where the saw leaves no clean surface.

    Kept is what lies on the inner side of one plane (a point, its unit normal `inwards`) or of a second one
    (`beside`, `sideways`): the first cut ends where it meets the second.
    """
    vertices, triangles = mesh
    first, second = (vertices - point) @ inwards, (vertices - beside) @ sideways
    body = polydata(vertices, triangles)
    kept = numpy_to_vtk(np.maximum(first, second), deep=True)
    body.GetPointData().SetScalars(kept)
    clip, flat = vtkClipPolyData(), vtkTriangleFilter()
    clip.SetInputData(body)
    clip.SetValue(0.0)
    flat.SetInputConnection(clip.GetOutputPort())
    flat.Update()
    vertices, triangles = _largest_piece(*arrays(flat.GetOutput()))
    loops = _open_loops(triangles)
    if loops is None or not loops:
        return None
    edge = np.cross(inwards, sideways)
    edge /= np.linalg.norm(edge)
    across = np.cross(edge, inwards)  # along the first plane, away from the corner
    across = across if across @ sideways < 0 else -across
    rise = np.cross(edge, sideways)  # along the second one
    rise = rise if rise @ inwards < 0 else -rise
    corner = np.linalg.lstsq(np.stack([inwards, sideways, edge]), [point @ inwards, beside @ sideways, 0], rcond=None)[
        0
    ]
    caps = []
    for loop in loops:
        to = vertices[loop] - corner
        on_first = np.abs(to @ inwards) < np.abs(to @ sideways)
        unfolded = np.stack([to @ edge, np.where(on_first, to @ across, -(to @ rise))], axis=1)
        cap = _filled(unfolded)
        if cap is None:
            return None
        caps.append(np.asarray(loop)[cap])
    mesh = vertices, np.concatenate([triangles, *caps])
    fresh = np.unique(np.concatenate(caps))
    near = np.isin(mesh[1], fresh).any(axis=1)
    clean = open_edges(mesh[1]) == 0 and len(crossing_triangles(vertices, mesh[1][near])) == 0
    return mesh if clean else None


def _largest_piece(vertices: np.ndarray, triangles: np.ndarray) -> Mesh:
    tail, head = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    joined = coo_array((np.ones(len(tail)), (tail, head)), shape=(len(vertices),) * 2)
    _, piece = connected_components(joined, directed=False)
    largest = np.bincount(piece[triangles[:, 0]]).argmax()
    used, triangles = np.unique(triangles[piece[triangles[:, 0]] == largest], return_inverse=True)
    return vertices[used], triangles.reshape(-1, 3)


def _open_loops(triangles: np.ndarray) -> list[list[int]] | None:
    """The rims of a mesh's holes, each against its triangles' sense; None where rims touch."""
    tail, head = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    count = triangles.max() + 1
    alone = ~np.isin(tail * count + head, head * count + tail)
    rims = dict(zip(head[alone].tolist(), tail[alone].tolist(), strict=True))
    if len(rims) != np.count_nonzero(alone):
        return None
    loops = []
    while rims:
        start, following = rims.popitem()
        loop = [start]
        while following != start:
            loop.append(following)
            following = rims.pop(following)
        loops.append(loop)
    return loops


def _filled(outline: np.ndarray) -> np.ndarray | None:
    """Triangles (T, 3) over a simple polygon (N, 2), in its own sense; None where it is none."""
    polygon = vtkPolygon()
    polygon.GetPoints().SetNumberOfPoints(len(outline))
    polygon.GetPointIds().SetNumberOfIds(len(outline))
    for number, (x, y) in enumerate(outline):
        polygon.GetPoints().SetPoint(number, x, y, 0.0)
        polygon.GetPointIds().SetId(number, number)
    corner_ids = vtkIdList()
    if not polygon.EarCutTriangulation(corner_ids):
        return None
    triangles = np.array([corner_ids.GetId(k) for k in range(corner_ids.GetNumberOfIds())]).reshape(-1, 3)
    corners = outline[triangles]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    turned = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    around = np.roll(outline, -1, axis=0)
    sense = np.sum(outline[:, 0] * around[:, 1] - around[:, 0] * outline[:, 1])
    wrong = turned * sense < 0
    triangles[wrong] = triangles[wrong][:, ::-1]
    return triangles
