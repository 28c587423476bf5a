"""Small things in a body that no mesh is made for: what they add to a ray's way through bone, muscle or gas.

Each is an ellipse across the view from the front, so that many of them cost little.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """An ellipse of matter that is added to what rays meet there, or taken from it."""

    material: str  # "bone", "muscle" or "gas", which takes muscle's place
    centre: tuple[float, float, float]  # RAS mm
    half: tuple[float, float]  # half axes across (R) and along the body (S), mm
    thickness_mm: float  # at its thickest; below 0 it is taken away
    turn: float = 0.0  # radians, from R towards S
    # "dome", as of a ball; "soft", without an edge; "shell", dense at its outline; "arc", the upper part of a shell
    # and "lace", a soft one with holes of a few mm, which `seed` places
    shape: str = "dome"
    seed: int = 0
