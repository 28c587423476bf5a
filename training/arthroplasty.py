"""Hip replacements: stem, ball and cup in place of a head and a neck, which are sawn off, and of a reamed socket.

A stem is drawn in the plane of shaft and head, as wide as the canal lets it be, and lofted through rings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from DualFaceReconLib.metrics import Mesh
from DualFaceReconLib.soundness import crossing, turned_over
from training.patients import Part, VirtualPatient
from training.sawing import sawn
from training.solids import ball, lofted, revolved, rounded, unit
from training.thigh import Thigh, thigh_of
from training.xray.raycast import penetration_mm

BALLS_MM = {28: 0.25, 32: 0.4, 36: 0.35}  # diameters in use; shares are ours
CALCAR_MM = (10.0, 15.0)  # what is left of the neck above the lesser trochanter; usual practice
SAW_DEGREES = (40.0, 52.0)  # of the cut to the shaft's cross-section
BESIDE_CUT_MM = (5.0, 9.0)  # from the shaft's middle outwards, where the cut turns upwards at the trochanter
STEM_MM = (95.0, 125.0)  # from the lesser trochanter down to the tip
NECK_SHAFT_DEGREES = (126.0, 136.0)
NECK_MM = 6.2  # radius, a little more than half of a 12/14 taper
MANTLE_MM = (1.8, 3.0)  # of cement: about 2 is aimed at
TILTED_DEGREES = 1.2  # standard deviation of the stem's axis to the shaft's, to both sides; ours
# Inclination and anteversion as a film shows them: the safe zone (Lewinnek et al., J Bone Joint Surg Am 60:217, 1978).
INCLINATION, ANTEVERSION = (40.0, 5.0), (15.0, 5.0)
CUP_LARGER_MM = (2.0, 4.0)  # radius of the cup over that of the head that it replaces; ours
SHELL_MM, LINER_MM = 3.5, 3.5  # thickness; of the liner at least, which a film does not show
INWARDS_MM = (0.0, 3.5)  # the cup's centre towards the midline from the head's; ours
REAMED_AT_MOST_MM = 5.0
CORTEX_MM = 2.5  # of the proximal femur, which a stem does not enter; grows down the shaft (Thigh.canal)


@dataclass(frozen=True)
class Replaced:
    """A hip with its replacement."""

    bones: dict[str, Mesh]  # what is left of the femur, and the hip where its socket was reamed
    parts: dict[str, Part]
    told: dict


@dataclass(frozen=True)
class Stem:
    """A stem's rings from the tip to the neck's end, and how many of them lie in the bone, across the shaft."""

    rings: np.ndarray  # (N, S, 3)
    straight: int
    outwards: np.ndarray  # (N, S, 3) unit, from a ring's middle
    neck_degrees: float  # between neck and shaft


def replaced_hip(patient: VirtualPatient, side: str, rng: np.random.Generator, socket: bool) -> Replaced | None:
    """A total replacement, or with the `socket` left a hemiarthroplasty; None where none fits this hip."""
    thigh = thigh_of(patient, side)
    hip = patient.bones[f"hip_{side}"]
    parts, told, bones = {}, {"what": "total hip" if socket else "hemiarthroplasty", "side": side}, {}
    centre = thigh.head
    if socket:
        cup = _cup(hip, thigh, rng)
        if cup is None:
            return None
        centre, reamed, cup_parts, cup_told = cup
        bones[f"hip_{side}"] = reamed
        parts |= cup_parts
        sizes = [d for d in BALLS_MM if d / 2 + LINER_MM + SHELL_MM <= cup_told["cup_mm"] / 2]
        if not sizes:
            return None
        shares = np.array([BALLS_MM[d] for d in sizes])
        radius = float(rng.choice(sizes, p=shares / shares.sum())) / 2
        worn = float(min(rng.exponential(0.3), 2.0))  # the ball sinks into the liner, mostly upwards
        centre = centre + worn * unit(np.array([0, 0, 1.0]) - 0.3 * thigh.medial)
        told |= cup_told | {"worn_mm": worn}
    else:
        room = float(penetration_mm(centre[None], hip)[0]) - 0.2
        radius = min(thigh.radius, room)
    cement = bool(rng.random() < (0.35 if socket else 0.7))
    alloy = str(rng.choice(["cobalt_chrome", "steel"])) if cement else "titanium"
    stem = _stem(thigh, centre, radius, cement, rng)
    cut = _cut(thigh, rng)
    if stem is None or cut is None:
        return None
    metal = lofted(stem.rings)
    if len(crossing(*metal)):
        return None
    bones[f"femur_{side}"], cut_told = cut
    ball_metal = "cobalt_chrome" if rng.random() < 0.8 else "steel"
    parts[f"stem_{side}"] = Part(alloy, metal)
    parts[f"ball_{side}"] = Part(ball_metal, ball(centre, radius))
    if cement:
        mantle = float(rng.uniform(*MANTLE_MM))
        parts[f"cement_{side}"] = Part("cement", _mantle(stem, thigh, mantle))
        told["mantle_mm"] = mantle
    told |= {"stem": alloy, "ball_mm": 2 * radius, "neck_shaft_degrees": stem.neck_degrees, **cut_told}
    return Replaced(bones, parts, told)


# The femur


def _cut(thigh: Thigh, rng: np.random.Generator) -> tuple[Mesh, dict] | None:
    """The femur without head and neck: sawn across the neck, and along the trochanter, which stays."""
    calcar, degrees = float(rng.uniform(*CALCAR_MM)), float(rng.uniform(*SAW_DEGREES))
    slope = np.radians(degrees)
    normal = np.cos(slope) * thigh.up + np.sin(slope) * thigh.medial
    level = calcar - _at_lesser(thigh)
    medial_edge = thigh.middle(level) + _medial_edge(thigh, level) * thigh.medial
    tip_out = float((thigh.middle(0.0) - thigh.greater) @ thigh.medial)
    out = min(rng.uniform(*BESIDE_CUT_MM), max(tip_out - 3, 0))  # the trochanter's tip stays
    beside = thigh.middle(0.0) - out * thigh.medial
    remains = sawn(thigh.mesh, medial_edge, -normal, beside, -thigh.medial)
    if remains is None:
        return None
    return remains, {"calcar_mm": calcar, "cut_degrees": degrees}


def _at_lesser(thigh: Thigh) -> float:
    """Height of the lesser trochanter's upper end above its tip, about; the calcar is measured from there."""
    return -0.15 * thigh.radius


