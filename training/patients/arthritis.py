"""Signs of arthritis and other disease of a hip joint: each function gives a joint back with one sign, and its entry.

Where a sign cannot be made, because bones would touch or the socket would be lost, the joint comes back unchanged with
an empty entry.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from DualFaceReconLib.meshes import unit, unit_normals
from training.patients.joints import (
    CONTACT_MM,
    Joint,
    eroded,
    femur_around,
    grown,
    hip_around,
    space_mm,
)
from training.patients.solids import perpendicular

KINDS = {"superolateral": 0.6, "axial": 0.25, "medial": 0.15}  # of narrowing; shares are ours
TRAVEL_MM = (0.5, 4.0)  # of the head, by severity; ours
GROWTH_MM = (1.0, 8.0)  # height of osteophytes, by severity; ours
# Collapse after osteonecrosis, and wide flat heads as after Perthes' disease; sizes and share are ours.
MAGNA_SHARE, COLLAPSE_MM, WIDENING = 0.4, (1.5, 6.0), (0.03, 0.08)
CAM_MM = (2.0, 5.0)  # ours
JUNCTION_DEGREES = 116.0  # from the head's pole to where it becomes neck


def narrowing(joint: Joint, severity: float, rng: np.random.Generator) -> tuple[Joint, dict]:
    """The head migrates into its socket, which is eroded where it would be touched."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    up = np.array([0, 0, 1.0])
    way = unit(
        {"superolateral": up + 0.45 * joint.lateral, "axial": up - 0.8 * joint.lateral, "medial": -joint.lateral}[kind]
    )
    way = unit(way + rng.normal(0, 0.12, 3))
    travel = _graded_size(TRAVEL_MM, severity, rng)
    space = float(rng.uniform(2 * CONTACT_MM, 0.8))
    before = space_mm(joint, way)
    for share in (1.0, 0.5):
        translation = travel * share * way
        moved = replace(joint, femur=joint.femur + translation, centre=joint.centre + translation)
        moved = eroded(moved, space)
        if moved is not None:
            entry = {"what": "narrowing", "kind": kind, "travel_mm": travel * share}
            return moved, {**entry, "space_before_mm": before, "space_after_mm": space_mm(moved, way)}
    return joint, {}


def ridge(joint: Joint, severity: float, rng: np.random.Generator) -> tuple[Joint, dict]:
    """Osteophytes where the head becomes neck: a collar of unlike heights, often interrupted."""
    height = _graded_size(GROWTH_MM, severity, rng)
    polar, azimuth, outwards = _around_axis(joint)
    profile = np.exp(-0.5 * ((polar - JUNCTION_DEGREES) / rng.uniform(8, 13)) ** 2)
    offsets = (height * profile * irregular(azimuth, rng))[:, None] * (outwards + 0.3 * joint.axis)
    changed = grown(joint.femur, offsets, hip_around(joint))
    return replace(joint, femur=changed), {"what": "ridge", "height_mm": _largest(changed - joint.femur)}


def rim(joint: Joint, severity: float, rng: np.random.Generator) -> tuple[Joint, dict]:
    """Osteophytes of the acetabular rim: it grows over the head and outwards, not everywhere alike."""
    height = _graded_size(GROWTH_MM, severity, rng)
    to = joint.hip - joint.centre
    away = np.linalg.norm(to, axis=1)
    near = np.flatnonzero(away < 1.35 * joint.radius)
    mouth = -unit(to[near].mean(axis=0))
    across, along = perpendicular(mouth)
    azimuth = np.arctan2(to @ along, to @ across)
    sector = ((azimuth[near] + np.pi) / (2 * np.pi) * 24).astype(int) % 24
    edge = np.full(24, -np.inf)  # how far the rim reaches towards the mouth, by sector
    np.maximum.at(edge, sector, to[near] @ mouth)
    if np.isinf(edge).any():
        return joint, {}
    below = edge[((azimuth + np.pi) / (2 * np.pi) * 24).astype(int) % 24] - to @ mouth
    outwards = to - (to @ mouth)[:, None] * mouth
    outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-9)
    profile = np.exp(-0.5 * (below / 5.0) ** 2) * np.clip((1.6 - away / joint.radius) / 0.25, 0, 1)
    profile *= np.clip((0.85 + outwards[:, 2]) / 0.3, 0, 1)  # none at the notch below
    offsets = (height * profile * irregular(azimuth, rng))[:, None] * (0.8 * mouth + 0.6 * outwards)
    changed = grown(joint.hip, offsets, femur_around(joint))
    return replace(joint, hip=changed), {"what": "rim", "height_mm": _largest(changed - joint.hip)}


def floor(joint: Joint, severity: float, rng: np.random.Generator) -> tuple[Joint, dict]:
    """Osteophytes of the acetabular fossa: its floor grows towards the head."""
    height = _graded_size(GROWTH_MM, severity, rng)
    to = joint.hip - joint.centre
    away = np.linalg.norm(to, axis=1)
    inwards = -to / away[:, None]
    inner = unit(to[away < 1.45 * joint.radius].mean(axis=0))  # from the mouth to the floor
    # the face that looks at the head, in the middle of the socket, where it is not cartilage
    depth = away - joint.radius
    middle = np.clip((to @ inner / away - 0.5) / 0.3, 0, 1) * (depth > 2) * (away < 1.5 * joint.radius)
    normals = _facing(joint.hip, joint.triangles[0], inwards)
    azimuth = np.arctan2(*(to @ np.stack(perpendicular(inner)).T).T)
    share = middle * np.clip(normals, 0, 1) * (0.5 + 0.5 * irregular(azimuth, rng))
    offsets = (height * share)[:, None] * inwards
    changed = grown(joint.hip, offsets, femur_around(joint))
    return replace(joint, hip=changed), {"what": "floor", "height_mm": _largest(changed - joint.hip)}


