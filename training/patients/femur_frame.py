"""What a surgeon sees in a femur: its shaft and canal, its neck and head, which way is up and which is out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from DualFaceReconLib.meshes import Mesh, unit
from training.patients.joints import joint_of
from training.patients.virtual import VirtualPatient
from training.raycast import penetration_mm

STEP_MM = 10.0  # between the sections of a shaft
# Thickness of the cortex as a share of the shaft's outer radius: at the narrowest a canal of 12 mm in a bone of 27,
# wider towards the lesser trochanter. Rounded, ours; compare Noble's means in plausibility.py.
CORTEX_SHARE = (0.30, 0.52)  # at the lesser trochanter, and from 90 mm below it downwards


@dataclass(frozen=True, kw_only=True)
class FemurFrame:
    """A femur's frame; directions are unit vectors, heights are mm above the lesser trochanter along `up`."""

    side: str
    mesh: Mesh
    head: np.ndarray  # centre
    radius: float  # of the head
    neck: np.ndarray  # centre of the neck
    axis: np.ndarray  # from the neck to the head
    up: np.ndarray  # along the upper shaft
    medial: np.ndarray  # across it, to where the head is
    front: np.ndarray  # across both, forwards
    lesser: np.ndarray  # the lesser trochanter
    greater: np.ndarray  # the tip of the greater one
    heights: np.ndarray  # (K,) of the shaft's sections, from the lowest up
    middles: np.ndarray  # (K, 3)
    radii: np.ndarray  # (K,) of the largest ball inside

    def depth(self, points: np.ndarray) -> np.ndarray:
        """How deep points (N, 3) lie in the bone, mm; negative outside."""
        return -penetration_mm(points, self.mesh, built=True)

    def middle(self, height: float | np.ndarray) -> np.ndarray:
        """The shaft's middle (3,) or (N, 3) at heights, straight on above its sections."""
        height = np.asarray(height, dtype=float)
        place = np.stack([np.interp(height, self.heights, self.middles[:, k]) for k in range(3)], axis=-1)
        above = np.clip(height - self.heights[-1], 0, None)
        return place + above[..., None] * self.up

    def canal(self, height: float | np.ndarray) -> np.ndarray:
        """Radius of the medullary canal, mm."""
        cortex = np.interp(-np.asarray(height, dtype=float), (0, 90), CORTEX_SHARE)
        return np.interp(height, self.heights, self.radii) * (1 - cortex)

    def height(self, point: np.ndarray) -> float:
        """Of a point (3,)."""
        return float((point - self.lesser) @ self.up)


def femur_frame(patient: VirtualPatient, side: str) -> FemurFrame:
    """The frame of a patient's femur."""
    joint, marks = joint_of(patient, side), patient.landmarks[f"femur_{side}"]
    mesh = patient.bones[f"femur_{side}"]
    lesser, greater = marks["lesser_trochanter"], marks["greater_trochanter"]
    knee = (marks["medial_epicondyle"] + marks["lateral_epicondyle"]) / 2
    rough = unit((lesser + greater) / 2 - knee)
    across = np.stack([unit(np.cross(rough, np.array([0, 1.0, 0]))), np.zeros(3)])
    across[1] = np.cross(rough, across[0])

    along = (mesh[0] - lesser) @ rough
    lowest = float((knee - lesser) @ rough) + 55
    levels = np.arange(-12.0, lowest, -STEP_MM)[::-1]
    flat = mesh[0] @ across.T
    circles = np.array([_circle(flat[np.abs(along - level) < 0.75 * STEP_MM]) for level in levels])
    smooth = np.stack([np.polyval(np.polyfit(levels, circles[:, k], 4), levels) for k in range(2)], axis=1)
    offset = levels + lesser @ rough
    middles = smooth @ across + offset[:, None] * rough

    upper = middles[levels > -130]
    up = unit(np.linalg.svd(upper - upper.mean(axis=0))[2][0])
    up = up if up @ rough > 0 else -up
    to_head = joint.centre - middles[-1]
    medial = unit(to_head - (to_head @ up) * up)
    front = np.cross(up, medial)
    front = front if front[1] > 0 else -front
    radii = -penetration_mm(middles, mesh)
    heights = (middles - lesser) @ up
    return FemurFrame(
        side=side,
        mesh=mesh,
        head=joint.centre,
        radius=joint.radius,
        neck=marks["femoral_neck_centre"],
        axis=joint.axis,
        up=up,
        medial=medial,
        front=front,
        lesser=lesser,
        greater=greater,
        heights=heights,
        middles=middles,
        radii=radii,
    )


def _circle(points: np.ndarray) -> np.ndarray:
    """Centre (2,) of the circle nearest to points (N, 2)."""
    middle = points.mean(axis=0)
    to = points - middle
    terms = np.column_stack([2 * to, np.ones(len(to))])
    return np.linalg.lstsq(terms, (to**2).sum(axis=1), rcond=None)[0][:2] + middle


def inside_span(
    femur: FemurFrame, start: np.ndarray, direction: np.ndarray, reach: tuple[float, float]
) -> tuple[float, float]:
    """Where a line through `start`, which lies in the bone, enters and leaves it: mm along `direction`."""
    steps = np.arange(reach[0], reach[1] + 0.25, 0.5)
    depth = femur.depth(start + steps[:, None] * direction)
    zero = int(np.abs(steps).argmin())
    outside = depth < 0
    low = np.flatnonzero(outside[:zero])
    high = np.flatnonzero(outside[zero:])
    return (
        float(steps[low[-1] + 1] if len(low) else steps[0]),
        float(steps[zero + high[0] - 1] if len(high) else steps[-1]),
    )


def half_width(femur: FemurFrame, heights: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Distance (N,) mm from the shaft's middle at heights (N,) to the bone's surface, along a direction (3,)."""
    steps = np.arange(0.0, 45.0, 0.5)
    points = femur.middle(heights)[:, None] + steps[:, None] * direction
    inside = femur.depth(points.reshape(-1, 3)).reshape(-1, len(steps)) > 0
    inside[:, -1] = False
    return steps[np.argmin(inside, axis=1) - 1]
