"""A film as a volume of the scene, at the detector's plane where the reconstruction's own film will stand.

Slicer's DICOM reader lays a radiograph into an axial plane with a spacing of its choice: so it is read by the engine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer

from DualFaceReconLib import read_radiograph
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.scene.parts import image, matrix


def film_volume(path: Path, name: str) -> Any:
    """A volume node of a film's file; the file stays its own, so that its tags are found again."""
    radiograph = read_radiograph(path)
    node = pixels_volume(radiograph.pixels, radiograph.geometry, name)
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    node.SetAndObserveStorageNodeID(storage.GetID())
    return node


def pixels_volume(pixels: np.ndarray, geometry: ProjectionGeometry, name: str) -> Any:
    """A volume node of pixels (rows, cols)."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetAndObserveImageData(image(pixels))
    node.SetIJKToRASMatrix(matrix(geometry.ijk_to_ras()))
    node.CreateDefaultDisplayNodes()
    return node
