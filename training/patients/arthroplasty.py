"""Hip replacements: stem, ball and cup in place of a head and a neck, which are sawn off, and of a reamed socket."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from DualFaceReconLib.meshes import Mesh, unit
from DualFaceReconLib.shape.repair import crossing_triangles, flipped_triangles
from training.patients.femur_frame import FemurFrame, femur_frame
from training.patients.sawing import sawn
from training.patients.solids import ball, revolved
from training.patients.stems import stem_for
from training.patients.virtual import Part, VirtualPatient
from training.raycast import penetration_mm

BALLS_MM = {28: 0.25, 32: 0.4, 36: 0.35}  # diameters in use; shares are ours
CALCAR_MM = (10.0, 15.0)  # what is left of the neck above the lesser trochanter; ours
LESSER_SHARE = 0.15  # of the head's radius, from the lesser trochanter's tip to its upper end, about; ours
SAW_DEGREES = (40.0, 52.0)  # of the cut to the shaft's cross-section
BESIDE_CUT_MM = (5.0, 9.0)  # from the shaft's middle outwards, where the cut turns upwards at the trochanter
MANTLE_MM = (1.8, 3.0)  # of cement: about 2 is aimed at
# Inclination and anteversion as a film shows them: the safe zone (Lewinnek et al., J Bone Joint Surg Am 60:217, 1978).
INCLINATION, ANTEVERSION = (40.0, 5.0), (15.0, 5.0)
CUP_LARGER_MM = (2.0, 4.0)  # radius of the cup over that of the head that it replaces; ours
SHELL_MM, LINER_MM = 3.5, 3.5  # thickness; of the liner at least, which a film does not show
INWARDS_MM = (0.0, 3.5)  # the cup's centre towards the midline from the head's; ours
REAMED_AT_MOST_MM = 5.0


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A hip with its replacement."""

    bones: dict[str, Mesh]  # what is left of the femur, and the hip where its socket was reamed
    parts: dict[str, Part]
    metadata: dict  # its entry in the patient's metadata


def replaced_hip(patient: VirtualPatient, side: str, rng: np.random.Generator, socket: bool) -> Replaced | None:
    """A total replacement with a new `socket`, or a hemiarthroplasty without; None where it does not fit this hip."""
    femur = femur_frame(patient, side)
    hip = patient.bones[f"hip_{side}"]
    parts, metadata, bones = {}, {"what": "total hip" if socket else "hemiarthroplasty", "side": side}, {}
    centre = femur.head
    if socket:
        cup = _cup(hip, femur, rng)
        if cup is None:
            return None
        centre, reamed, cup_parts, cup_metadata = cup
        bones[f"hip_{side}"] = reamed
        parts |= cup_parts
        sizes = [d for d in BALLS_MM if d / 2 + LINER_MM + SHELL_MM <= cup_metadata["cup_mm"] / 2]
        if not sizes:
            return None
        shares = np.array([BALLS_MM[d] for d in sizes])
        radius = float(rng.choice(sizes, p=shares / shares.sum())) / 2
        liner_wear = float(min(rng.exponential(0.3), 2.0))  # the ball sinks into the liner, mostly upwards
        centre = centre + liner_wear * unit(np.array([0, 0, 1.0]) - 0.3 * femur.medial)
        metadata |= cup_metadata | {"worn_mm": liner_wear}
    else:
        room = float(penetration_mm(centre[None], hip)[0]) - 0.2
        radius = min(femur.radius, room)
    cement = bool(rng.random() < (0.35 if socket else 0.7))
    alloy = str(rng.choice(["cobalt_chrome", "steel"])) if cement else "titanium"
    stem = stem_for(femur, centre, radius, cement, rng)
    cut = _cut(femur, rng)
    if stem is None or cut is None:
        return None
    metal = stem.mesh()
    if len(crossing_triangles(*metal)):
        return None
    bones[f"femur_{side}"], cut_metadata = cut
    ball_metal = "cobalt_chrome" if rng.random() < 0.8 else "steel"
    parts[f"stem_{side}"] = Part(alloy, metal)
    parts[f"ball_{side}"] = Part(ball_metal, ball(centre, radius))
    if cement:
        mantle = float(rng.uniform(*MANTLE_MM))
        parts[f"cement_{side}"] = Part("cement", stem.mantle(mantle))
        metadata["mantle_mm"] = mantle
    metadata |= {"stem": alloy, "ball_mm": 2 * radius, "neck_shaft_degrees": stem.neck_degrees, **cut_metadata}
    return Replaced(bones=bones, parts=parts, metadata=metadata)


# The femur


def _cut(femur: FemurFrame, rng: np.random.Generator) -> tuple[Mesh, dict] | None:
    """The femur without head and neck: sawn across the neck, and along the trochanter, which stays."""
    calcar, degrees = float(rng.uniform(*CALCAR_MM)), float(rng.uniform(*SAW_DEGREES))
    slope = np.radians(degrees)
    normal = np.cos(slope) * femur.up + np.sin(slope) * femur.medial
    level = LESSER_SHARE * femur.radius + calcar
    medial_edge = femur.middle(level) + _medial_edge(femur, level) * femur.medial
    tip_out = float((femur.middle(0.0) - femur.greater) @ femur.medial)
    out = min(rng.uniform(*BESIDE_CUT_MM), max(tip_out - 3, 0))  # the trochanter's tip stays
    beside = femur.middle(0.0) - out * femur.medial
    remains = sawn(femur.mesh, medial_edge, -normal, beside, -femur.medial)
    if remains is None:
        return None
    return remains, {"calcar_mm": calcar, "cut_degrees": degrees}


