"""A hip joint that is being changed: its two bones, where its head is, and changes that keep bones apart and whole.

Bones are bent vertex by vertex, so that they stay in correspondence with all others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from DualFaceReconLib.meshes import Mesh, unit
from DualFaceReconLib.shape.repair import repaired_vertices
from training.patients.virtual import VirtualPatient
from training.raycast import penetration_mm

CONTACT_MM = 0.15  # bones come no closer
ERODED_AT_MOST_MM = 4.0
REACH = 2.1  # head radii around the joint in which bones change
STAYED_MM = 0.1  # a vertex that moved less needs no repair


@dataclass(frozen=True, kw_only=True)
class Joint:
    """A hip joint that is being changed; RAS mm."""

    side: str
    hip: np.ndarray  # (V, 3)
    femur: np.ndarray  # (W, 3)
    triangles: tuple[np.ndarray, np.ndarray]  # of the hip and the femur
    centre: np.ndarray  # of the head
    radius: float  # of the head
    axis: np.ndarray  # unit, from the neck to the head's pole
    lateral: np.ndarray  # unit, along R


def joint_of(patient: VirtualPatient, side: str) -> Joint:
    """A patient's hip joint on a side."""
    hip, femur = patient.bones[f"hip_{side}"], patient.bones[f"femur_{side}"]
    marks = patient.landmarks[f"femur_{side}"]
    centre = marks["femoral_head_centre"]
    axis = unit(centre - marks["femoral_neck_centre"])
    lateral = np.array([1.0 if side == "right" else -1.0, 0, 0])
    radius = head_radius(femur[0], centre, axis)
    return Joint(
        side=side,
        hip=hip[0],
        femur=femur[0],
        triangles=(hip[1], femur[1]),
        centre=centre,
        radius=radius,
        axis=axis,
        lateral=lateral,
    )


def head_radius(femur: np.ndarray, centre: np.ndarray, axis: np.ndarray) -> float:
    """Radius in mm of a head around its centre: the median over its outer half."""
    to = femur - centre
    away = np.linalg.norm(to, axis=1)
    return float(np.median(away[(to @ axis > 0.5 * away) & (away < 40)]))


def space_mm(joint: Joint, way: np.ndarray) -> float:
    """The least distance of head and socket within 35 degrees around a direction from the centre, mm."""
    to = joint.femur - joint.centre
    away = np.linalg.norm(to, axis=1)
    sector = (to @ way > np.cos(np.radians(35)) * away) & (away < 1.3 * joint.radius)
    return float(penetration_mm(joint.femur[sector], hip_around(joint)).min())


def grown(vertices: np.ndarray, offsets: np.ndarray, other: Mesh) -> np.ndarray:
    """Vertices moved by offsets (V, 3), each no farther than the room that the other bone leaves."""
    length = np.linalg.norm(offsets, axis=1)
    moving = np.flatnonzero(length > STAYED_MM)
    room = np.clip(penetration_mm(vertices[moving], other) - CONTACT_MM, 0, None)
    changed = vertices.copy()
    changed[moving] += np.minimum(1, room / length[moving])[:, None] * offsets[moving]
    return changed


def eroded(joint: Joint, space: float) -> Joint | None:
    """The joint with its socket eroded to `space` mm from the head; None if that takes too much of the bone.

    The socket's vertices are moved first; where the head still comes through between them, all are moved farther.
    """
    outwards = joint.hip - joint.centre
    away = np.linalg.norm(outwards, axis=1)
    around = np.flatnonzero(away < 1.6 * joint.radius)
    outwards = outwards[around] / away[around, None]
    femur = femur_around(joint)
    depth = np.zeros(len(around))
    for _ in range(3):  # the nearest way out is not quite the radial one
        short = np.clip(space - penetration_mm(joint.hip[around] + depth[:, None] * outwards, femur), 0, None)
        depth += short
        if depth.max(initial=0) > ERODED_AT_MOST_MM:
            return None
        hip = joint.hip.copy()
        hip[around] += depth[:, None] * outwards
        changed = replace(joint, hip=hip)
        closest = penetration_mm(femur[0], hip_around(changed)).min()
        if closest >= CONTACT_MM:
            return changed
        space += CONTACT_MM - closest
    return None


def hip_around(joint: Joint) -> Mesh:
    """The hip within reach of the joint, open where it goes on: signed distances from near it are right."""
    return _part(joint.hip, joint.triangles[0], joint, REACH)[0]


def femur_around(joint: Joint) -> Mesh:
    """The femur within reach of the joint, open where it goes on."""
    return _part(joint.femur, joint.triangles[1], joint, REACH)[0]


def _part(vertices: np.ndarray, triangles: np.ndarray, joint: Joint, reach: float) -> tuple[Mesh, np.ndarray]:
    """The triangles within so many head radii of the joint, as a mesh, and the numbers of its vertices."""
    near = ((vertices - joint.centre) ** 2).sum(axis=1) < (reach * joint.radius) ** 2
    kept = triangles[near[triangles].all(axis=1)]
    numbers = np.flatnonzero(near)
    place = np.cumsum(near) - 1
    return (vertices[numbers], place[kept]), numbers


def repaired(before: Joint, after: Joint) -> Joint:
    """The joint with surfaces that cross themselves repaired, towards the bones as they were before."""
    translation = after.centre - before.centre
    hip = _repaired(after.hip, before.hip, after.triangles[0])
    return replace(after, hip=hip, femur=_repaired(after.femur, before.femur + translation, after.triangles[1]))


def _repaired(vertices: np.ndarray, before: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Repaired vertices (V, 3); only what lies near a vertex that moved is looked at."""
    moved = ((vertices - before) ** 2).sum(axis=1) > STAYED_MM**2
    if not moved.any():
        return vertices
    low, high = vertices[moved].min(axis=0) - 8, vertices[moved].max(axis=0) + 8
    near = ((vertices > low) & (vertices < high)).all(axis=1)
    numbers = np.flatnonzero(near)
    place = np.cumsum(near) - 1
    whole = vertices.copy()
    whole[numbers] = repaired_vertices(
        vertices[numbers], place[triangles[near[triangles].all(axis=1)]], before[numbers]
    )
    return whole


def touching(joint: Joint, migrated: bool) -> bool:
    """Whether the bones come too close to each other; of a femur that has migrated the trochanters count, too."""
    reach = 3.0 if migrated else REACH
    femur, _ = _part(joint.femur, joint.triangles[1], joint, reach)
    hip, _ = _part(joint.hip, joint.triangles[0], joint, reach)
    near = ((hip[0] - joint.centre) ** 2).sum(axis=1) < (1.6 * joint.radius) ** 2
    gap = min(penetration_mm(femur[0], hip).min(), penetration_mm(hip[0][near], femur).min())
    return bool(gap < CONTACT_MM / 3)
