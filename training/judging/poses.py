"""How femora stand: flexion, and how far a predicted femur is turned from the true one, in degrees.

    true = TruePose.of(model, mean_at_true_pose(model, mesh), mesh, "left")
    true.flexion_deg
    flexion_error, rotation_error = true.errors_deg(predicted)

Flexion is how far the axis from the head's centre to the knee leans forward in the sagittal plane of the film's frame;
rotation is about that axis, inward positive. A predicted surface, whole or in part, in correspondence or not, is laid
onto the true bone by a rigid fit of nearest points (point to plane, robust), which leaves the difference in pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from DualFaceReconLib.meshes import Mesh, unit
from DualFaceReconLib.shape.shapemodel import ShapeModel
from training.anatomy.remeshing import dense_points

TRUE_POINTS, PREDICTED_POINTS = 20_000, 1_500
ROUNDS = 60
SETTLED_DEG = 0.002  # a round's turn
ROBUST_MM = 2.0  # residuals beyond count as if they grew linearly
BINS_DEG = ((-np.inf, 0.0), (0.0, 10.0), (10.0, np.inf))  # of true flexion: a retreat to the mean shows in these


@dataclass(frozen=True, kw_only=True)
class TruePose:
    """A true femur that predicted ones are compared with."""

    axis: np.ndarray  # (3,) unit, from the head's centre to the knee
    points: np.ndarray  # (N, 3) of its surface, RAS mm
    normals: np.ndarray  # (N, 3) outward
    side: str

    @classmethod
    def of(cls, model: ShapeModel, at_pose: Mesh, mesh: Mesh, side: str) -> TruePose:
        """Of a whole femur; `at_pose` is the mean of `model` where it is closest to it, which has the landmarks."""
        marks = model.landmark_points(at_pose[0])
        knee = (marks["medial_epicondyle"] + marks["lateral_epicondyle"]) / 2
        points, normals, _ = dense_points(mesh, np.zeros(len(mesh[0])), TRUE_POINTS, 0)
        return cls(axis=unit(knee - marks["femoral_head_centre"]), points=points, normals=normals, side=side)

    @property
    def flexion_deg(self) -> float:
        """Forward positive."""
        return flexion_of(self.axis)

    def errors_deg(self, predicted: Mesh) -> tuple[float, float]:
        """Of flexion and of rotation, predicted minus true; `predicted` is the part of a surface on the film."""
        turn = self.turn_to(predicted)
        flexion = flexion_of(turn.apply(self.axis)) - self.flexion_deg
        down = turn.as_quat()  # of a swing and a twist about the axis, the twist
        twist = 2 * np.degrees(np.arctan2(down[:3] @ self.axis, down[3]))
        twist = (twist + 180) % 360 - 180
        # about the way down, positive turns carry a left femur's front to its medial side
        return float(flexion), float(twist if self.side == "left" else -twist)

    def turn_to(self, predicted: Mesh) -> Rotation:
        """The rotation from the true bone's pose to that of a predicted surface."""
        tree = cKDTree(self.points)
        points, normals, _ = dense_points(predicted, np.zeros(len(predicted[0])), PREDICTED_POINTS, 0)
        middle = self._middle_beside(points)
        turn, offset = Rotation.identity(), middle - points.mean(axis=0)
        start = points.mean(axis=0)
        for _ in range(ROUNDS):
            moved = turn.apply(points - start) + start + offset
            nearest = tree.query(moved)[1]
            out = self.normals[nearest]
            away = ((self.points[nearest] - moved) * out).sum(axis=1)
            alike = (turn.apply(normals) * out).sum(axis=1) > 0.3
            weights = alike / np.maximum(1, np.abs(away) / ROBUST_MM)
            arms = moved - start - offset
            rows = np.hstack([np.cross(arms, out), out]) * weights[:, None]
            step = np.linalg.lstsq(rows, away * weights, rcond=None)[0]
            turn, offset = Rotation.from_rotvec(step[:3]) * turn, offset + step[3:]
            if np.degrees(np.linalg.norm(step[:3])) < SETTLED_DEG:
                break
        return turn.inv()

    def _middle_beside(self, points: np.ndarray) -> np.ndarray:
        """The middle (3,) of the true bone as far down as the points reach below their top."""
        reach = np.ptp(points[:, 2])
        return self.points[self.points[:, 2] > self.points[:, 2].max() - reach].mean(axis=0)


def flexion_of(axis: np.ndarray) -> float:
    """Degrees that an axis (3,) to the knee leans forward."""
    return float(np.degrees(np.arctan2(axis[1], -axis[2])))