def _medial_edge(thigh: Thigh, height: float) -> float:
    """How far the bone reaches medially from the shaft's middle, mm."""
    steps = np.arange(0, 60.0, 0.5)
    inside = thigh.depth(thigh.middle(height) + steps[:, None] * thigh.medial) > 0
    return float(steps[np.argmin(inside) - 1]) if not inside.all() else 60.0


def _stem(thigh: Thigh, centre: np.ndarray, radius: float, cement: bool, rng: np.random.Generator) -> Stem | None:
    """A stem for a femur, its neck towards a ball; in cement it is slimmer."""
    tilt = np.radians(rng.normal(0, TILTED_DEGREES))
    base = thigh.middle(-60.0)
    up = unit(np.cos(tilt) * thigh.up + np.sin(tilt) * thigh.medial)
    medial = unit(centre - base - ((centre - base) @ up) * up)
    across = np.cross(up, medial)

    def at(out: np.ndarray, height: np.ndarray) -> np.ndarray:
        return base + np.multiply.outer(out, medial) + np.multiply.outer(height + 60.0, up)

    tip = -float(rng.uniform(*STEM_MM))
    body = np.linspace(tip, 8.0, 12)
    lateral, inner, thick = _room(thigh, at, body, 2.4 if cement else 0.4)
    if (lateral + inner < 6).any() or (lateral < 2).any() or (inner < 2).any():
        return None
    fill = rng.uniform(0.8, 0.97)
    share = (body - tip) / (body[-1] - tip)
    end = min(4.5, fill * lateral[0], fill * inner[0])
    side_line = end + share * np.min((fill * lateral[1:] - end) / share[1:]).clip(0, 9)  # straight on the outside
    inner_line = end + share * np.min((fill * inner[1:] - end) / share[1:]).clip(0, 8)
    flare = np.clip((share - 0.5) / 0.5, 0, 1) ** 2.5
    flaring = flare > 0.05
    inner_line = inner_line + flare * np.min((fill * inner[flaring] - inner_line[flaring]) / flare[flaring]).clip(0, 16)
    deep = np.minimum(np.minimum.accumulate(thick[::-1])[::-1] * 0.9, 0.5 * (side_line + inner_line))
    deep = np.minimum(deep, 5.0 + 4.0 * share)

    # the neck leaves the body's upper end, leaning to the ball at the implant's own angle
    to_ball = np.array([(centre - base) @ medial, (centre - base) @ up - 60.0])
    neck_degrees = float(rng.uniform(*NECK_SHAFT_DEGREES))
    lean = np.radians(180 - neck_degrees)
    way = np.array([np.sin(lean), np.cos(lean)])
    top_middle = (inner_line[-1] - side_line[-1]) / 2
    knee = to_ball - way * (to_ball[0] - top_middle) / way[0]
    if not 8 < knee[1] - body[-1] + 8 < 40:
        knee = np.array([top_middle, np.clip(knee[1], body[-1] + 2, body[-1] + 26)])
        way = (to_ball - knee) / np.linalg.norm(to_ball - knee)
    length = float(np.linalg.norm(to_ball - knee))
    if length < radius + 4 or way[1] < 0.3:
        return None
    start, leave = np.array([top_middle, body[-1]]), knee + way * min(12.0, 0.4 * (length - radius))
    bend = np.linspace(0, 1, 7)[1:]
    path = np.outer((1 - bend) ** 2, start) + np.outer(2 * bend * (1 - bend), knee) + np.outer(bend**2, leave)
    finish = to_ball - way * (np.sqrt(max(radius**2 - NECK_MM**2, 1.0)) - 0.3)
    path = np.concatenate([path, [(leave + finish) / 2, finish]])
    lean = np.arctan2(*way)
    angle = np.concatenate([lean * bend, [lean, lean]])
    half = np.concatenate(
        [np.interp(bend, (0, 1), ((side_line[-1] + inner_line[-1]) / 2, 8.5)), [NECK_MM + 0.4, NECK_MM]]
    )
    neck_deep = np.concatenate([np.interp(bend, (0, 1), (deep[-1], NECK_MM + 0.6)), [NECK_MM, NECK_MM]])

    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rings = []
    for height, out, inn, thin in zip(body, side_line, inner_line, deep, strict=True):
        wide = (inn - out) / 2 + (inn + out) / 2 * _section(np.cos(turn), cement)
        rings.append(at(wide, np.full_like(wide, height)) + np.outer(thin * _section(np.sin(turn), cement), across))
    for (out, height), lean, wide, thin in zip(path, angle, half, neck_deep, strict=True):
        flat = wide * np.cos(turn)
        rings.append(
            at(out + flat * np.cos(lean), height - flat * np.sin(lean)) + np.outer(thin * np.sin(turn), across)
        )
    tip_ring = rings[0].mean(axis=0) + 0.55 * (rings[0] - rings[0].mean(axis=0)) - 3.0 * up
    rings = np.array([tip_ring, *rings])
    to = rings - rings.mean(axis=1, keepdims=True)
    outwards = to / np.linalg.norm(to, axis=2, keepdims=True)
    true_angle = 180 - float(np.degrees(np.arctan2(*way)))
    return Stem(rings, len(body) + 1, outwards, true_angle)


