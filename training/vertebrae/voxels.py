"""Which voxels lie in a closed mesh."""

from __future__ import annotations

import numpy as np

from DualFaceReconLib.meshes import Mesh, polydata

ROOM = 2  # voxels around a mesh


def inside_of(mesh: Mesh, voxel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Whether voxels' centres lie in a mesh, bool [R, A, S] around it, and the first centre (3,) mm."""
    vertices, _ = mesh
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    first = low - ROOM * voxel_mm
    count = np.ceil((high - first) / voxel_mm).astype(int) + ROOM + 1
    return inside_on_grid(mesh, first, count, voxel_mm), first


def inside_on_grid(mesh: Mesh, first: np.ndarray, count: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Whether the centres of a grid lie in a closed mesh, bool [R, A, S]; its first centre (3,) mm, `count` (3,)."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkImagingStencil import vtkImageStencilToImage, vtkPolyDataToImageStencil

    stencil = vtkPolyDataToImageStencil()
    stencil.SetInputData(polydata(*mesh))
    stencil.SetOutputOrigin(*map(float, first))
    stencil.SetOutputSpacing(voxel_mm, voxel_mm, voxel_mm)
    stencil.SetOutputWholeExtent(0, int(count[0]) - 1, 0, int(count[1]) - 1, 0, int(count[2]) - 1)
    stencil.SetTolerance(0)
    image = vtkImageStencilToImage()
    image.SetInputConnection(stencil.GetOutputPort())
    image.SetInsideValue(1)
    image.SetOutsideValue(0)
    image.SetOutputScalarTypeToUnsignedChar()
    image.Update()
    values = vtk_to_numpy(image.GetOutput().GetPointData().GetScalars())
    return values.reshape(tuple(count), order="F").astype(bool)
