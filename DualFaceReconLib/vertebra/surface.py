"""A vertebra's volume -> its surface, and how sure that is.

mesh = vertebra_surface(volume_hu, threshold_hu, cube)
std_mm = spread_mm(mesh[0], volume_hu, passes, threshold_hu, cube)
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D, vtkWindowedSincPolyDataFilter

from DualFaceReconLib.backprojection import Cube
from DualFaceReconLib.meshes import Mesh, arrays, polydata, volume_mm3
from DualFaceReconLib.vertebra.bone import whole_bone

SMOOTHINGS, PASS_BAND = 15, 0.1  # steps of voxels go, a ball of 15 mm keeps its radius within 0.05 mm
MOST_APART_VOXELS = 4.0  # of a pass from the volume; farther on a slope in HU says nothing of a distance


def outer_surface(hu: np.ndarray, inside: np.ndarray, threshold_hu: float, cube: Cube) -> Mesh | None:
    """Where HU cross the threshold around what is inside, outward, closed at the cube's ends; None where nothing is."""
    hu = np.where(inside, np.maximum(hu, threshold_hu + 1), hu)
    image = vtkImageData()
    image.SetDimensions(*(side + 2 for side in hu.shape))
    image.SetSpacing(*[cube.voxel_mm] * 3)
    image.SetOrigin(*(axis[0] - cube.voxel_mm for axis in cube.axes()))
    closed = np.pad(hu, 1, constant_values=min(0.0, threshold_hu - 1))
    image.GetPointData().SetScalars(numpy_to_vtk(closed.ravel(order="F"), deep=True))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, threshold_hu)
    edges.ComputeNormalsOff()
    edges.Update()
    if not edges.GetOutput().GetNumberOfPolys():
        return None
    vertices, triangles = arrays(edges.GetOutput())
    return vertices, triangles if volume_mm3(vertices, triangles) > 0 else np.ascontiguousarray(triangles[:, ::-1])


def vertebra_surface(hu: np.ndarray, threshold_hu: float, cube: Cube, bone: np.ndarray | None = None) -> Mesh | None:
    """The largest bone in a cube, smoothed; outward triangles, RAS mm. None where there is none.

    `bone`: its `whole_bone`, where that is known.
    """
    bone = whole_bone(hu, threshold_hu, cube.voxel_mm) if bone is None else bone
    alone = np.where(bone | (hu <= threshold_hu), hu, threshold_hu - 1)  # other parts go
    surface = outer_surface(alone, bone, threshold_hu, cube)
    return None if surface is None else smoothed(surface)


def smoothed(mesh: Mesh) -> Mesh:
    """Without the steps of its voxels, and of the same size."""
    even = vtkWindowedSincPolyDataFilter()
    even.SetInputData(polydata(*mesh))
    even.SetNumberOfIterations(SMOOTHINGS)
    even.SetPassBand(PASS_BAND)
    even.NormalizeCoordinatesOn()
    even.Update()
    return arrays(even.GetOutput())


def spread_mm(vertices: np.ndarray, hu: np.ndarray, passes: np.ndarray, threshold_hu: float, cube: Cube) -> np.ndarray:
    """(V,) how far the surface of single passes (P, side, side, side) lies from a volume's, root mean square.

    By how much denser or less dense they are there, over how fast the volume's density falls.
    """
    at = cube.indices(vertices).T
    slopes = [map_coordinates(part, at, order=1, mode="nearest") for part in np.gradient(hu, cube.voxel_mm)]
    steepness = np.linalg.norm(slopes, axis=0)
    over = [map_coordinates(one, at, order=1, mode="nearest") - threshold_hu for one in passes]
    most = MOST_APART_VOXELS * cube.voxel_mm
    apart = np.abs(np.array(over)) / np.maximum(steepness, 1e-6)
    return np.sqrt(np.mean(np.minimum(apart, most) ** 2, axis=0))
