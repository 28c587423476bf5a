"""How unlike each other virtual patients' bones are, and femora that are turned and bent as people's are.

    bent = bent_femur(femur, marks, torsion_deg=8, neck_shaft_deg=-5)

Mixtures of people are more alike than people: without more, torsion, neck-shaft angle and offset of virtual femora vary
by 60 % of what is published (PATIENTS.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from DualFaceReconLib.meshes import unit
from DualFaceReconLib.shape.shapemodel import Landmark

# Parts of the way from the condyles to the head's centre
SHAFT = (0.4, 0.7)  # two sections through which the shaft's axis goes
TWISTED = (0.3, 0.8)  # where the shaft is twisted, below the lesser trochanter
SECTION = 0.03  # half the thickness of a section
# Mm along the neck, from its middle to the head: what lies before bends not, what lies behind as a whole
NECK_BENDS_MM = (-22.0, 4.0)


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """What varies beside the mixture; all are standard deviations."""

    one_size: bool  # of both femora, where else each has its socket's
    shared: float  # of the coefficients of a model's modes, of both sides
    own: float  # and of each side
    torsion_deg: float = 0.0  # of a person's femora
    neck_shaft_deg: float = 0.0
    own_share: float = 0.3  # of the two before, what each side has on its own


SHAPES = {
    "usual": Shapes(one_size=False, shared=0.35, own=0.12),  # of all frozen films
    "one-size": Shapes(one_size=True, shared=0.35, own=0.12),
    # With what mixtures bring, neck-shaft angles vary by 7 degrees and torsion by 9. Published are 5.7 and 9.6, by the
    # quartiles of 1070 CTs (Hartel et al., PLoS ONE 11:e0149480, 2016), and 7.4 (Noble, see plausibility.py)
    "wide": Shapes(one_size=True, shared=0.5, own=0.15, torsion_deg=7.0, neck_shaft_deg=4.5),
}


def bent_sides(
    femur: np.ndarray, marks: Mapping[str, Landmark], shapes: Shapes, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A person's two femora (W, 3) in left form, of one: turned and bent, the two by nearly as much."""
    if not (shapes.torsion_deg or shapes.neck_shaft_deg):
        return femur, femur
    spread = np.array([shapes.torsion_deg, shapes.neck_shaft_deg])
    shared = rng.normal(size=2)
    left, right = (
        bent_femur(femur, marks, *(spread * (shared + shapes.own_share * rng.normal(size=2)))) for _ in range(2)
    )
    return left, right


def bent_femur(
    femur: np.ndarray, marks: Mapping[str, Landmark], torsion_deg: float, neck_shaft_deg: float
) -> np.ndarray:
    """A femur (W, 3) in left form with another torsion and another angle between neck and shaft; condyles stay.

    Larger `torsion_deg` turn the head forwards, larger `neck_shaft_deg` lift it.
    """
    head = marks["femoral_head_centre"].place(femur)
    knee = (marks["medial_condyle_distal"].place(femur) + marks["lateral_condyle_distal"].place(femur)) / 2
    way = head - knee
    part = (femur - knee) @ way / (way @ way)
    low, high = (femur[np.abs(part - at) < SECTION].mean(axis=0) for at in SHAFT)
    shaft = unit(high - low)
    neck = marks["femoral_neck_centre"].place(femur)
    along = unit(head - neck)
    bends = np.cross(shaft, along)  # about which the head is lifted
    before, behind = NECK_BENDS_MM
    lifted = _smooth_step(((femur - neck) @ along - before) / (behind - before))
    bent = _turned(femur, neck + before * along, -unit(bends) * np.radians(neck_shaft_deg), lifted)
    below, above = TWISTED
    return _turned(bent, low, shaft * np.radians(torsion_deg), _smooth_step((part - below) / (above - below)))


def _turned(points: np.ndarray, centre: np.ndarray, turn: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Points (N, 3) turned about a centre by shares (N,) of a rotation vector in radians."""
    return Rotation.from_rotvec(share[:, None] * turn).apply(points - centre) + centre


def _smooth_step(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)
