"""Where what is on a vertebra: its body, its endplates, its own frame; found once on a group's template.

    parts = parts_of(mesh)                          # of an upright vertebra
    upright = in_own_frame(shape, parts)            # any vertebra of that template, around its body's middle
    dimensions(upright, parts)["body_height_posterior_mm"]

The frame of a vertebra: its origin is midway between the middles of the two endplates, S is along the body, at right
angles to both endplates on average, A points from the arch to the body, R is to the right of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_fill_holes, label

from DualFaceReconLib.meshes import Mesh, unit, unit_normals
from training.vertebrae.voxels import inside_of

GRID_MM = 1.0  # of the slices in which the canal is looked for
CANAL_MM2 = 80.0  # a hole in a slice that is larger is the spinal canal
FACING = 0.75  # cosine to the body's axis, from where on a surface is an endplate
ROUNDS = 3  # of finding the endplates and setting the vertebra upright by them
PATCH = 0.22  # share of the endplate's depth in which its front, middle and back heights are measured
MIDLINE_MM = 6.0


@dataclass(frozen=True, kw_only=True)
class VertebraParts:
    """Numbers of a template's vertices."""

    body: np.ndarray  # before the canal
    upper: np.ndarray  # the upper endplate
    lower: np.ndarray
    arch: np.ndarray  # behind the canal's front wall
    upper_patches: tuple[np.ndarray, np.ndarray, np.ndarray]  # front, middle, back in the midline
    lower_patches: tuple[np.ndarray, np.ndarray, np.ndarray]
    upper_rim: np.ndarray  # the body's uppermost fifth
    lower_rim: np.ndarray


def parts_of(mesh: Mesh) -> VertebraParts:
    """The parts of an upright vertebra; ValueError where it has no canal."""
    vertices, triangles = mesh
    upright = vertices - vertices.mean(axis=0)
    for _ in range(ROUNDS):
        wall = _canal_front((upright, triangles))
        body = np.flatnonzero(upright[:, 1] > wall)
        facing = unit_normals(upright, triangles)[body, 2]
        height = upright[body, 2] - np.median(upright[body, 2])
        upper, lower = body[(facing > FACING) & (height > 0)], body[(facing < -FACING) & (height < 0)]
        arch = np.flatnonzero(upright[:, 1] <= wall)
        upright = (upright - _origin(upright, upper, lower)) @ _axes(upright, body, upper, lower, arch).T
    level = upright[body, 2] / (np.ptp(upright[body, 2]) / 2)
    return VertebraParts(
        body=body,
        upper=upper,
        lower=lower,
        arch=arch,
        upper_patches=_patches(upright, upper),
        lower_patches=_patches(upright, lower),
        upper_rim=body[level > 0.6],
        lower_rim=body[level < -0.6],
    )


def in_own_frame(shape: np.ndarray, parts: VertebraParts) -> np.ndarray:
    """A vertebra's vertices (V, 3) in its own frame, mm."""
    axes = _axes(shape, parts.body, parts.upper, parts.lower, parts.arch)
    return (shape - _origin(shape, parts.upper, parts.lower)) @ axes.T


def dimensions(upright: np.ndarray, parts: VertebraParts) -> dict[str, float]:
    """What is measured on a vertebra (V, 3) in its own frame, mm and degrees; some of it is in Panjabi's tables."""
    front, middle, back = (
        float(upright[above, 2].mean() - upright[below, 2].mean())
        for above, below in zip(parts.upper_patches, parts.lower_patches, strict=True)
    )
    depth = float(np.ptp(upright[parts.upper, 1]) + np.ptp(upright[parts.lower, 1])) / 2
    return {
        "upper_endplate_width_mm": float(np.ptp(upright[parts.upper_rim, 0])),
        "lower_endplate_width_mm": float(np.ptp(upright[parts.lower_rim, 0])),
        "upper_endplate_depth_mm": float(np.ptp(upright[parts.upper_rim, 1])),
        "lower_endplate_depth_mm": float(np.ptp(upright[parts.lower_rim, 1])),
        "body_height_anterior_mm": front,
        "body_height_middle_mm": middle,
        "body_height_posterior_mm": back,
        "wedge_degrees": float(np.degrees(np.arctan2(back - front, depth * (1 - PATCH)))),
        "width_mm": float(np.ptp(upright[:, 0])),
        "depth_mm": float(np.ptp(upright[:, 1])),
    }


def _origin(shape: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return (shape[upper].mean(axis=0) + shape[lower].mean(axis=0)) / 2


def _axes(shape: np.ndarray, body: np.ndarray, upper: np.ndarray, lower: np.ndarray, arch: np.ndarray) -> np.ndarray:
    """Rows R, A, S (3, 3)."""
    across = shape[upper].mean(axis=0) - shape[lower].mean(axis=0)
    normals = [_normal_of_plane(shape[plate], across) for plate in (upper, lower)]
    superior = unit(normals[0] + normals[1])
    forwards = shape[body].mean(axis=0) - shape[arch].mean(axis=0)
    anterior = unit(forwards - (forwards @ superior) * superior)
    return np.stack([np.cross(anterior, superior), anterior, superior])


def _normal_of_plane(points: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """The unit normal of the plane through points, on the side of `towards`."""
    normal = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][2]
    return normal if normal @ towards > 0 else -normal


def _canal_front(mesh: Mesh) -> float:
    """A of the spinal canal's front wall, mm: where slices have a hole in them."""
    inside, first = inside_of(mesh, GRID_MM)
    walls = []
    for number in range(inside.shape[2]):
        holes, count = label(binary_fill_holes(inside[:, :, number]) & ~inside[:, :, number])
        sizes = np.bincount(holes.ravel(), minlength=count + 1)[1:] * GRID_MM**2
        if count and sizes.max() > CANAL_MM2:
            canal = np.argwhere(holes == 1 + sizes.argmax())
            walls.append(first[1] + canal[:, 1].max() * GRID_MM)
    if not walls:
        raise ValueError("no slice of this vertebra has a spinal canal")
    return float(np.median(walls))


def _patches(upright: np.ndarray, plate: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The front, the middle and the back of an endplate near the midline."""
    low, high = upright[plate, 1].min(), upright[plate, 1].max()
    share = (upright[plate, 1] - low) / (high - low)
    near = np.abs(upright[plate, 0]) < MIDLINE_MM
    front, middle, back = share > 1 - PATCH, np.abs(share - 0.5) < PATCH / 2, share < PATCH
    return plate[near & front], plate[near & middle], plate[near & back]
