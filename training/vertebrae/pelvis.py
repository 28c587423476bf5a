"""Pelves of real people that stand below a lumbar spine on films, so that the lowest vertebrae have what they have.

    pelves = read_pelves(Path("../shared/bones"))
    below(pelves, bottom, rotation, scale, rng)

They are `llp26`'s, whole sacra between their hips (MPL-2.0); nothing is learnt of their shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import Mesh
from training.anatomy.remeshing import read_ply

SET, BONES = "llp26", ("sacrum", "hip_left", "hip_right")
PACKED = "pelves.npz"  # in the bones' folder, in place of the set
SLOPE_DEGREES = 40.0  # of the sacrum's endplate, where it is looked for
NEAR_MIDLINE_MM, NEAR_TOP_MM, ALIKE = 18.0, 6.0, 0.85  # of that endplate's triangles; the cosine of their normals
# Textbooks' ranges, rounded: the disc below L5, and how far the sacrum is bent back against L5
DISC_MM, BEND_DEGREES = 9.0, -13.0
SCALES = (0.85, 1.15)


@dataclass(frozen=True)
class Pelvis:
    """A person's, in RAS mm with the middle of the sacrum's endplate at 0 and that facing along S."""

    meshes: tuple[Mesh, ...]


def read_pelves(bones: Path) -> tuple[Pelvis, ...]:
    """Everybody's, of the set or where `save_pelves` left them; Refusal where there are none."""
    if (bones / PACKED).is_file():
        with np.load(bones / PACKED, allow_pickle=False) as file:
            people = zip(*(file[bone] for bone in BONES), strict=True)
            return tuple(
                Pelvis(tuple((vertices, file[f"{bone}_triangles"]) for bone, vertices in zip(BONES, own, strict=True)))
                for own in people
            )
    folders = sorted(path.parent for path in (bones / SET).glob("*/sacrum.ply"))
    if not folders:
        raise Refusal(f"There is no pelvis in {bones / SET}: CONTRIBUTING.md says where the bones come from.")
    return tuple(_standing([read_ply(folder / f"{bone}.ply") for bone in BONES]) for folder in folders)


def save_pelves(pelves: Sequence[Pelvis], path: Path) -> None:
    """As one file, for a machine that reads no PLY; all have the same triangles."""
    arrays = {}
    for number, bone in enumerate(BONES):
        meshes = [pelvis.meshes[number] for pelvis in pelves]
        arrays[bone] = np.array([vertices for vertices, _ in meshes], dtype=np.float32)
        arrays[f"{bone}_triangles"] = meshes[0][1].astype(np.int32)
    np.savez_compressed(path, **arrays)


def below(
    pelves: Sequence[Pelvis], bottom: np.ndarray, rotation: Rotation, scale: float, rng: np.random.Generator
) -> list[Mesh]:
    """Somebody's pelvis below an L5 that is turned by `rotation`, its lower endplate's middle at `bottom` (3,) mm."""
    pelvis = pelves[int(rng.integers(len(pelves)))]
    turn = Rotation.from_euler("x", BEND_DEGREES * rng.normal(1, 0.3), degrees=True) * rotation
    scale = float(np.clip(scale, *SCALES))
    top = bottom - DISC_MM * rng.uniform(0.6, 1.2) * turn.apply([0.0, 0.0, 1.0])
    mirrored = bool(rng.random() < 0.5)
    side = np.array([-1.0, 1.0, 1.0]) if mirrored else np.ones(3)
    return [
        (turn.apply(vertices * side) * scale + top, triangles[:, ::-1] if mirrored else triangles)
        for vertices, triangles in pelvis.meshes
    ]


def _standing(bones: Sequence[Mesh]) -> Pelvis:
    """A sacrum, which comes first, and hips on the sacrum's endplate."""
    middle, normal = endplate(bones[0])
    turn = Rotation.from_euler("x", math.atan2(normal[1], normal[2]))
    return Pelvis(tuple((turn.apply(vertices - middle), triangles) for vertices, triangles in bones))


def endplate(sacrum: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Middle (3,) mm and normal (3,), without a part along R, of a sacrum's upper endplate."""
    vertices, triangles = sacrum
    corners = vertices[triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2
    areas = np.linalg.norm(across, axis=1)
    normals, centres = across / np.maximum(areas, 1e-9)[:, None], corners.mean(axis=1)
    near = np.abs(centres[:, 0] - (vertices[:, 0].min() + vertices[:, 0].max()) / 2) < NEAR_MIDLINE_MM
    slope = math.radians(SLOPE_DEGREES)
    normal = np.array([0.0, math.sin(slope), math.cos(slope)])
    for _ in range(3):
        facing = near & (normals @ normal > ALIKE)
        facing &= centres @ normal > (centres[facing] @ normal).max() - NEAR_TOP_MM
        middle = np.average(centres[facing], axis=0, weights=areas[facing])
        normal = across[facing].sum(axis=0) * (0.0, 1.0, 1.0)
        normal /= np.linalg.norm(normal)
    return middle, normal
