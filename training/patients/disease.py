"""Disease in virtual patients: arthritis, collapsed heads, cam deformities, legs of unlike length.

    patient = diseased(sample_patient(population, seed), rng)
    patient.metadata["disease"]  # [{"what": "narrowing", "side": "left", "kind": "superolateral", ...}, ...]

Bones are bent vertex by vertex, so that they stay in correspondence with all others. Landmarks on the surface go with
their vertex; the centres of heads, necks and sockets go with their bone as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from DualFaceReconLib.meshes import unit
from training.patients.arthritis import SIGNS, cam, collapse
from training.patients.joints import Joint, joint_of, repaired, touching
from training.patients.virtual import VirtualPatient

# Radiographic osteoarthritis: 19.6 % of people over 50 (Kim et al., Arthritis Rheumatol 66:3013, 2014), in both hips of
# 27 % of them (Linsenmeyer et al., ACR meeting 2012, abstract 1114). Here more, as films are taken of those in pain.
ARTHRITIC_SHARE, BOTH_SHARE = 0.35, 0.27
# How often each sign is there in the mildest and in the most severe arthritis. Ours.
SIGN_SHARES = {"narrowing": (0.6, 1.0), "ridge": (0.4, 0.95), "rim": (0.4, 0.95), "floor": (0.1, 0.6)}
COLLAPSED_SHARE = 0.025  # of people; ours, far more than in life
# Cam deformity: about 17 % of men and 4 % of women (Gosvig et al., Acta Radiol 49:436, 2008).
CAM_SHARE = 0.12
# Legs differ by 5.2 mm on average, 4.1 standard deviation (Knutson, Chiropr Osteopat 13:11, 2005). The people's own
# differences are small; these come on top.
UNLIKE_SHARE, UNLIKE_MM, UNLIKE_RANGE_MM = 0.25, (5.2, 4.1), (3.0, 20.0)
ON_SURFACE_MM = 0.5  # a landmark that is nearer to a vertex lies on it

Ailment = Callable[[Joint, np.random.Generator], tuple[Joint, dict]]


def diseased(patient: VirtualPatient, rng: np.random.Generator) -> VirtualPatient:
    """The patient with what age and illness do to hips; `metadata["disease"]` lists it, and is empty for most."""
    ailments = _ailments(rng)
    bones, marks, diseases = dict(patient.bones), {bone: dict(m) for bone, m in patient.landmarks.items()}, []
    for side, wanted in ailments.items():
        if not wanted:
            continue
        joint = joint_of(patient, side)
        ill, entries = joint, []
        for ailment in wanted:
            ill, entry = ailment(ill, rng)
            if entry:
                entries.append({"what": entry.pop("what"), "side": side, **entry})
        ill = repaired(joint, ill)
        if touching(ill, migrated=ill.centre is not joint.centre):
            continue
        diseases += entries
        for bone, before, after in (
            (f"hip_{side}", joint.hip, ill.hip),
            (f"femur_{side}", joint.femur, ill.femur),
        ):
            translation = ill.centre - joint.centre if bone.startswith("femur") else np.zeros(3)
            bones[bone] = after, bones[bone][1]
            marks[bone] = {name: _carried(place, before, after, translation) for name, place in marks[bone].items()}
    ill_patient = replace(patient, bones=bones, landmarks=marks)
    if rng.random() < UNLIKE_SHARE:
        ill_patient, entry = _with_unlike_legs(ill_patient, rng)
        diseases.append(entry)
    return replace(ill_patient, metadata={**patient.metadata, "disease": diseases})


def _ailments(rng: np.random.Generator) -> dict[str, list[Ailment]]:
    """What each side suffers from, in the order in which it is made."""
    wanted: dict[str, list[Ailment]] = {"left": [], "right": []}

    def sides(both_share: float) -> list[str]:
        return ["left", "right"] if rng.random() < both_share else [str(rng.choice(["left", "right"]))]

    if rng.random() < CAM_SHARE:
        for side in sides(0.7):  # mostly on both sides; the share is ours
            wanted[side].append(cam)
    if rng.random() < COLLAPSED_SHARE:
        for side in sides(0.3):
            wanted[side].append(collapse)
    if rng.random() < ARTHRITIC_SHARE:
        for side in sides(BOTH_SHARE):
            severity = float(rng.beta(1.2, 1.8))  # most are mild
            for sign, (least, most) in SIGN_SHARES.items():
                if rng.random() < least + severity * (most - least):
                    wanted[side].append(_graded(SIGNS[sign], severity))
    return wanted


def _graded(sign: Callable[[Joint, float, np.random.Generator], tuple[Joint, dict]], severity: float) -> Ailment:
    return lambda joint, rng: sign(joint, severity, rng)


def _with_unlike_legs(patient: VirtualPatient, rng: np.random.Generator) -> tuple[VirtualPatient, dict]:
    """One femur longer below the lesser trochanter; the pelvis and all else rise somewhat on that side."""
    side = str(rng.choice(["left", "right"]))
    longer = 0.0
    while not UNLIKE_RANGE_MM[0] <= longer <= UNLIKE_RANGE_MM[1]:
        longer = float(rng.normal(*UNLIKE_MM))
    bone = f"femur_{side}"
    marks = patient.landmarks[bone]
    knee = (marks["medial_epicondyle"] + marks["lateral_epicondyle"]) / 2
    down = unit(knee - marks["greater_trochanter"])
    start = (marks["lesser_trochanter"] - knee) @ down
    vertices, triangles = patient.bones[bone]
    share = np.clip(1 - (vertices - knee) @ down / start, 0, 1)
    longer_bone = vertices + (longer * share)[:, None] * down
    bones = patient.bones | {bone: (longer_bone, triangles)}
    landmarks = patient.landmarks | {
        bone: {n: _carried(place, vertices, longer_bone, np.zeros(3)) for n, place in marks.items()}
    }
    # A leg that stands on the floor lifts the pelvis; one that lies on a table need not.
    apart = np.linalg.norm(
        np.subtract(*(patient.landmarks[f"hip_{s}"]["acetabular_centre"] for s in ("left", "right")))
    )
    tilt = float(rng.uniform(0, 1) * np.degrees(np.arctan(longer / apart)))
    turn = Rotation.from_euler("y", tilt if side == "left" else -tilt, degrees=True).as_matrix()
    bones = {name: (v @ turn.T, t) for name, (v, t) in bones.items()}
    landmarks = {name: {n: turn @ place for n, place in places.items()} for name, places in landmarks.items()}
    entry = {"what": "longer leg", "side": side, "longer_mm": longer, "raised_degrees": tilt}
    return replace(patient, bones=bones, landmarks=landmarks), entry


def _carried(place: np.ndarray, before: np.ndarray, after: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """A landmark (3,) after its bone moved: with its vertex where it lies on one, else with the bone as a whole."""
    away = ((before - place) ** 2).sum(axis=1)
    nearest = int(away.argmin())
    return place + (after[nearest] - before[nearest] if away[nearest] < ON_SURFACE_MM**2 else translation)
