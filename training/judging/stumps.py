"""Femora whose heads were replaced: their truth ends where it was sawn, and what was completed beyond is not compared.

A completed femur has a head, where the truth has metal. Counted as an error, it would make that bone the best which
hides its head behind its shaft.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from DualFaceReconLib.meshes import Mesh
from DualFaceReconLib.shape.relations import SOCKET
from DualFaceReconLib.shape.shapemodel import ShapeModel, model_of
from training.cases import Case
from training.patients.implants import ARTHROPLASTIES


@dataclass(frozen=True)
class Stump:
    """Where a true femur begins."""

    joint: np.ndarray  # (3,) RAS mm, the true socket's centre
    reach_mm: float  # from there to the nearest of the femur


def is_sawn(case: Case, bone: str) -> bool:
    """Whether a case's true bone is a femur without its head."""
    operations = case.metadata.get("patient", {}).get("hardware", ())
    return bone in {f"femur_{entry.get('side')}" for entry in operations if entry["what"] in ARTHROPLASTIES}


def stump_of(case: Case, bone: str, models: Mapping[str, ShapeModel]) -> Stump | None:
    """None of a bone that is whole, or whose hip is not there in the model's vertices."""
    if not is_sawn(case, bone):
        return None
    hip = bone.replace("femur", "hip")
    model = model_of(hip, models)
    if hip not in case.meshes or len(case.meshes[hip][0]) != len(model.mean):
        return None
    joint = model.landmarks[SOCKET].place(case.meshes[hip][0])
    return Stump(joint, float(np.linalg.norm(case.meshes[bone][0] - joint, axis=1).min()))


def left_of(mesh: Mesh, stump: Stump | None) -> Mesh:
    """What of a bone is compared: triangles that are no nearer to the joint than the stump."""
    if stump is None:
        return mesh
    vertices, triangles = mesh
    far = np.linalg.norm(vertices - stump.joint, axis=1) >= stump.reach_mm
    return vertices, triangles[far[triangles].all(axis=1)]