def collapse(joint: Joint, rng: np.random.Generator) -> tuple[Joint, dict]:
    """The weight-bearing cap of the head is pressed flat; in some the head is wider too, and its socket with it."""
    depth = float(rng.uniform(*COLLAPSE_MM))
    wider = float(rng.uniform(*WIDENING)) if rng.random() < MAGNA_SHARE else 0.0
    top = unit(np.array([0, 0.25, 1.0]) + 0.2 * joint.lateral + rng.normal(0, 0.15, 3))
    for share in (1.0, 0.5):
        to = joint.femur - joint.centre
        height = to @ top
        head = np.clip((1.25 - np.linalg.norm(to, axis=1) / joint.radius) / 0.2, 0, 1)
        start = 0.35 * joint.radius
        along = np.clip((height - start) / (joint.radius - start), 0, 1)
        azimuth = np.arctan2(*(to @ np.stack(perpendicular(top)).T).T)
        pressed = depth * (0.65 + 0.35 * irregular(azimuth, rng)) * along**2 * (3 - 2 * along)
        sideways = to - (to @ joint.axis)[:, None] * joint.axis
        body = np.clip(1 + to @ joint.axis / joint.radius, 0, 1)  # none at the neck
        offsets = -(head * pressed)[:, None] * top + (wider * share * head * body)[:, None] * sideways
        flat = eroded(replace(joint, femur=joint.femur + offsets), CONTACT_MM)
        if flat is not None:
            return flat, {"what": "collapse", "depth_mm": depth, "widening": wider * share}
    return joint, {}


def cam(joint: Joint, rng: np.random.Generator) -> tuple[Joint, dict]:
    """The head does not step down to the neck in front and above: a bump on the junction."""
    height = float(rng.uniform(*CAM_MM))
    polar, azimuth, outwards = _around_axis(joint)
    up_front = unit(np.array([0, 1.0, 1.0]))
    direction = outwards @ unit(up_front - (up_front @ joint.axis) * joint.axis)
    wide = np.radians(rng.uniform(25, 45))
    arc = np.exp(-0.5 * (np.arccos(np.clip(direction, -1, 1)) / wide) ** 2)
    profile = np.exp(-0.5 * ((polar - JUNCTION_DEGREES + 4) / 13) ** 2)
    offsets = (height * profile * arc * (0.85 + 0.15 * irregular(azimuth, rng)))[:, None] * outwards
    changed = grown(joint.femur, offsets, hip_around(joint))
    return replace(joint, femur=changed), {"what": "cam", "height_mm": _largest(changed - joint.femur)}


def irregular(angle: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """0 to 1 along a circle, (N,) for angles (N,) in radians: hills of unlike height and width with gaps between."""
    order = np.arange(1, 8)
    strength = rng.normal(size=(2, len(order))) / order**0.5

    def waves(at: np.ndarray) -> np.ndarray:
        turned = at[:, None] * order
        return np.cos(turned) @ strength[0] + np.sin(turned) @ strength[1]

    everywhere = waves(np.linspace(-np.pi, np.pi, 181))
    low = np.quantile(everywhere, rng.uniform(0.05, 0.5))  # below is a gap
    return np.clip((waves(angle) - low) / (everywhere.max() - low), 0, 1)


def _graded_size(sizes: tuple[float, float], severity: float, rng: np.random.Generator) -> float:
    """A size in mm that grows with severity, with some freedom."""
    share = np.clip(severity + rng.normal(0, 0.15), 0, 1)
    return float(sizes[0] + share * (sizes[1] - sizes[0]))


def _around_axis(joint: Joint) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the femur's vertices: degrees from the head's pole, angle about the axis, unit way out from it.

    Vertices far from the head are given the lowest pole, where nothing grows.
    """
    to = joint.femur - joint.centre
    away = np.linalg.norm(to, axis=1)
    polar = np.degrees(np.arccos(np.clip(to @ joint.axis / away, -1, 1)))
    polar[away > 1.6 * joint.radius] = 180 + JUNCTION_DEGREES
    across, along = perpendicular(joint.axis)
    outwards = to - (to @ joint.axis)[:, None] * joint.axis
    outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-9)
    return polar, np.arctan2(to @ along, to @ across), outwards


def _facing(vertices: np.ndarray, triangles: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Cosine (V,) between the outward normals and directions (V, 3)."""
    return np.einsum("vi,vi->v", unit_normals(vertices, triangles), direction)


def _largest(offsets: np.ndarray) -> float:
    return float(np.sqrt((offsets**2).sum(axis=1).max()))


SIGNS = {"narrowing": narrowing, "ridge": ridge, "rim": rim, "floor": floor}
