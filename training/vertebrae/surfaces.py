"""A volume's surface in its cube: what is denser than a threshold, and what that encloses."""

from __future__ import annotations

import numpy as np

from DualFaceReconLib.backprojection import Cube
from DualFaceReconLib.meshes import Mesh
from DualFaceReconLib.vertebra.bone import solid
from training.vertebrae.films import Grid

__all__ = ["solid", "surface_of"]


def surface_of(hu: np.ndarray, threshold_hu: float, grid: Grid) -> Mesh | None:
    """The outer surface of what is bone, mm from the cube's middle; None where there is none."""
    from DualFaceReconLib.vertebra.surface import outer_surface  # networks learn where there is no VTK

    cube = Cube((0.0, 0.0, 0.0), grid.side, grid.voxel_mm)
    return outer_surface(hu, solid(hu, threshold_hu), threshold_hu, cube)
