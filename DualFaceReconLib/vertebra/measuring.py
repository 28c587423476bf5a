"""What is measured on a vertebra's surface: its body's heights, wedge, and endplates. Geometry alone, no shape model.

    sizes = body_sizes(mesh, inside, cube)     # {"body_height_anterior": 27.1, ..., "wedge_angle": -1.9}

The body is where the largest ball fits. Its endplates are the surfaces above and below that look along it; planes
through them set it upright. Front and back are those of the whole bone, as the arch lies behind the body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt

from DualFaceReconLib.backprojection import Cube
from DualFaceReconLib.meshes import Mesh, unit, unit_normals

FACING = 0.75  # cosine to the body's axis, from where on a surface is an endplate
ROUNDS = 3  # of finding the endplates and setting the body upright by them
PATCH = 0.22  # share of the endplates' depth in which the heights in front, in the middle and behind are measured
MIDLINE_MM = 6.0
RIM = 0.6  # of the half height, from where on the body's outline is an endplate's
HIGHEST = 1.6
WIDEST = 1.8  # half of an endplate, in radii of the largest disc in the body
BEFORE_PEDICLES = 0.2  # share of the depth from the back wall, from where on the outline is the body's alone
BEHIND_WALL = 0.04  # share of the depth that an endplate's rim may reach behind the wall between the endplates
LEAST_VERTICES = 12  # of a patch or a plane


@dataclass(frozen=True, kw_only=True)
class UprightBody:
    """A vertebra's body set upright: R, A and S from its middle, mm."""

    vertices: np.ndarray  # (V, 3) of the whole bone
    upper: np.ndarray  # (V,) bool, the endplates
    lower: np.ndarray
    front_mm: float  # A of the walls
    back_mm: float
    radius_mm: float  # of the largest disc in it


def body_sizes(mesh: Mesh, inside: np.ndarray, cube: Cube) -> dict[str, float]:
    """Millimetres, and degrees of the wedge: more where the front is lower. ValueError where there is no such body."""
    body = body_of(mesh, inside, cube)
    vertices, share = body.vertices, (body.vertices[:, 1] - body.back_mm) / (body.front_mm - body.back_mm)
    midline = np.abs(vertices[:, 0]) < MIDLINE_MM
    heights = {}
    for name, here in (
        ("anterior", (share > 1 - PATCH) & (share < 1)),
        ("middle", np.abs(share - 0.5) < PATCH / 2),
        ("posterior", (share < PATCH) & (share > 0)),
    ):
        above, below = (_patch(vertices, plate & midline & here) for plate in (body.upper, body.lower))
        heights[name] = float(above[2] - below[2])
    depth_mm = (body.front_mm - body.back_mm) * (1 - PATCH)
    wedge = float(np.degrees(np.arctan2(heights["posterior"] - heights["anterior"], depth_mm)))
    sizes = {f"body_height_{name}": height for name, height in heights.items()}
    sizes["wedge_angle"] = wedge
    half = heights["middle"] / 2
    for name, sign in (("upper", 1.0), ("lower", -1.0)):
        level = sign * vertices[:, 2] / half
        rim = (level > RIM) & (level < HIGHEST)
        across = rim & (share > BEFORE_PEDICLES) & (share < 1) & (np.abs(vertices[:, 0]) < WIDEST * body.radius_mm)
        along = rim & midline & (share > -BEHIND_WALL)
        if min(across.sum(), along.sum()) < LEAST_VERTICES:
            raise ValueError(f"no {name} endplate")
        sizes[f"{name}_endplate_width"] = float(np.ptp(vertices[across, 0]))
        sizes[f"{name}_endplate_depth"] = float(np.ptp(vertices[along, 1]))
    return sizes


def body_of(mesh: Mesh, inside: np.ndarray, cube: Cube) -> UprightBody:
    """The body of a vertebra that stands within some 30 degrees of upright."""
    vertices, triangles = mesh
    normals = unit_normals(vertices, triangles)
    places = np.argwhere(inside)
    if not len(places):
        raise ValueError("no bone")
    first = np.maximum(places.min(axis=0) - 1, 0)
    depth = distance_transform_edt(inside[tuple(map(slice, first, places.max(axis=0) + 2))])
    at = first + np.unravel_index(depth.argmax(), depth.shape)
    middle = np.array([axis[place] for axis, place in zip(cube.axes(), at, strict=True)])
    radius_mm = float(distance_transform_edt(inside[:, :, at[2]]).max() * cube.voxel_mm)
    forwards = middle - vertices.mean(axis=0)
    superior = np.array([0.0, 0.0, 1.0])
    for _ in range(ROUNDS):
        axes = _axes(superior, forwards)
        upright, facing = (vertices - middle) @ axes.T, normals @ axes[2]
        near = np.hypot(upright[:, 0], upright[:, 1]) < 0.8 * radius_mm
        upper, lower = near & (facing > FACING) & (upright[:, 2] > 0), near & (facing < -FACING) & (upright[:, 2] < 0)
        planes = [_plane(vertices, plate, superior) for plate in (upper, lower)]
        superior = unit(planes[0][1] + planes[1][1])
        middle = (planes[0][0] + planes[1][0]) / 2
    axes = _axes(superior, forwards)
    upright, facing = (vertices - middle) @ axes.T, normals @ axes[2]
    half = float(axes[2] @ (planes[0][0] - planes[1][0])) / 2
    front_mm, back_mm = _walls(upright, normals @ axes[1], half, radius_mm)
    plates = np.abs(np.abs(upright[:, 2]) - half) < 0.6 * half
    return UprightBody(
        vertices=upright,
        upper=plates & (facing > FACING) & (upright[:, 2] > 0),
        lower=plates & (facing < -FACING) & (upright[:, 2] < 0),
        front_mm=front_mm,
        back_mm=back_mm,
        radius_mm=radius_mm,
    )


def _walls(upright: np.ndarray, forwards: np.ndarray, half: float, radius_mm: float) -> tuple[float, float]:
    """A of the body's front, and of its back wall, which is the canal's front."""
    belt = (np.abs(upright[:, 0]) < MIDLINE_MM) & (np.abs(upright[:, 2]) < half)
    front = belt & (forwards > 0.5) & (upright[:, 1] > 0)
    # the canal's front wall looks back, and is the first that does so behind the middle
    back = belt & (forwards < -0.5) & (upright[:, 1] < 0) & (upright[:, 1] > -1.6 * radius_mm)
    if min(front.sum(), back.sum()) < LEAST_VERTICES:
        raise ValueError("no front or no back wall")
    return float(np.percentile(upright[front, 1], 90)), float(np.median(upright[back, 1]))


def _axes(superior: np.ndarray, forwards: np.ndarray) -> np.ndarray:
    """Rows R, A, S (3, 3)."""
    anterior = unit(forwards - (forwards @ superior) * superior)
    return np.stack([np.cross(anterior, superior), anterior, superior])


def _plane(vertices: np.ndarray, plate: np.ndarray, towards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A point of the plane through an endplate, and its unit normal on the side of `towards`."""
    if plate.sum() < LEAST_VERTICES:
        raise ValueError("no endplate")
    points = vertices[plate]
    middle = points.mean(axis=0)
    normal = np.linalg.svd(points - middle, full_matrices=False)[2][2]
    return middle, normal if normal @ towards > 0 else -normal


def _patch(vertices: np.ndarray, here: np.ndarray) -> np.ndarray:
    """The mean (3,) of some vertices."""
    if here.sum() < LEAST_VERTICES / 4:
        raise ValueError("no endplate where its height is measured")
    return vertices[here].mean(axis=0)