def _medial_edge(femur: FemurFrame, height: float) -> float:
    """How far the bone reaches medially from the shaft's middle, mm."""
    steps = np.arange(0, 60.0, 0.5)
    inside = femur.depth(femur.middle(height) + steps[:, None] * femur.medial) > 0
    return float(steps[np.argmin(inside) - 1]) if not inside.all() else 60.0


# The socket


def _cup(
    hip: Mesh, femur: FemurFrame, rng: np.random.Generator
) -> tuple[np.ndarray, Mesh, dict[str, Part], dict] | None:
    """The cup's centre, the reamed hip, the cup with screws, and its metadata; None where reaming breaks through."""
    side = femur.side
    lateral = np.array([1.0 if side == "right" else -1.0, 0, 0])
    inclination = float(rng.normal(*INCLINATION))
    anteversion = float(rng.normal(*ANTEVERSION))
    slope, turn = np.radians(inclination), np.radians(anteversion)
    # radiographic angles (Murray, J Bone Joint Surg Br 75:228, 1993)
    mouth = (
        np.cos(turn) * (np.sin(slope) * lateral - np.cos(slope) * np.array([0, 0, 1.0])) + np.sin(turn) * np.eye(3)[1]
    )
    larger, inwards = rng.uniform(*CUP_LARGER_MM), rng.uniform(*INWARDS_MM)
    for give in (1.0, 0.6, 0.2):
        centre = femur.head - give * inwards * lateral + np.array([0, 0, give * rng.uniform(0, 2)])
        radius = np.rint(femur.radius + 1.5 + give * (larger - 1.5))  # cups come in steps of 2 mm
        reamed = _reamed(hip, centre, radius)
        if reamed is not None:
            break
    else:
        return None
    rim = np.pi / 2
    outer = np.linspace(0, rim, 14)
    inner = outer[::-1]
    hollow = radius - SHELL_MM
    profile = [(-radius * np.cos(a), radius * np.sin(a)) for a in outer]
    profile += [(-hollow * np.cos(a), hollow * np.sin(a)) for a in inner]
    profile[0], profile[-1] = (-radius, 0.0), (-hollow, 0.0)
    parts = {f"cup_{side}": Part("titanium", revolved(profile, centre, mouth))}
    screws = _cup_screws(reamed, centre, radius, lateral, rng)
    if screws:
        parts |= {f"cup_screw_{k + 1}_{side}": Part("titanium", mesh) for k, mesh in enumerate(screws)}
    moved = float(np.linalg.norm(reamed[0] - hip[0], axis=1).max())
    metadata = {"cup_mm": float(2 * radius), "inclination_degrees": inclination, "anteversion_degrees": anteversion}
    return centre, reamed, parts, {**metadata, "cup_screws": len(screws), "reamed_mm": moved}


def _reamed(hip: Mesh, centre: np.ndarray, radius: float) -> Mesh | None:
    """The hip with what lies within a sphere pushed out to it; None where that would break or fold the bone."""
    vertices, triangles = hip
    to = vertices - centre
    away = np.linalg.norm(to, axis=1)
    inside = away < radius + 0.02
    if (radius - away[inside]).max(initial=0) > REAMED_AT_MOST_MM:
        return None
    pushed = vertices.copy()
    pushed[inside] = centre + (radius + 0.02) * to[inside] / away[inside, None]
    around = triangles[(away < radius + 15)[triangles].any(axis=1)]
    if len(flipped_triangles(pushed, around, vertices)) or len(crossing_triangles(pushed, around)):
        return None
    return pushed, triangles


def _cup_screws(
    hip: Mesh, centre: np.ndarray, radius: float, lateral: np.ndarray, rng: np.random.Generator
) -> list[Mesh]:
    """None, one or two screws through the cup's dome upwards and backwards, where there is bone to hold them."""
    screws = []
    for _ in range(int(rng.choice([0, 1, 2], p=[0.55, 0.25, 0.2]))):
        way = unit(np.array([0, rng.uniform(-0.75, -0.1), 1.0]) - rng.uniform(0.1, 0.5) * lateral)
        length = float(rng.choice([20.0, 25.0, 30.0, 35.0]))
        along = centre + (radius - 0.5 + np.linspace(3, length, 12))[:, None] * way
        held = penetration_mm(along, hip) < 1.0
        if held.all() and all(np.linalg.norm(along[0] - other[0][-1]) > 10 for other in screws):
            profile = [(-3.0, 2.0), (-0.1, 4.0), (0, 2.2), (length - 3, 3.2), (length, 1.0)]
            screws.append(revolved(profile, centre + (radius - 0.3) * way, way))
    return screws
