"""What the bones of one person know of each other, and of how people lie, as residuals of their poses and shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from DualFaceReconLib.bonemaps import SIDES
from DualFaceReconLib.meshes import unit
from DualFaceReconLib.shape.body_prior import BodyPrior
from DualFaceReconLib.shape.equations import Block
from DualFaceReconLib.shape.evidence import POSE, SeenBone
from DualFaceReconLib.shape.shapemodel import ShapeModel

SOCKET, HEAD = "acetabular_centre", "femoral_head_centre"
KNEE = ("medial_epicondyle", "lateral_epicondyle", "medial_condyle_posterior", "lateral_condyle_posterior")
JOINT_TAIL = 3.0  # standard deviations beyond which a head and its socket part, as where a joint is ill


def shapes(bones: Mapping[str, SeenBone], prior: BodyPrior) -> Iterator[Block]:
    """How usual the shapes of whatever bones there are, and those of both sides beside each other."""
    for kind in ("hip", "femur"):
        both = [bones[f"{kind}_{side}"] for side in SIDES if f"{kind}_{side}" in bones]
        if len(both) == 2 and prior.sides:
            yield from _shared_shape(*both, prior)
        else:
            yield from (_shape(bone, prior) for bone in both)


def relations(bones: Mapping[str, SeenBone], prior: BodyPrior, films: int = 1) -> Iterator[Block]:
    """How the bones of a film stand to each other and lie, of whatever bones there are; `films` are of the person."""
    for side in SIDES:
        hip, femur = bones.get(f"hip_{side}"), bones.get(f"femur_{side}")
        if prior.joints and hip and femur and SOCKET in hip.model.landmarks and HEAD in femur.model.landmarks:
            yield from _joint(hip, femur, prior, films)
        if prior.posture is not None and femur and all(name in femur.model.landmarks for name in (HEAD, *KNEE)):
            yield _posture(femur, prior.posture)


def _shape(bone: SeenBone, prior: BodyPrior) -> Block:
    """A shape among people."""
    spread = prior.shape_spread(bone.kind, bone.count)
    return Block(
        name="shape",
        columns=bone.columns[POSE:],
        rows=np.diag(1 / spread),
        residuals=bone.fit.coefficients / spread,
        weights=np.ones(bone.count),
    )


def _shared_shape(left: SeenBone, right: SeenBone, prior: BodyPrior) -> Iterator[Block]:
    """What both sides have in common, and how they differ."""
    spread, alike = prior.shape_spread(left.kind, left.count), prior.alike(left.kind, left.count)
    for sign, variance in ((1.0, 1 + alike), (-1.0, 1 - alike)):
        scale = 1 / (spread * np.sqrt(2 * variance))
        yield Block(
            name="shape",
            columns=np.concatenate([left.columns[POSE:], right.columns[POSE:]]),
            rows=np.hstack([np.diag(scale), sign * np.diag(scale)]),
            residuals=scale * (left.fit.coefficients + sign * right.fit.coefficients),
            weights=np.ones(left.count),
        )


def _joint(hip: SeenBone, femur: SeenBone, prior: BodyPrior, films: int) -> Iterator[Block]:
    """A head in its socket: where its centre is, and how much smaller it is."""
    socket, socket_moves, socket_radius, socket_grows = hip.sphere(SOCKET)
    head, head_moves, head_radius, head_grows = femur.sphere(HEAD)
    columns = np.concatenate([hip.columns, femur.columns])
    usual = hip.fit.rotation @ (np.array(prior.head_mm) * (hip.left_form, 1, 1))
    rows = np.hstack([-socket_moves, head_moves])
    rows[:, :3] += _cross_matrix(usual)  # the socket turns with its hip
    apart = (head - socket - usual) / prior.head_spread_mm
    influence = (1 + apart @ apart / (3 * JOINT_TAIL**2)) ** -2
    yield Block(
        name="joint",
        columns=columns,
        rows=rows / prior.head_spread_mm,
        residuals=apart,
        weights=np.full(3, influence),
    )
    yield Block(
        name="radii",
        columns=columns,
        rows=np.concatenate([socket_grows, -head_grows])[None] / prior.room_spread_mm,
        residuals=np.array([socket_radius - head_radius - prior.room_mm]) / prior.room_spread_mm,
        weights=np.array([influence / films]),  # radii are the person's, and no other in another film
    )


def _posture(femur: SeenBone, posture: tuple[tuple[float, float], ...]) -> Block:
    """How far a leg is from where legs usually lie, as a turn in the film's frame."""
    forwards, outwards, inwards = np.radians(posture).T[0]
    spread = np.radians(posture).T[1]
    mirror = np.array([1.0, femur.left_form, femur.left_form])  # of turns
    usual = Rotation.from_rotvec(np.array([forwards, outwards, -inwards]) * mirror).as_matrix() @ _leg_axes(femur.model)
    away = Rotation.from_matrix(femur.fit.rotation @ usual.T).as_rotvec()
    return Block(
        name="posture",
        columns=femur.columns[:3],
        rows=_turn_by_turn(away) / spread[:, None],
        residuals=away / spread,
        weights=np.ones(3),
    )


def _leg_axes(model: ShapeModel) -> np.ndarray:
    """The turn (3, 3) that puts a mean femur upright: its mechanical axis along S, its condyles square to A."""
    marks = {name: model.landmarks[name].place(model.mean) for name in (HEAD, *KNEE)}
    medial_edge, lateral_edge, medial, lateral = (marks[name] for name in KNEE)
    up = unit(marks[HEAD] - (medial_edge + lateral_edge) / 2)
    across = medial - lateral if model.side == "left" else lateral - medial  # to the patient's right
    right = unit(across - (across @ up) * up)
    return np.stack([right, np.cross(up, right), up])


def _cross_matrix(vector: np.ndarray) -> np.ndarray:
    """(3, 3) whose product with w is vector x w."""
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def _turn_by_turn(away: np.ndarray) -> np.ndarray:
    """(3, 3) derivatives of a turn's vector by a small turn that comes after it."""
    angle = np.linalg.norm(away)
    cross = _cross_matrix(away)
    rest = 1 / 12 if angle < 1e-3 else 1 / angle**2 - (1 + np.cos(angle)) / (2 * angle * np.sin(angle))
    return np.eye(3) - cross / 2 + rest * cross @ cross
