"""What a hip film can be: sizes and distances outside are refused, with what to do."""

from __future__ import annotations

import math

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Known
from DualFaceReconLib.film.subject import HIPS, FilmSubject

SIDE_LIMITS_PX = (256, 10_000)
PITCH_LIMITS_MM = (0.02, 2.0)
DISTANCE_LIMITS_MM = (500.0, 3000.0)
FIELD_LIMITS_MM = (80.0, 1300.0)  # the picture's longer side: one hip alone up to a whole-leg film


def check_size(size_px: tuple[int, int]) -> None:
    """Refuses pictures too small to show a hip and too large to be one."""
    low, high = SIDE_LIMITS_PX
    if min(size_px) < low:
        raise Refusal(
            f"The picture is {size_px[0]} x {size_px[1]} pixels, which is too small to measure a bone: "
            f"use the original of at least {low} pixels a side.",
            "picture-too-small",
            size_px=tuple(size_px),
        )
    if max(size_px) > high:
        raise Refusal(
            f"The picture is {size_px[0]} x {size_px[1]} pixels, beyond the {high} a side that are read: "
            "scale it down and give the new {pixel_pitch_mm}.",
            "picture-too-large",
            size_px=tuple(size_px),
        )


def check_source_distance(sdd: Known) -> None:
    """Refuses distances from source to detector at which no hip film is taken."""
    low, high = DISTANCE_LIMITS_MM
    if not (math.isfinite(sdd.value) and low <= sdd.value <= high):
        raise Refusal(
            f"The source-detector distance of {sdd.value:g} mm ({sdd.provenance}) cannot be right: "
            f"give the true one, {low:g} to {high:g} mm, with {{sdd_mm}}.",
            "sdd_mm-implausible",
            limits_mm=DISTANCE_LIMITS_MM,
        )


def check_pitch(pitch: Known) -> None:
    """Refuses pitches [row, col] at the detector that no radiograph has."""
    low, high = PITCH_LIMITS_MM
    if not all(math.isfinite(p) and low <= p <= high for p in pitch.value) or max(pitch.value) > 2 * min(pitch.value):
        sides = " x ".join(f"{p:g}" for p in pitch.value)
        raise Refusal(
            f"A pixel pitch of {sides} mm ({pitch.provenance}) cannot be right for a radiograph: "
            f"give the true one, {low:g} to {high:g} mm, with {{pixel_pitch_mm}}.",
            "pixel_pitch_mm-implausible",
            limits_mm=PITCH_LIMITS_MM,
        )


def check_field(size_px: tuple[int, int], pitch: Known, subject: FilmSubject = HIPS) -> None:
    """Refuses a pitch with which the picture would be larger or smaller than any film of the subject."""
    longer = max(n * p for n, p in zip(size_px, pitch.value, strict=True))
    low, high = FIELD_LIMITS_MM
    if not low <= longer <= high:
        raise Refusal(
            f"With this pixel pitch ({pitch.provenance}) the picture would be {longer:.0f} mm long, which no "
            f"{subject.name} film is: was it scaled after it was taken? "
            "Give the pitch of these pixels with {pixel_pitch_mm}.",
            "pixel_pitch_mm-implausible",
            limits_mm=PITCH_LIMITS_MM,
        )
