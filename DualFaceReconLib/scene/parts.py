"""What stands in a Slicer scene besides volumes and bones, as plain values: codes, frustum, camera, table, lines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkImageData, vtkPolyData
from vtkmodules.vtkCommonMath import vtkMatrix4x4
from vtkmodules.vtkFiltersCore import vtkPolyDataNormals

from DualFaceReconLib.bonemaps import BoneMaps, kind_and_side
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.measurements import ACROSS, SPHERES, Measurement
from DualFaceReconLib.outcome import Reconstruction
from DualFaceReconLib.pictures.wording import UNITS, bone_words, words

Place = tuple[float, float, float]
KINDS = {"hip": "SCT^29836001^Hip", "femur": "SCT^71341001^Femur"}  # hip bones as TotalSegmentator codes them
SIDES = {"left": "SCT^7771000^Left", "right": "SCT^24028007^Right"}
TERMINOLOGY = "TerminologyEntry"  # the attribute and the segments' tag that hold codes
ROOM_AROUND_FILM = 1.04  # of the camera's view


@dataclass(frozen=True, kw_only=True)
class Camera:
    """From where 3D views look."""

    position: Place  # RAS mm
    focal_point: Place  # RAS mm
    view_up: Place
    view_angle_deg: float  # from the view's lower to its upper edge


@dataclass(frozen=True)
class Line:
    """A measurement between two places, RAS mm."""

    name: str
    ends: tuple[Place, Place]
    measured: Measurement
    bone: str = ""  # none where it runs between two


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A line of the table of measurements; `std` is NaN where nothing is known of it."""

    bone: str
    measurement: str
    value: float
    std: float
    unit: str


def terminology(bone: str) -> str:
    """A bone's codes as Slicer's Terminologies module writes them."""
    kind, side = kind_and_side(bone)
    return "~".join(
        (
            "Segmentation category and type - DICOM master list",
            "SCT^123037004^Anatomical Structure",
            KINDS[kind],
            SIDES[side],
            "Anatomic codes - DICOM master list",
            "^^",
            "^^",
        )
    )


def entered_first(maps: BoneMaps) -> np.ndarray:
    """(rows, cols) float32 mm, the depth at which a ray first enters any bone; 0 where it meets none."""
    nearest = np.where(maps.mask, maps.front, np.inf).min(axis=0)
    return np.where(np.isfinite(nearest), nearest, 0).astype(np.float32)


def left_last(maps: BoneMaps) -> np.ndarray:
    """(rows, cols) float32 mm, the depth at which a ray leaves the last bone; 0 where it meets none."""
    assert maps.back is not None
    return np.where(maps.mask, maps.back, 0).max(axis=0).astype(np.float32)


def rig_lines(geometry: ProjectionGeometry) -> dict[str, vtkPolyData]:
    """The source, the central ray and the frustum as points and thin lines, RAS mm.

    Markups would be balls and tubes, and a camera at the source would look at them from the inside.
    """
    corners = np.vstack([geometry.source, geometry.detector_corners])
    spokes, edges = [(0, i) for i in range(1, 5)], [(1, 2), (2, 3), (3, 4), (4, 1)]
    return {
        "source": _drawn(geometry.source[None], [(0,)]),
        "central_ray": _drawn(np.vstack([geometry.source, np.zeros(3)]), [(0, 1)]),
        "frustum": _drawn(corners, spokes + edges),
    }


def _drawn(places: np.ndarray, cells: Sequence[Sequence[int]]) -> vtkPolyData:
    """Points (N, 3) mm; cells of one point are drawn as such, those of two as lines."""
    points, verts, lines = vtkPoints(), vtkCellArray(), vtkCellArray()
    points.SetData(numpy_to_vtk(places, deep=True))
    for cell in cells:
        (verts if len(cell) == 1 else lines).InsertNextCell(len(cell), cell)
    drawn = vtkPolyData()
    drawn.SetPoints(points)
    drawn.SetVerts(verts)
    drawn.SetLines(lines)
    return drawn


