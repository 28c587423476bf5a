"""Meshes whose shape is known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vtkmodules.vtkFiltersSources import vtkSphereSource
from vtkmodules.vtkIOPLY import vtkPLYWriter

from DualFaceReconLib.meshes import Mesh, arrays, polydata


def ball(centre: Sequence[float], radius: float, resolution: int = 60) -> Mesh:
    """A sphere of so many meridians and parallels."""
    source = vtkSphereSource()
    source.SetThetaResolution(resolution)
    source.SetPhiResolution(resolution)
    source.SetRadius(radius)
    source.Update()
    vertices, triangles = arrays(source.GetOutput())
    return vertices + centre, triangles


def write_ply(mesh: Mesh, path: Path) -> None:
    """A mesh as the sets of bones have them."""
    writer = vtkPLYWriter()
    writer.SetInputData(polydata(*mesh))
    writer.SetFileName(str(path))
    writer.Write()
