"""Closed solids made by lofting rings: what implants, screws and buttons are made of. All outward, RAS mm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from DualFaceReconLib.meshes import Mesh, unit, unit_rows, volume_mm3

SIDES = 24  # of a circle; a screw of 7 mm is then round to 0.03 mm


def lofted(rings: np.ndarray, closed: bool = False) -> Mesh:
    """A solid through rings (N, S, 3), each in turn joined with the next; a point repeated S times is a tip.

    The ends are closed by fans around their middles, so that they should be convex; with `closed` the last ring
    is joined with the first instead, as in a buckle.
    """
    count, sides, _ = rings.shape
    vertices = rings.reshape(-1, 3)
    here = np.arange(count if closed else count - 1)[:, None] * sides
    there = (here + sides) % (count * sides)
    side, after = np.arange(sides), np.roll(np.arange(sides), -1)
    lower = np.stack(np.broadcast_arrays(here + side, here + after, there + after), axis=-1)
    upper = np.stack(np.broadcast_arrays(here + side, there + after, there + side), axis=-1)
    triangles = np.concatenate([lower.reshape(-1, 3), upper.reshape(-1, 3)])
    if not closed:
        first, last = len(vertices), len(vertices) + 1
        vertices = np.concatenate([vertices, rings[[0, -1]].mean(axis=1)])
        end = (count - 1) * sides
        bottom = np.stack([np.full(sides, first), after, side], axis=1)
        top = np.stack([np.full(sides, last), end + side, end + after], axis=1)
        triangles = np.concatenate([triangles, bottom, top])
    mesh = _without_slivers(vertices, triangles)
    return mesh if volume_mm3(*mesh) > 0 else (mesh[0], mesh[1][:, ::-1])


def revolved(profile: Sequence[tuple[float, float]], start: np.ndarray, axis: np.ndarray) -> Mesh:
    """A solid of revolution: `profile` is [along the axis from `start`, radius] mm; a radius of 0 is a tip."""
    along, radius = np.asarray(profile, dtype=float).T
    across, other = perpendicular(axis)
    turn = np.linspace(0, 2 * np.pi, SIDES, endpoint=False)
    circle = np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * other
    return lofted(start + along[:, None, None] * unit(axis) + radius[:, None, None] * circle)


def ball(centre: np.ndarray, radius: float) -> Mesh:
    """A sphere."""
    turn = np.linspace(0, np.pi, SIDES // 2 + 1)
    profile = np.stack([-radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    profile[[0, -1], 1] = 0
    return revolved(profile, centre, np.array([0, 0, 1.0]))


def rod(start: np.ndarray, end: np.ndarray, radius: float) -> Mesh:
    """A cylinder."""
    return revolved([(0, radius), (float(np.linalg.norm(end - start)), radius)], start, end - start)


def swept(path: np.ndarray, radii: np.ndarray) -> Mesh:
    """A round bar along a path (N, 3), its radius (N,) mm; bends must be wider than the bar."""
    along = unit_rows(np.gradient(path, axis=0))
    across = perpendicular(along[0])[0]
    turn = np.linspace(0, 2 * np.pi, SIDES, endpoint=False)
    rings = []
    for point, axis, radius in zip(path, along, radii, strict=True):
        across = unit(across - (across @ axis) * axis)  # carried along without a twist
        circle = np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * np.cross(axis, across)
        rings.append(point + radius * circle)
    return lofted(np.array(rings))


def strip(path: np.ndarray, outwards: np.ndarray, width: float, thickness: float) -> Mesh:
    """A flat bar with rounded edges along a path (N, 3) on its inner face, thick towards unit `outwards` (N, 3)."""
    along = unit_rows(np.gradient(path, axis=0))
    across = unit_rows(np.cross(along, outwards))
    turn = np.linspace(0, 2 * np.pi, SIDES, endpoint=False)
    wide, thick = (0.5 * size * rounded(wave) for size, wave in ((width, np.cos(turn)), (thickness, np.sin(turn))))
    middle = path + 0.5 * thickness * outwards
    return lofted(middle[:, None] + wide[:, None] * across[:, None] + thick[:, None] * outwards[:, None])


def sheet(outline: np.ndarray, middle: np.ndarray, across: np.ndarray, up: np.ndarray, thickness: float) -> Mesh:
    """A plate with an outline (N, 2) mm along unit `across` and `up`, seen from its middle in every direction."""
    flat = middle + outline[:, :1] * across + outline[:, 1:] * up
    depth = 0.5 * thickness * np.cross(across, up)
    faces = np.stack([flat - depth, flat + depth])
    solid = lofted(faces)
    solid[0][-2:] = middle - depth, middle + depth
    return solid


def rounded(wave: np.ndarray) -> np.ndarray:
    """A cosine or sine turned from a circle's into a rounded rectangle's."""
    return np.sign(wave) * np.abs(wave) ** 0.5


def perpendicular(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors (3,) across an axis and each other; with the axis they are right-handed."""
    across = unit(np.cross(axis, np.eye(3)[np.abs(axis).argmin()]))
    return across, np.cross(unit(axis), across)


def _without_slivers(vertices: np.ndarray, triangles: np.ndarray) -> Mesh:
    """The mesh with coinciding points merged, and without the triangles that this leaves flat."""
    _, first, same = np.unique(np.round(vertices, 6), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))  # points keep their order
    kept = vertices[np.sort(first)]
    triangles = order[same.ravel()][triangles]
    flat = (triangles == np.roll(triangles, 1, axis=1)).any(axis=1)
    triangles = triangles[~flat]
    used = np.unique(triangles)
    place = np.zeros(len(kept), dtype=np.int64)
    place[used] = np.arange(len(used))
    return kept[used], place[triangles]