def _section(wave: np.ndarray, cement: bool) -> np.ndarray:
    """Cemented stems are round, others have edges."""
    return wave if cement else rounded(wave)


def _room(
    thigh: Thigh, at: Callable[[np.ndarray, np.ndarray], np.ndarray], heights: np.ndarray, clearance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far a stem may reach outwards, inwards and to the front and back at heights (K,), each (K,) mm."""
    steps = np.arange(-24.0, 40.0, 1.0)
    points = at(np.tile(steps, len(heights)), np.repeat(heights, len(steps)))
    depth = thigh.depth(points).reshape(len(heights), len(steps))
    shaft = np.interp(heights, thigh.heights, thigh.radii)
    cortex = np.maximum(shaft - thigh.canal(heights), CORTEX_MM) + clearance
    free = depth > cortex[:, None]
    zero = int(np.abs(steps).argmin())
    lateral = np.array([np.argmin(np.append(row[zero::-1], False)) - 1 for row in free], dtype=float)
    inner = np.array([np.argmin(np.append(row[zero:], False)) - 1 for row in free], dtype=float)
    thick = depth[:, zero] - cortex
    return lateral, inner, np.maximum(thick, 1.0)


def _mantle(stem: Stem, thigh: Thigh, thickness: float) -> Mesh:
    """Cement around the part of a stem that is in the bone, and under its tip: a bag with the stem's hollow in it."""
    inside = stem.rings[: stem.straight]
    bag = inside + thickness * stem.outwards[: stem.straight]
    below = inside[0].mean(axis=0) - 8.0 * thigh.up
    floor = below + 0.6 * (bag[0] - inside[0].mean(axis=0))
    return lofted(np.concatenate([floor[None], bag, inside[::-1]]))


# The socket


def _cup(hip: Mesh, thigh: Thigh, rng: np.random.Generator) -> tuple[np.ndarray, Mesh, dict[str, Part], dict] | None:
    """The cup's centre, the reamed hip, the cup with screws, and what to tell; None where reaming breaks through."""
    side = thigh.side
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
        centre = thigh.head - give * inwards * lateral + np.array([0, 0, give * rng.uniform(0, 2)])
        radius = np.rint(thigh.radius + 1.5 + give * (larger - 1.5))  # cups come in steps of 2 mm
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
    told = {"cup_mm": float(2 * radius), "inclination_degrees": inclination, "anteversion_degrees": anteversion}
    return centre, reamed, parts, {**told, "cup_screws": len(screws), "reamed_mm": moved}


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
    if len(turned_over(pushed, around, vertices)) or len(crossing(pushed, around)):
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
