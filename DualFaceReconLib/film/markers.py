"""A ball of known diameter in the picture, a calibration ball or an implant's head, tells how far the bones were."""

from __future__ import annotations

import math
from dataclasses import dataclass

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import GIVEN_BY_USER
from DualFaceReconLib.film.lengths import from_length
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.geometry import Provenance

# A head lies, and a ball is put, about as deep as the hip joint, which is not quite the centre of all bones' surfaces.
SPREAD_MM = 15.0  # our estimate: less than half of a femoral head's diameter
DIAMETER_LIMITS_MM = (5.0, 80.0)
CONTRADICTING = 3.0  # standard deviations between a ball's and a length's distance


@dataclass(frozen=True, kw_only=True)
class Marker:
    """A round shadow in the displayed picture, and what threw it."""

    row: float
    col: float
    diameter_px: float
    diameter_mm: float


def with_marker(radiograph: Radiograph, marker: Marker) -> Radiograph:
    """The film with its bones as far from the detector as the marked ball."""
    geometry = radiograph.geometry
    rows, cols = geometry.size_px
    low, high = DIAMETER_LIMITS_MM
    if geometry.provenance.get("object_distance_mm") == GIVEN_BY_USER:
        raise Refusal("Both a distance and a ball are given: leave one of them out.")
    if not (0 <= marker.row < rows and 0 <= marker.col < cols and 0 < marker.diameter_px < max(rows, cols)):
        raise Refusal(
            f"The marked ball is not in the picture of {rows} x {cols} pixels: give its row, column and size."
        )
    if not low <= marker.diameter_mm <= high:
        raise Refusal(f"A ball of {marker.diameter_mm:g} mm cannot be right: give {low:g} to {high:g} mm.")
    if geometry.lengths_are_calibrated:
        raise Refusal(
            "This film's pixels are already calibrated at the patient, so that a ball says nothing of its distance: "
            "give the detector's own pitch with {pixel_pitch_mm}, too.",
            "pixel_pitch_mm-calibrated",
        )
    distance = geometry.sdd_mm - geometry.depth_of_ball(
        (marker.row, marker.col), marker.diameter_px, marker.diameter_mm
    )
    formula = (
        f"sdd - depth of a ball of {marker.diameter_mm:g} mm that is {marker.diameter_px:g} px wide in the picture"
    )
    came_from = Provenance("derived", formula, SPREAD_MM)
    if from_length(geometry.provenance["object_distance_mm"]):
        distance, came_from = _agreed(radiograph, distance, came_from)
    try:
        return radiograph.at_object_distance(distance, came_from)
    except Refusal as refusal:
        raise Refusal(f"The marked ball would be {distance:.0f} mm from the detector: check its size.") from refusal


def _agreed(radiograph: Radiograph, distance_mm: float, came_from: Provenance) -> tuple[float, Provenance]:
    """The weighted mean of a ball's distance and of that by a length; Refusal where they contradict each other."""
    other, other_from = radiograph.geometry.object_distance_mm, radiograph.geometry.provenance["object_distance_mm"]
    if abs(other - distance_mm) > CONTRADICTING * math.hypot(other_from.spread, came_from.spread):
        raise Refusal(
            f"The marked ball puts the bones {distance_mm:.0f} mm from the detector and the marked length "
            f"{other:.0f} mm: check their sizes, and leave one of them out.",
            "marks-contradict",
        )
    weights = [1 / came_from.spread**2, 1 / other_from.spread**2]
    mean = (weights[0] * distance_mm + weights[1] * other) / sum(weights)
    return mean, Provenance(
        "derived", f"weighted mean of {other_from.source}, and {came_from.source}", sum(weights) ** -0.5
    )
