"""Meshes whose shape is known exactly."""

from __future__ import annotations

from collections.abc import Sequence

from vtkmodules.vtkFiltersSources import vtkSphereSource

from DualFaceReconLib.meshes import Mesh, arrays


def ball(centre: Sequence[float], radius: float, resolution: int = 60) -> Mesh:
    """A sphere of so many meridians and parallels."""
    source = vtkSphereSource()
    source.SetThetaResolution(resolution)
    source.SetPhiResolution(resolution)
    source.SetRadius(radius)
    source.Update()
    vertices, triangles = arrays(source.GetOutput())
    return vertices + centre, triangles
