"""How pelves and legs lie or stand: the postures of which films are made.

    posture = posture_of("wide", rng)  # of one patient: lying or standing
    turn, degrees = posture.pelvis(rng)
    flexion = posture.flexion(rng)
    angles = posture.leg(rng, flexion)
    femur @ leg_turn(**angles).T
    body_turn("oblique", rng)  # degrees about the long axis, of the whole patient as posed

Angles are degrees to the table or the stand, so that legs do not follow the pelvis: tilt is the anterior pelvic
plane's, backward positive; legs turn inwards, outwards (abduction) and forwards (flexion) for positive numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from DualFaceReconLib.errors import Refusal, meant

Range = tuple[float, float, float, float]  # mean, standard deviation, least, most

STANDING_SHARE = 0.2  # of patients in the wide posture; ours


@dataclass(frozen=True, kw_only=True)
class Posture:
    """The ranges that a patient's angles are drawn from, each on its own, and each leg's on its own."""

    tilt: Range
    obliquity: Range
    rotation: Range
    leg_rotation: Range
    leg_abduction: Range
    leg_flexion: Range
    standing: bool = False
    yields_mm: float = 0.0  # how far a head may part from its socket where it touches, as heads are not quite round
    # Whether flexion stays where a leg touches the pelvis, and all else is drawn again; and a number beyond the ends is
    # drawn again, not set to the end. So nothing pulls flexion to the middle, and nothing piles up at the ends.
    keeps_flexion: bool = True

    def pelvis(self, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
        """The rotation (3, 3) of a pelvis from its own frame, and its angles in degrees."""
        tilt, obliquity, turn = (self._drawn(rng, span) for span in (self.tilt, self.obliquity, self.rotation))
        # tilted backward, the pubis comes up and forward: a turn about R that carries A towards S
        turned = Rotation.from_euler("xyz", [tilt, obliquity, turn], degrees=True).as_matrix()
        return turned, {"tilt": tilt, "obliquity": obliquity, "rotation": turn}

    def flexion(self, rng: np.random.Generator) -> float | None:
        """A leg's flexion that stays; None where it is drawn with the other angles."""
        return self._drawn(rng, self.leg_flexion) if self.keeps_flexion else None

    def leg(self, rng: np.random.Generator, flexion: float | None) -> dict[str, float]:
        """A leg's angles in degrees, about its own axis, outwards and forwards."""
        return {
            "inward": self._drawn(rng, self.leg_rotation),
            "abduction": self._drawn(rng, self.leg_abduction),
            "flexion": self._drawn(rng, self.leg_flexion) if flexion is None else flexion,
        }

    def _drawn(self, rng: np.random.Generator, span: Range) -> float:
        mean, deviation, least, most = span
        drawn = rng.normal(mean, deviation)
        while self.keeps_flexion and not least <= drawn <= most:
            drawn = rng.normal(mean, deviation)
        return float(np.clip(drawn, least, most))