def camera_at_source(geometry: ProjectionGeometry) -> Camera:
    """It looks at the film's middle, all of which a square view sees.

    From the source, bones cover their shadows whichever way a camera looks.
    """
    corners = geometry.detector_corners
    middle = corners.mean(axis=0)
    ahead = middle - geometry.source
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    spokes = corners - geometry.source
    tangents = [np.abs(spokes @ axis) / (spokes @ ahead) for axis in (right, np.cross(right, ahead))]
    angle = 2 * math.degrees(math.atan(ROOM_AROUND_FILM * np.max(tangents)))
    return Camera(
        position=tuple(geometry.source), focal_point=tuple(middle), view_up=(0.0, 0.0, 1.0), view_angle_deg=angle
    )


def angle_in_view(angle_deg: float, width_by_height: float) -> float:
    """The view's angle from top to bottom, as cameras have it, that shows `angle_deg` from side to side as well."""
    return 2 * math.degrees(math.atan(math.tan(math.radians(angle_deg) / 2) / min(1.0, width_by_height)))


def measurement_lines(reconstruction: Reconstruction) -> Iterator[Line]:
    """The measurements that have two ends: between landmarks of both sides, and across balls, from right to left."""
    for name, bone in reconstruction.bones.items():
        for landmark, diameter in SPHERES.items():
            if landmark in bone.landmarks and diameter in bone.measurements:
                centre, measured = np.array(bone.landmarks[landmark]), bone.measurements[diameter]
                radius = np.array([measured.value / 2, 0, 0])
                yield Line(diameter, (tuple(centre + radius), tuple(centre - radius)), measured, name)
    for kind, landmark, name in ACROSS:
        ends = [
            reconstruction.bones[bone].landmarks.get(landmark)
            for bone in (f"{kind}_right", f"{kind}_left")
            if bone in reconstruction.bones
        ]
        if len(ends) == 2 and None not in ends and name in reconstruction.measurements:
            yield Line(name, (tuple(ends[0]), tuple(ends[1])), reconstruction.measurements[name])


def table_rows(reconstruction: Reconstruction) -> list[TableRow]:
    """All measurements, bone by bone, then those between bones."""
    named: list[tuple[str, Mapping[str, Measurement]]] = [
        (bone_words(name), bone.measurements) for name, bone in reconstruction.bones.items()
    ]
    named.append(("both sides", reconstruction.measurements))
    return [
        TableRow(
            bone=bone,
            measurement=words(name),
            value=measurement.value,
            std=math.nan if measurement.std is None else measurement.std,
            unit=UNITS.get(measurement.unit, measurement.unit),
        )
        for bone, measurements in named
        for name, measurement in measurements.items()
    ]


def copied(mesh: vtkPolyData) -> vtkPolyData:
    """With normals where a surface has none: without, every triangle would show."""
    copied = vtkPolyData()
    if mesh.GetNumberOfPolys() == 0 or mesh.GetPointData().GetNormals():
        copied.DeepCopy(mesh)
        return copied
    smooth = vtkPolyDataNormals()
    smooth.SetInputData(mesh)
    smooth.SplittingOff()  # points stay as they are
    smooth.ConsistencyOff()
    smooth.Update()
    copied.DeepCopy(smooth.GetOutput())
    return copied


def matrix(values: np.ndarray) -> vtkMatrix4x4:
    """(4, 4) as VTK has it."""
    matrix = vtkMatrix4x4()
    matrix.DeepCopy(values.ravel().tolist())
    return matrix


def image(pixels: np.ndarray) -> vtkImageData:
    """(rows, cols) as one slice."""
    image = vtkImageData()
    image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(pixels).ravel(), deep=True))
    return image


def shares(colour: Sequence[int]) -> tuple[float, ...]:
    """0 to 255 -> 0 to 1."""
    return tuple(int(part) / 255 for part in colour)
