"""Another posture of a virtual patient: the same bones, disease and implants, the legs turned in their sockets.

    other = reposed(patient, "wide", rng)

Pelvis, sacrum and spine are one; a leg turns about its head, or about the ball in the place of one, and takes its
implants along. People are filmed more than once, and a posture costs a tenth of a patient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from DualFaceReconLib.bonemaps import SIDES, kind_and_side, other_side
from DualFaceReconLib.meshes import MIRROR, Mesh, sphere_through, unit
from training.patients.joints import CONTACT_MM
from training.patients.posture import Posture, leg_turn, posture_of
from training.patients.virtual import Part, VirtualPatient
from training.raycast import penetration_mm

IN_THE_PELVIS = ("cup", "sacroiliac", "symphysis")  # how the names of such implants begin
UPPER_MM = 110.0  # of a femur may meet the pelvis
LEAST_MM = CONTACT_MM / 3  # between the bones, as where they are ill
SOUGHT_MM = 8.0  # within which one bone is sought from the other
STEP_MM = 0.1  # beyond what a leg that parts needs
TRIES = 12

Move = Callable[[np.ndarray], np.ndarray]


def reposed(patient: VirtualPatient, posture: str, rng: np.random.Generator) -> VirtualPatient:
    """The patient in another posture of a name (see `posture.py`), before clothing.

    A leg that comes too near to the hip is drawn again, but for its flexion; where that does not help, it turns with
    the pelvis.
    """
    drawn = posture_of(posture, rng)
    turn, degrees = drawn.pelvis(rng)
    mirror = MIRROR if patient.metadata.get("mirrored") else np.ones(3)
    pelvis = turn @ (_pelvis_turn(patient.metadata["pelvis_degrees"]) * np.outer(mirror, mirror)).T
    about = {"posture": posture, "standing": drawn.standing, "pelvis_degrees": degrees}
    metadata = {**patient.metadata, **about}
    moves: dict[str, Move] = {"": _turn(pelvis)}
    for side in SIDES:
        leg = f"leg_{side}" if mirror[0] > 0 else other_side(f"leg_{side}")  # where the metadata has it
        moves[side], angles = _leg_move(patient, side, pelvis, patient.metadata[leg], drawn, rng)
        metadata[leg] = {**patient.metadata[leg], **angles}
    return _moved(patient, moves, metadata, drawn.standing)


def _pelvis_turn(degrees: Mapping[str, float]) -> np.ndarray:
    angles = [degrees["tilt"], degrees["obliquity"], degrees["rotation"]]
    return Rotation.from_euler("xyz", angles, degrees=True).as_matrix()


def _leg_move(
    patient: VirtualPatient,
    side: str,
    pelvis: np.ndarray,
    before: Mapping[str, float],
    posture: Posture,
    rng: np.random.Generator,
) -> tuple[Move, dict[str, float]]:
    """How a leg moves while the pelvis turns (3, 3), and its new angles."""
    centre = _centre(patient, side)
    mirror = MIRROR if side == "right" else np.ones(3)
    lain = leg_turn(**{name: before[name] for name in ("inward", "abduction", "flexion")})
    hip = patient.bones[f"hip_{side}"]
    upper = _upper(patient, side, centre)
    flexion = posture.flexion(rng)
    for _ in range(TRIES):
        angles = posture.leg(rng, flexion)
        turn = (leg_turn(**angles) @ lain.T) * np.outer(mirror, mirror)
        in_pelvis = pelvis.T @ turn  # as the hip, which need not move, sees it
        aside = _aside(upper @ in_pelvis.T + centre, centre, hip, posture.yields_mm)
        if aside is not None:
            return _turn(turn, centre, pelvis @ (centre + aside)), angles
    return _turn(pelvis), {}


def _aside(upper: np.ndarray, centre: np.ndarray, hip: Mesh, yields_mm: float) -> np.ndarray | None:
    """By how much (3,) a leg has to part from the hip that it touches; None where that is more than it yields."""
    aside = np.zeros(3)
    while np.linalg.norm(aside) <= yields_mm:
        room = penetration_mm(upper + aside, hip, SOUGHT_MM)
        nearest = room.argmin()
        if room[nearest] >= LEAST_MM:
            return aside
        aside = aside + (LEAST_MM + STEP_MM - room[nearest]) * unit(centre - upper[nearest])
    return None


def _turn(rotation: np.ndarray, centre: np.ndarray | float = 0.0, to: np.ndarray | float = 0.0) -> Move:
    """A turn (3, 3) about a centre, which comes to lie elsewhere."""
    return lambda points: (points - centre) @ rotation.T + to


def _centre(patient: VirtualPatient, side: str) -> np.ndarray:
    """What a leg turns about (3,)."""
    ball = patient.parts.get(f"ball_{side}")
    return (
        patient.landmarks[f"femur_{side}"]["femoral_head_centre"] if ball is None else sphere_through(ball.mesh[0])[0]
    )


def _upper(patient: VirtualPatient, side: str, centre: np.ndarray) -> np.ndarray:
    """Vertices of a leg that may meet the pelvis, around its centre."""
    stem = patient.parts.get(f"stem_{side}")
    points = [patient.bones[f"femur_{side}"][0], *([] if stem is None else [stem.mesh[0]])]
    around = np.concatenate(points) - centre
    return around[(around**2).sum(axis=1) < UPPER_MM**2]


def _moved(patient: VirtualPatient, moves: Mapping[str, Move], metadata: dict, standing: bool) -> VirtualPatient:
    """Every bone, landmark and part by the move of its leg, or by that of the pelvis, which has no side."""

    def move_of(name: str) -> Move:
        kind, side = kind_and_side(name)
        return moves["" if kind == "hip" or kind.startswith(IN_THE_PELVIS) else side]

    return replace(
        patient,
        bones={name: (move_of(name)(vertices), faces) for name, (vertices, faces) in patient.bones.items()},
        landmarks={
            bone: {name: move_of(bone)(place) for name, place in places.items()}
            for bone, places in patient.landmarks.items()
        },
        parts={
            name: Part(part.material, (move_of(name)(part.mesh[0]), part.mesh[1]))
            for name, part in patient.parts.items()
        },
        metadata=metadata,
        standing=standing,
    )
