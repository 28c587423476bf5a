"""The true bones of a CT: surfaces from labels, where the CT cuts them, and their depth maps.

A bone that the CT cuts is continued beyond the CT's end by its last slice. So its surface is right up to the end, and
no flat face closes it there; what a ray meets beyond the end lies outside the CT and does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy import ndimage
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkFiltersCore import vtkSurfaceNets3D, vtkWindowedSincPolyDataFilter

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import Mesh, arrays, volume_mm3
from training.raycast import cast
from training.xray.volume import Volume

BEYOND = 3  # voxels by which a cut bone is continued
SPECK_SHARE = 0.02  # of a bone's voxels: smaller pieces apart from it are specks, larger ones may be a fracture's
SMOOTHINGS, PASS_BAND = 20, 0.02  # of a filter that takes away voxels' steps and leaves sizes; ours, by balls
ENDS = (("right", "left"), ("anterior", "posterior"), ("inferior", "superior"))  # of a scan's columns, rows, slices


def bone_voxels(labels: np.ndarray, place: int, box: tuple[slice, ...]) -> np.ndarray:
    """Where a bone is inside its box, bool, without specks."""
    mask = labels[box] == place
    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes > SPECK_SHARE * sizes.sum())[pieces]


def surface(mask: np.ndarray, box: tuple[slice, ...], volume: Volume) -> Mesh:
    """Closed outward surface in RAS mm of a bone whose voxels in a box of the volume are `mask`."""
    shape = volume.values.shape
    touched = [(BEYOND * (part.start == 0), BEYOND * (part.stop == n)) for part, n in zip(box, shape, strict=True)]
    first = [part.start - before - 1 for part, (before, _) in zip(box, touched, strict=True)]
    mask = np.pad(np.pad(mask, touched, mode="edge"), 1)

    spacing = volume.spacing_mm
    image = vtkImageData()
    image.SetDimensions(*mask.shape[::-1])
    image.SetSpacing(*spacing)
    image.GetPointData().SetScalars(numpy_to_vtk(mask.astype(np.uint8).ravel(), deep=True))
    nets = vtkSurfaceNets3D()
    nets.SetInputData(image)
    nets.SetValue(0, 1)
    nets.SmoothingOff()  # its own shrinks a ball of 25 mm by 0.15 mm
    nets.SetOutputMeshTypeToTriangles()
    even = vtkWindowedSincPolyDataFilter()
    even.SetInputConnection(nets.GetOutputPort())
    even.SetNumberOfIterations(SMOOTHINGS)
    even.SetPassBand(PASS_BAND)
    even.NormalizeCoordinatesOn()
    even.BoundarySmoothingOff()
    even.Update()
    vertices, triangles = arrays(even.GetOutput())
    if volume_mm3(vertices, triangles) < 0:
        triangles = triangles[:, ::-1]
    return volume.to_ras(vertices / spacing + np.array(first[::-1])), np.ascontiguousarray(triangles)


def cut_ends(mask: np.ndarray, box: tuple[slice, ...], shape: tuple[int, ...]) -> list[str]:
    """At which ends of the CT it cuts a bone."""
    ends = []
    for axis, names in zip((2, 1, 0), ENDS, strict=True):
        for name, index, at_end in zip(
            names, (0, -1), (box[axis].start == 0, box[axis].stop == shape[axis]), strict=True
        ):
            if at_end and mask.take(index, axis).any():
                ends.append(name)
    return ends


def truth_maps(meshes: Mapping[str, Mesh], geometry: ProjectionGeometry, volume: Volume) -> BoneMaps:
    """First entry and last exit of every bone; no mask and no depth where either lies beyond the CT's voxels."""
    maps = cast(meshes, geometry).maps
    beyond = np.zeros_like(maps.mask)
    last = np.array(volume.values.shape[::-1]) - 0.5
    for bone, pixels in enumerate(map(np.argwhere, maps.mask)):
        at = (bone, *pixels.T)
        for face in (maps.front, maps.back):
            places = volume.to_ijk(geometry.back_project(pixels, face[at].astype(float)))
            beyond[at] |= ((places < -0.5) | (places > last)).any(axis=1)
    front, back = (np.where(beyond, np.float32(0), face) for face in (maps.front, maps.back))
    return replace(maps, mask=maps.mask & ~beyond, front=front, back=back)