# Tilt, supine: 4.2 forward, from 20.5 back to 24.5 forward in 1517 people (Pierrepont et al., Bone Joint J 99-B:184,
# 2017). Legs are to be turned 15 degrees inwards, but few are. The other spreads are ours, as films look.
USUAL = Posture(
    tilt=(-4.2, 6.5, -24.5, 20.5),
    obliquity=(0.0, 2.0, -6.0, 6.0),
    rotation=(0.0, 2.5, -8.0, 8.0),
    leg_rotation=(0.0, 13.0, -32.0, 32.0),
    leg_abduction=(3.0, 5.0, -10.0, 18.0),
    leg_flexion=(4.0, 5.0, 0.0, 25.0),  # a table leaves no extension
    keeps_flexion=False,
)
# Tilt as above; its deviation is 6.4 in 30 people before an operation (Murphy et al., Clin Orthop Relat Res 471:417,
# 2013), here more. Of legs only what is asked of them is published: 15 to 25 degrees inwards, and not where a fracture
# is suspected (Murphy and Knipe, Radiopaedia, rID-44863); hips turn 35 inwards and 45 outwards when straight. A cushion
# below the knees flexes legs; a raised pelvis, and a leg that hangs, extends them. These ranges are ours.
LYING = Posture(
    tilt=(-4.2, 7.5, -24.5, 20.5),
    obliquity=(0.0, 3.0, -9.0, 9.0),
    rotation=(0.0, 3.5, -12.0, 12.0),
    leg_rotation=(-3.0, 15.0, -45.0, 35.0),
    leg_abduction=(3.0, 6.5, -15.0, 25.0),
    leg_flexion=(4.0, 7.0, -12.0, 28.0),
)
# Standing, the pelvis tilts 5.5 degrees backward on average: 1.3 backward, from 30.2 back to 27.9 forward (Pierrepont);
# the deviation is 7.2 (Murphy). Legs bear weight: they are less turned and less apart, and stand askew with the body.
# What is of legs is ours.
STANDING = Posture(
    tilt=(1.3, 7.5, -27.9, 30.2),
    obliquity=(0.0, 2.5, -8.0, 8.0),
    rotation=(0.0, 3.5, -12.0, 12.0),
    leg_rotation=(-2.0, 11.0, -30.0, 30.0),
    leg_abduction=(2.0, 4.0, -10.0, 14.0),
    leg_flexion=(4.0, 7.0, -12.0, 28.0),
    standing=True,
)
# Soles against each other, knees on sponges: thighs flexed by 30 to 40 degrees and 45 apart from the midline (Clohisy
# et al., J Bone Joint Surg Am 90 Suppl 4:47, 2008; Radiopaedia, frog leg lateral view), turned outwards by 60 at most
# (Whitley et al., Clark's Positioning in Radiography). The spreads are ours.
FROG_LEG = Posture(
    tilt=(-2.0, 6.5, -24.5, 20.5),  # bent hips take the pelvis back a little; ours
    obliquity=(0.0, 2.5, -8.0, 8.0),
    rotation=(0.0, 3.0, -10.0, 10.0),
    leg_rotation=(-45.0, 8.0, -65.0, -25.0),
    leg_abduction=(43.0, 5.0, 28.0, 55.0),
    leg_flexion=(36.0, 6.0, 22.0, 50.0),
    yields_mm=2.0,
)
POSTURES = ("usual", "wide", "oblique", "frog-leg")
# Judet's views: one side is raised by about 45 degrees on a wedge (Judet et al., J Bone Joint Surg Am 46:1615, 1964;
# Radiopaedia, pelvis Judet view); in practice it is often less. The raised hip is seen as in the obturator view, the
# other as in the iliac one.
OBLIQUE_DEGREES = (30.0, 45.0)


def posture_of(name: str, rng: np.random.Generator) -> Posture:
    """A patient's posture: of wide ones some are standing, all others are lying."""
    if name not in POSTURES:
        raise Refusal(f"The posture {name!r} is unknown: {meant(name, POSTURES)}")
    if name == "usual":
        return USUAL
    if name == "frog-leg":
        return FROG_LEG
    if name == "oblique":  # legs lie as else, and are raised with the pelvis
        return LYING
    return STANDING if rng.random() < STANDING_SHARE else LYING


def body_turn(name: str, rng: np.random.Generator) -> float:
    """Degrees by which a patient of a posture is turned about S: the right side is raised for positive numbers."""
    if name != "oblique":
        return 0.0
    return float(rng.choice([-1.0, 1.0]) * rng.uniform(*OBLIQUE_DEGREES))


def may_be_prone(name: str) -> bool:
    """Whether patients of a posture are seen from behind now and then."""
    return name not in ("oblique", "frog-leg")


def leg_turn(inward: float, abduction: float, flexion: float) -> np.ndarray:
    """Rotation (3, 3) of a left leg about the hip, by degrees about its own axis, outwards and forwards.

    Of a left leg R points inwards: toes turn to R about -S, the foot goes to -R about A and forwards about R.
    """
    return Rotation.from_euler("zyx", [-inward, abduction, flexion], degrees=True).as_matrix()
