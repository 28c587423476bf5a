"""Cuts off what was never seen of a completed femur's shaft and knee: a film of the hip does not show them."""

from __future__ import annotations

import numpy as np
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkPlane, vtkPlaneCollection, vtkPolyData
from vtkmodules.vtkFiltersCore import vtkCleanPolyData, vtkTriangleFilter
from vtkmodules.vtkFiltersGeneral import vtkClipClosedSurface

from DualFaceReconLib.meshes import point_data

MARGIN_MM = 5.0  # kept below the last vertex that was seen
LAST_SEEN_PERCENT = 1.0  # of the seen vertices may lie further down: stray ones do not keep a shaft
FEWEST_SEEN = 20  # vertices; with fewer there is no telling where to cut


def without_unseen_shaft(femur: vtkPolyData) -> vtkPolyData:
    """The mesh, closed, cut across its own long axis just below what was seen; point data go on."""
    points = vtk_to_numpy(femur.GetPoints().GetData()).astype(np.float64)
    seen = point_data(femur, "seen") > 0
    if np.count_nonzero(seen) < FEWEST_SEEN:
        return femur
    up = long_axis(points)
    height = points @ up
    lowest = float(np.percentile(height[seen], LAST_SEEN_PERCENT)) - MARGIN_MM
    if lowest <= height.min():
        return femur
    return _cut(femur, up * lowest, up)


def long_axis(points: np.ndarray) -> np.ndarray:
    """The direction (3,) in which a bone of vertices (V, 3) is longest, upwards."""
    axis = np.linalg.eigh(np.cov(points.T))[1][:, -1]
    return axis if axis[2] > 0 else -axis


def _cut(mesh: vtkPolyData, origin: np.ndarray, kept_side: np.ndarray) -> vtkPolyData:
    plane, planes = vtkPlane(), vtkPlaneCollection()
    plane.SetOrigin(*origin)
    plane.SetNormal(*kept_side)
    planes.AddItem(plane)
    clip = vtkClipClosedSurface()
    clip.SetInputData(mesh)
    clip.SetClippingPlanes(planes)
    clip.PassPointDataOn()
    triangles = vtkTriangleFilter()
    triangles.SetInputConnection(clip.GetOutputPort())
    triangles.PassLinesOff()
    triangles.PassVertsOff()
    clean = vtkCleanPolyData()
    clean.SetInputConnection(triangles.GetOutputPort())
    clean.PointMergingOn()
    clean.ConvertPolysToLinesOff()
    clean.Update()
    return clean.GetOutput()
