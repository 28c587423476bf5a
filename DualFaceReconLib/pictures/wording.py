"""What bones, measurements and controls are called where people read of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from DualFaceReconLib.bonemaps import kind_and_side

if TYPE_CHECKING:
    from DualFaceReconLib.measurements import Measurement

# By the names of `errors.CONSOLE`: what the terminal calls a control, and the panel, as it stands in its labels
TERMINAL = {
    "pixel_pitch_mm": "--pixel-pitch",
    "sdd_mm": "--sdd",
    "object_distance_mm": "--object-distance",
    "view": "--view {}",
    "swap_sides": "--swap-sides",
    "invert": "--invert",
    "field_px": "--field",
    "overwrite": "--overwrite",
    "different_ids": "--different-ids",
    "bundles": "`dualface models list`",
    "fetch": "`dualface models fetch {}`",
}
PANEL = {
    "pixel_pitch_mm": "“Pixel pitch”",
    "sdd_mm": "“Source to detector”",
    "object_distance_mm": "“Detector to bones”",
    "view": "“View” {}",
    "swap_sides": "“Swap sides”",
    "invert": "“Bone is dark in this film”",
    "field_px": "“Exposed field”",
    "overwrite": "“Replace”",
    "different_ids": "“Files name different patients”",
    "bundles": "“Bundle”",
    "fetch": "press “Fetch...”",
}
UNITS = {"cm2": "cm²", "cm3": "cm³"}


def bone_words(bone: str) -> str:
    """`hip_left` -> left hemipelvis."""
    kind, side = kind_and_side(bone)
    return f"{side} {'hemipelvis' if kind == 'hip' else kind}"


def words(name: str) -> str:
    """`distance_of_hip_centres` -> distance of hip centres."""
    return name.replace("_", " ")


def measured(measurement: Measurement) -> str:
    """With its standard deviation; no line breaks inside."""
    unit = UNITS.get(measurement.unit, measurement.unit)
    spread = "" if measurement.std is None else f" ± {measurement.std:.1f}"
    return f"{measurement.value:.1f}{spread} {unit}".strip().replace(" ", "\N{NO-BREAK SPACE}")
