"""The surface of a vertebra in a volume: of what is denser than a threshold and of what that encloses."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_fill_holes

from DualFaceReconLib.backprojection import Cube
from DualFaceReconLib.meshes import Mesh
from training.vertebrae.films import Grid


def solid(hu: np.ndarray, threshold_hu: float) -> np.ndarray:
    """What is denser than a threshold, and what that encloses: the marrow of a body is not denser than many things."""
    return binary_fill_holes(hu > threshold_hu)


def surface_of(hu: np.ndarray, threshold_hu: float, grid: Grid) -> Mesh | None:
    """The outer surface of what is bone, mm from the cube's middle; None where there is none."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

    from DualFaceReconLib.meshes import arrays

    hu = np.where(solid(hu, threshold_hu), np.maximum(hu, threshold_hu + 1), hu)
    first = Cube((0.0, 0.0, 0.0), grid.side, grid.voxel_mm).axes()[0][0] - grid.voxel_mm
    image = vtkImageData()
    image.SetDimensions(*(side + 2 for side in hu.shape))
    image.SetSpacing(*[grid.voxel_mm] * 3)
    image.SetOrigin(*[first] * 3)
    image.GetPointData().SetScalars(numpy_to_vtk(np.pad(hu, 1).ravel(order="F"), deep=True))  # closed at its ends
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, threshold_hu)
    edges.ComputeNormalsOff()
    edges.Update()
    if edges.GetOutput().GetNumberOfPolys() == 0:
        return None
    return arrays(edges.GetOutput())
