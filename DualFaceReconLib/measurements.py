"""What is measured on a reconstruction, each with how sure it is.

Every length is proportional to how far from the source the bones were. The uncertainty of that distance is therefore a
share of every length, and is part of each `std` together with the bone's own uncertainty. For areas and volumes, the
share of the distance is all that is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkPolyData

from DualFaceReconLib.bonemaps import BoneMaps, bounding_window
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import area_mm2, point_data, volume_mm3
from DualFaceReconLib.shape.completion import Completion
from DualFaceReconLib.surfaces import observed_triangles

Place = tuple[float, float, float]
SPHERES = {"femoral_head_centre": "femoral_head_diameter", "acetabular_centre": "acetabular_diameter"}
ACROSS = (  # landmarks of the left and the right bone, and what is between them
    ("hip", "acetabular_centre", "distance_of_hip_centres"),
    ("hip", "asis", "distance_of_anterior_superior_iliac_spines"),
)


@dataclass(frozen=True)
class Measurement:
    """A value and one standard deviation of it, None where nothing is known of that."""

    value: float
    unit: str
    std: float | None = None

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.value:.1f}{unit}" if self.std is None else f"{self.value:.1f} +- {self.std:.1f}{unit}"


def relative_spread(geometry: ProjectionGeometry) -> float:
    """One standard deviation of every length, as a share of it, from the uncertainty of the bones' distance."""
    came_from = geometry.provenance["object_distance_mm"]
    if came_from.spread is None or geometry.object_distance_mm is None:
        return 0.0
    if geometry.lengths_are_calibrated:
        return 0.0
    return came_from.spread / (geometry.sdd_mm - geometry.object_distance_mm)


def of_bone(
    bone: str,
    maps: BoneMaps,
    geometry: ProjectionGeometry,
    observed: vtkPolyData,
    completion: Completion | None,
    kept: vtkPolyData | None,
    spread: float,
) -> dict[str, Measurement]:
    """Of one bone: how much was seen, how well the completed bone fits that, and its size.

    `kept` is the completed bone as it goes into the result: what is cut off a femur is no part of any of them.
    """
    area = (area_mm2(*observed_triangles(observed)) if completion is None else completion.observed_mm2) / 100
    measured = {"observed_area": Measurement(area, "cm2", _by_distance(area, 2, spread))}
    if maps.back is not None:
        envelope = envelope_mm3(maps, bone, geometry) / 1000
        measured["envelope_volume"] = Measurement(envelope, "cm3", _by_distance(envelope, 3, spread))
    if completion is None or kept is None:
        return measured
    seen, distance_mm, std_mm = (point_data(kept, name) for name in ("seen", "distance_mm", "std_mm"))
    seen = seen > 0
    measured["share_seen"] = Measurement(100 * float(seen.mean()), "%")
    if seen.any():
        measured["distance_to_observed"] = Measurement(float(distance_mm[seen].mean()), "mm")
        measured["certainty_where_seen"] = Measurement(root_mean_square(std_mm[seen]), "mm")
    if not seen.all():
        measured["certainty_where_inferred"] = Measurement(root_mean_square(std_mm[~seen]), "mm")
    if completion.bone == "hip":  # a femur's shaft goes on beyond the film
        volume = volume_mm3(completion.vertices, completion.triangles) / 1000
        measured["volume"] = Measurement(volume, "cm3", _by_distance(volume, 3, spread))
    for landmark, name in SPHERES.items():
        if landmark in completion.radii_mm:
            measured[name] = diameter(completion, landmark, spread)
    if geometry.provenance["object_distance_mm"].spread is not None:
        measured["certainty_with_distance"] = Measurement(root_mean_square(point_data(kept, "total_std_mm")), "mm")
    return measured


def diameter(completion: Completion, landmark: str, spread: float) -> Measurement:
    """Of the sphere that a landmark is the centre of; `spread` is that of all lengths, as `relative_spread` has it."""
    radius = completion.radii_mm[landmark]
    std = _near(completion, completion.landmarks[landmark], 1.5 * radius)
    return Measurement(2 * radius, "mm", math.hypot(2 * radius * spread, std))


def of_pelvis(
    landmarks: Mapping[str, Mapping[str, Place]], completions: Mapping[str, Completion], spread: float
) -> dict[str, Measurement]:
    """Between bones of both sides."""
    measured = {}
    for kind, landmark, name in ACROSS:
        sides = [f"{kind}_left", f"{kind}_right"]
        if all(landmark in landmarks.get(side, {}) for side in sides):
            places = [np.array(landmarks[side][landmark]) for side in sides]
            between = float(np.linalg.norm(places[0] - places[1]))
            own = math.hypot(
                *(_near(completions[side], place, 30.0) for side, place in zip(sides, places, strict=True))
            )
            measured[name] = Measurement(between, "mm", math.hypot(between * spread, own))
    return measured


def envelope_mm3(maps: BoneMaps, bone: str, geometry: ProjectionGeometry) -> float:
    """The volume between every ray's first entry and last exit: larger than the bone's, as hollows are filled."""
    assert maps.back is not None
    number = maps.bones.index(bone)
    window = bounding_window(maps.mask[number])
    own = maps.mask[number][window]
    front, back = (depth[number][window][own].astype(np.float64) for depth in (maps.front, maps.back))
    per_depth2 = math.prod(geometry.pixel_size_at(1.0))  # mm2 that a pixel covers at 1 mm
    return float((back**3 - front**3).sum() / 3 * per_depth2)


def _by_distance(value: float, power: int, spread: float) -> float | None:
    """One standard deviation of an area or a volume from the bones' distance; None where that adds nothing."""
    return power * spread * value if spread else None


def _near(completion: Completion, place: np.ndarray, reach_mm: float) -> float:
    """How sure the bone's surface is around a place, mm."""
    near = np.linalg.norm(completion.vertices - place, axis=1) < reach_mm
    return root_mean_square(completion.std_mm[near]) if near.any() else float(completion.std_mm.max())


def root_mean_square(values: np.ndarray) -> float:
    """Of standard deviations: the one of a vertex drawn at random."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
