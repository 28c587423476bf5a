"""A femur's pose: what is turned by known angles is found so, whole, cut by the film, or in another mesh."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.bones import MODELS

from DualFaceReconLib.meshes import MIRROR, mirrored
from DualFaceReconLib.shape.shapemodel import load_shape_models, model_of
from training.judging.poses import TruePose, flexion_of
from training.patients.posture import leg_turn

MODEL = load_shape_models(MODELS)["femur"]
HEAD = MODEL.landmark_points(MODEL.mean)["femoral_head_centre"]


def upright(mesh=None):
    """A left femur with its head in the origin and its axis straight down."""
    vertices = (MODEL.mean if mesh is None else mesh) - HEAD
    marks = MODEL.landmark_points(MODEL.mean - HEAD)
    down = (marks["medial_epicondyle"] + marks["lateral_epicondyle"]) / 2
    turn = Rotation.align_vectors([[0, 0, -1.0]], [down / np.linalg.norm(down)])[0]
    return turn.apply(vertices)


def pose_of(vertices, side="left"):
    triangles = MODEL.triangles if side == "left" else MODEL.triangles[:, ::-1]
    return TruePose.of(model_of(f"femur_{side}", {"femur": MODEL}), (vertices, triangles), (vertices, triangles), side)


@pytest.mark.parametrize("angles", [(0, 0, 12), (0, 0, -15), (15, 0, 0), (-12, 0, 0), (10, 4, 14)])
def test_a_femur_turned_by_known_angles_is_found_turned_by_them(angles):
    inward, abduction, flexion = angles
    straight = upright()
    true = pose_of(straight)
    assert true.flexion_deg == pytest.approx(0, abs=1e-6)
    turned = straight @ leg_turn(inward, abduction, flexion).T
    assert pose_of(turned).flexion_deg == pytest.approx(flexion, abs=1e-6)
    upper = straight[:, 2].max() - 200  # what a film shows
    cut = MODEL.triangles[(straight[MODEL.triangles][:, :, 2] > upper).all(axis=1)]
    for triangles in (MODEL.triangles, cut):
        found = true.errors_deg((turned + np.array([3.0, 25.0, -4.0]), triangles))
        assert found == pytest.approx((flexion, inward), abs=0.3 if abduction == 0 else 1.2)


def test_the_signs_are_the_same_on_the_right():
    straight, turned = upright(), upright() @ leg_turn(8, 0, 6).T
    true = pose_of(straight * MIRROR, "right")
    assert true.errors_deg(mirrored((turned, MODEL.triangles))) == pytest.approx((6, 8), abs=0.3)
    assert true.flexion_deg == pytest.approx(0, abs=1e-6)


def test_another_shape_in_another_mesh_has_the_pose_all_the_same():
    """A real bone's mesh is in no correspondence; shape and pose part to about a degree."""
    coefficients = np.zeros(len(MODEL.variances))
    coefficients[:6] = (1.0, -1.0, 0.8, 0.6, -0.8, 0.5)
    true = pose_of(upright())
    other = upright(MODEL.shape(coefficients))
    order = np.random.default_rng(0).permutation(len(other))
    place = np.argsort(order)
    between = np.subtract(
        true.errors_deg((other[order] @ leg_turn(9, 0, 7).T, place[MODEL.triangles])),
        true.errors_deg((other, MODEL.triangles)),
    )
    assert between == pytest.approx((7, 9), abs=1.0)


def test_flexion_leans_forward_of_straight_down():
    assert flexion_of(np.array([0.0, 0, -1])) == 0
    assert flexion_of(np.array([0.3, 1, -1])) == pytest.approx(45)
