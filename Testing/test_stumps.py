"""What of a completed femur is compared where its true head was replaced."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.bones import MODELS
from support.reconstructions import PELVIS, skeleton

from DualFaceReconLib.metrics import compare_surfaces
from DualFaceReconLib.shape.shapemodel import load_shape_models, model_of
from training.cases import Case
from training.judging.stumps import is_sawn, left_of, stump_of

STUMP_MM = 38.0


@pytest.fixture(scope="module")
def models():
    return load_shape_models(MODELS)


@pytest.fixture(scope="module")
def case(models):
    """The left femur is sawn off 38 mm from its joint, the right one is pinned."""
    meshes = dict(skeleton())
    vertices, triangles = meshes["femur_left"]
    joint = model_of("hip_left", models).landmark_points(meshes["hip_left"][0])["acetabular_centre"]
    kept = (np.linalg.norm(vertices - joint, axis=1) > STUMP_MM)[triangles].all(axis=1)
    numbers, renumbered = np.unique(triangles[kept], return_inverse=True)
    meshes["femur_left"] = vertices[numbers], renumbered.reshape(-1, 3)
    hardware = [{"what": "total hip", "side": "left"}, {"what": "nail", "side": "right"}]
    return Case(folder=Path(), geometry=PELVIS, meshes=meshes, metadata={"patient": {"hardware": hardware}})


def test_what_lies_nearer_to_the_joint_than_the_stump_is_not_compared(case, models):
    stump = stump_of(case, "femur_left", models)
    assert stump.reach_mm == pytest.approx(STUMP_MM, abs=3)
    whole = skeleton()["femur_left"]
    head_too, without = (
        compare_surfaces(left_of(whole, some), case.meshes["femur_left"], 2000).assd_mm for some in (None, stump)
    )
    assert head_too > 1
    assert without < 0.3


def test_nothing_is_left_out_of_bones_that_are_whole(case, models):
    assert [bone for bone in case.meshes if is_sawn(case, bone)] == ["femur_left"]
    assert [bone for bone in case.meshes if stump_of(case, bone, models)] == ["femur_left"]
    mesh = case.meshes["femur_right"]
    assert left_of(mesh, None) is mesh
    cut = replace(case, meshes={**case.meshes, "hip_left": tuple(part[:99] for part in case.meshes["hip_left"])})
    assert stump_of(cut, "femur_left", models) is None  # where its joint was nobody knows
    assert stump_of(replace(case, metadata={}), "femur_left", models) is None
