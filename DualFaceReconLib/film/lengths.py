"""A known length in the picture, a scale bar or a ruler: at the detector it tells the pixels' pitch, at the bones more.

At the bones it says how much detector a millimetre of them covers: with the pitch that is their distance, with the
distance the pitch. A bar that was burnt into the picture lies at the detector, a ruler beside the patient at the bones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.geometry import Provenance

PLACES = ("detector", "bones")
LIMITS_MM = (5.0, 1000.0)
LEAST_PX = 20.0  # shorter ones cannot be marked well enough
MARKED_PX = 1.5  # standard deviation of a marked end
BESIDE_BONES_MM = 15.0  # our estimate: a ruler is laid about as deep as the hip joint
OF_LENGTH = "a length of"  # how the provenance of what it tells begins


@dataclass(frozen=True, kw_only=True)
class Length:
    """Two places in the displayed picture, how far they are apart in truth, and where that holds."""

    first_row: float
    first_col: float
    last_row: float
    last_col: float
    length_mm: float
    at: Literal["detector", "bones"]

    def __post_init__(self) -> None:
        if self.at not in PLACES:
            raise Refusal(f"A length is at the detector or at the bones, not at {self.at!r}.", "length-impossible")
        low, high = LIMITS_MM
        if not low <= self.length_mm <= high:
            raise Refusal(
                f"A length of {self.length_mm:g} mm cannot be marked in a film: give one of {low:g} to {high:g} mm.",
                "length-impossible",
            )
        if not self.length_px >= LEAST_PX:
            raise Refusal(
                f"The two ends of the length are {self.length_px:.0f} pixels apart: mark a longer one, "
                f"of at least {LEAST_PX:g} pixels.",
                "length-impossible",
            )

    @property
    def length_px(self) -> float:
        return math.hypot(self.last_row - self.first_row, self.last_col - self.first_col)

    def length_at_detector_mm(self, pixel_pitch_mm: tuple[float, float]) -> float:
        """Of its shadow."""
        across = (
            (self.last_row - self.first_row) * pixel_pitch_mm[0],
            (self.last_col - self.first_col) * pixel_pitch_mm[1],
        )
        return math.hypot(*across)

    def check_within(self, size_px: tuple[int, int]) -> None:
        """Refusal where it is not in a picture of so many rows and columns."""
        rows, cols = (self.first_row, self.last_row), (self.first_col, self.last_col)
        if not (min(rows) >= 0 and max(rows) < size_px[0] and min(cols) >= 0 and max(cols) < size_px[1]):
            raise Refusal(
                f"The length's ends are not in the picture of {size_px[0]} x {size_px[1]} pixels: give row and column "
                "of both.",
                "length-impossible",
            )

    def pitch_mm(self, magnification: float) -> tuple[float, float]:
        """[row, col] of square pixels at the detector, by how much larger its shadow is than itself."""
        pitch = self.length_mm * magnification / self.length_px
        return pitch, pitch

    def depth_mm(self, sdd_mm: float, pixel_pitch_mm: tuple[float, float]) -> float:
        """From the source, by the size of its shadow."""
        return sdd_mm * self.length_mm / self.length_at_detector_mm(pixel_pitch_mm)

    def provenance(self, what: str, depth_mm: float) -> Provenance:
        """Of a distance that it tells, with its spread."""
        marked = depth_mm * MARKED_PX * math.sqrt(2) / self.length_px
        return Provenance("derived", f"{self}: {what}", math.hypot(BESIDE_BONES_MM, marked))

    def __str__(self) -> str:
        return f"{OF_LENGTH} {self.length_mm:g} mm at the {self.at} that is {self.length_px:.0f} px long in the picture"


def from_length(provenance: Provenance) -> bool:
    """Whether a marked length told a value."""
    return provenance.source.startswith(OF_LENGTH)
