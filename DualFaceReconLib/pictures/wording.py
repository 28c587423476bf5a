"""What bones and measurements are called where people read of them."""

from __future__ import annotations

from DualFaceReconLib.bonemaps import kind_and_side
from DualFaceReconLib.measurements import Measurement

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
