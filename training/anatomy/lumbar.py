"""Plausible bodies for the lower lumbar spine: they stand at a film's upper edge and are never scored."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.spatial.transform import Rotation

from DualFaceReconLib.meshes import Mesh, unit_normals

# Half width, half depth and height of a body, and the disc below it, mm: adult means rounded (Panjabi et al., Spine
# 17(3):299, 1992: L3 to L5 endplates 41-52 mm wide, 34-36 mm deep, bodies 23-24 mm high in front of the pedicles).
HALF_WIDTH_MM, HALF_DEPTH_MM, HEIGHT_MM, DISC_MM = 24.0, 17.0, 27.0, 10.0
LORDOSIS_DEGREES = (16.0, 12.0, 9.0)  # between a body and the one below
NAMES = ("lumbar_5", "lumbar_4", "lumbar_3")
MERIDIANS, PARALLELS = 96, 62  # of the sphere that bodies are shaped of, beside its poles


def lumbar_bodies(sacrum: np.ndarray, triangles: np.ndarray, size: float, rng: np.random.Generator) -> dict[str, Mesh]:
    """L5, L4 and L3 above a sacrum's endplate, each a body with transverse and spinous processes in one closed mesh."""
    place, up = _endplate(sacrum, triangles)
    bodies = {}
    for name, lordosis in zip(NAMES, LORDOSIS_DEGREES, strict=True):
        width, depth, height = np.array([HALF_WIDTH_MM, HALF_DEPTH_MM, HEIGHT_MM]) * size * rng.normal(1, 0.04, 3)
        place = place + up * DISC_MM * size * rng.normal(1, 0.1)
        angle = np.radians(lordosis * rng.normal(0.8, 0.2))
        up = Rotation.from_rotvec([angle, 0, 0]).apply(up)
        body, faces = _vertebra(width, depth, height)
        right = np.array([1.0, 0, 0]) - up[0] * up
        right /= np.linalg.norm(right)
        frame = np.stack([right, np.cross(up, right), up])
        bodies[name] = place + (body + np.array([0, 0, height / 2])) @ frame, faces
        place = place + up * height
    return bodies


def _endplate(sacrum: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle (3,) of the sacrum's upper endplate and the way it looks (3,)."""
    normals = unit_normals(sacrum, triangles)
    front_up = np.array([0, 0.5, 0.85])
    height = sacrum @ front_up
    top = (normals @ front_up > 0.8) & (np.abs(sacrum[:, 0] - np.median(sacrum[:, 0])) < 22)
    top &= height > height[top].max() - 12
    up = normals[top].mean(axis=0) * (0, 1, 1)
    return sacrum[top].mean(axis=0), up / np.linalg.norm(up)


def unit_vertebra() -> Mesh:
    """One vertebra of middling size, around its middle: all have its triangles."""
    return _vertebra(HALF_WIDTH_MM, HALF_DEPTH_MM, HEIGHT_MM)


def _vertebra(width: float, depth: float, height: float) -> Mesh:
    """A waisted cylinder with soft edges, drawn out to processes at both sides and behind; around its middle."""
    unit, triangles = _unit_sphere()
    flat = np.linalg.norm(unit[:, :2], axis=1)
    around = unit[:, :2] / np.maximum(flat, 1e-9)[:, None]
    boxed = np.maximum(np.abs(unit[:, 2]), flat)  # a cylinder's silhouette
    radius, level = np.minimum(flat / boxed, 1), unit[:, 2] / boxed
    soft = 1 - 0.12 * np.clip(np.abs(level) * radius - 0.8, 0, None) / 0.2
    waist = 1 - 0.13 * (1 - level**2)
    body = np.column_stack([around * (radius * soft * waist)[:, None] * (width, depth), level * soft * height / 2])
    # behind, a spinous process; at both sides, transverse ones
    back = np.exp(-(np.degrees(np.arctan2(around[:, 0], -around[:, 1])) ** 2) / 2 / 9**2) * (radius > 0.6)
    side = sum(
        np.exp(-(np.degrees(np.arctan2(-sign * around[:, 1] - 0.45, sign * around[:, 0])) ** 2) / 2 / 8**2)
        for sign in (-1, 1)
    ) * (radius > 0.6)
    slim = np.exp(-((level / 0.35) ** 2))
    body[:, :2] += around * (45 * back * slim + 18 * side * slim)[:, None]
    return body, triangles


@cache
def _unit_sphere() -> Mesh:
    """Meridians from pole to pole; the poles, at S and -S, come first. Places are rounded as films have them."""
    around, down = np.arange(MERIDIANS) * (2 * np.pi / MERIDIANS), np.arange(1, PARALLELS + 1) * np.pi / (PARALLELS + 1)
    flat, level = np.sin(down), np.broadcast_to(np.cos(down), (MERIDIANS, PARALLELS))
    places = np.stack([np.cos(around)[:, None] * flat, np.sin(around)[:, None] * flat, level], axis=2).reshape(-1, 3)
    unit = np.concatenate([[[0, 0, 1.0], [0, 0, -1.0]], places]).astype(np.float32).astype(np.float64)
    here = 2 + np.arange(MERIDIANS * PARALLELS).reshape(MERIDIANS, PARALLELS)  # vertices by meridian
    east = np.roll(here, -1, axis=0)
    zero, one = np.zeros_like(here[:, 0]), np.ones_like(here[:, 0])
    north = np.stack([here[:, 0], east[:, 0], zero], axis=1)
    south = np.stack([here[:, -1], one, east[:, -1]], axis=1)
    upper = np.stack([here[:, :-1], here[:, 1:], east[:, 1:]], axis=2)
    lower = np.stack([here[:, :-1], east[:, 1:], east[:, :-1]], axis=2)
    between = np.stack([upper, lower], axis=2).reshape(-1, 3)
    return unit / np.linalg.norm(unit, axis=1, keepdims=True), np.concatenate([north, south, between])
