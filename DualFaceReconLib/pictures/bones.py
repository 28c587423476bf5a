"""Bones seen from somewhere: along the X-rays or without perspective, in their own colours and by how sure they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import arrays, point_data, unit_normals
from DualFaceReconLib.outcome import Bone
from DualFaceReconLib.pictures import drawing, shading
from DualFaceReconLib.pictures.drawing import Colour
from DualFaceReconLib.pictures.shading import LitTriangles
from DualFaceReconLib.shape.visibility import rays_to
from DualFaceReconLib.surfaces import observed_triangles

BONE_COLOURS: Mapping[str, Colour] = {
    "hip_right": (90, 165, 255),
    "hip_left": (70, 210, 140),
    "femur_right": (245, 120, 195),
    "femur_left": (225, 228, 85),
}
NOT_COMPLETED: Colour = (150, 150, 150)
UNSURE_MM = 15.0  # the upper end of the colours of certainty: bundles learnt in hours are unsure by several mm
# Pixels (N, 2), nearness (N,), and the unit direction to the eye (N or 1, 3), of points (N, 3)
Project = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What is drawn of a bone."""

    vertices: np.ndarray  # (V, 3) RAS mm
    triangles: np.ndarray  # (T, 3), outward
    closed: bool
    colour: Colour
    certainty: np.ndarray  # (V, 3) 0 to 255, the colour of its standard deviation
    inferred: np.ndarray  # (V,) 1 where nothing was seen, 0 elsewhere

    @cached_property
    def normals(self) -> np.ndarray:
        """(V, 3), of length 1."""
        return unit_normals(self.vertices, self.triangles)


@dataclass(frozen=True, kw_only=True)
class BoneView:
    """Bones on a picture's pixels; colours are 0 to 255, black where no bone is."""

    coloured: np.ndarray  # (rows, cols, 3) float32, each bone in its own colour
    share: np.ndarray  # (rows, cols, 1) float32, of a pixel that bones cover
    by_certainty: np.ndarray | None = None  # (rows, cols, 3) float32, striped where inferred; None along the rays


def surface_of(name: str, bone: Bone) -> Surface:
    """The completed bone, or what was seen of it."""
    if bone.completed is None:
        vertices, triangles = observed_triangles(bone.observed)
        certainty, inferred = np.tile(NOT_COMPLETED, (len(vertices), 1)), np.zeros(len(vertices))
    else:
        vertices, triangles = arrays(bone.completed)
        std_mm, seen = (point_data(bone.completed, array) for array in ("std_mm", "seen"))
        certainty, inferred = certainty_colours(std_mm), 1.0 - seen
    return Surface(
        vertices=vertices,
        triangles=triangles,
        closed=bone.completed is not None,
        colour=BONE_COLOURS[name],
        certainty=certainty,
        inferred=inferred,
    )


def certainty_colours(std_mm: np.ndarray) -> np.ndarray:
    """Standard deviations (...) -> colours (..., 3) uint8."""
    return drawing.blended(np.clip(std_mm / UNSURE_MM, 0, 1), drawing.ERROR_COLOURS)


def along_rays(surfaces: Sequence[Surface], drawn: ProjectionGeometry) -> BoneView:
    """Bones where the film shows them. The eye is in front of the patient: at the source, or in PA opposite to it."""
    facing = 1.0 if drawn.view == "AP" else -1.0

    def project(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pixels, depth = drawn.project(points)
        return pixels, facing / depth, -facing * rays_to(points, drawn)  # 1 / depth is linear across the picture

    return _viewed(surfaces, project, drawn.size_px)


def from_afar(
    surfaces: Sequence[Surface],
    eye: tuple[tuple[float, float, float], tuple[float, float, float]],
    middle: np.ndarray,
    px_per_mm: float,
    size_px: tuple[int, int],
) -> BoneView:
    """Without perspective; `eye` is one of `drawing.AROUND`, `middle` (3,) RAS mm lies in the middle of the picture."""
    across, towards = (np.array(direction, float) for direction in eye)
    centre = (np.array(size_px) - 1) / 2

    def project(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        offset = points - middle
        return centre + px_per_mm * np.stack([-offset[:, 2], offset @ across], 1), offset @ towards, towards[None]

    return _viewed(surfaces, project, size_px, by_certainty=True)


def _viewed(
    surfaces: Sequence[Surface], project: Project, size_px: tuple[int, int], by_certainty: bool = False
) -> BoneView:
    pixels, nearness, triangles, values, before = [], [], [], [], 0
    for surface in surfaces:
        place, near, to_eye = project(surface.vertices)
        light = 0.3 + 0.7 * np.abs((surface.normals * to_eye).sum(axis=1))
        pixels.append(place)
        nearness.append(near)
        triangles.append((_facing_eye(place, surface.triangles) if surface.closed else surface.triangles) + before)
        values.append(np.stack([light, *surface.certainty.T * light, surface.inferred] if by_certainty else [light]))
        before += len(place)
    picture = shading.drawn(
        LitTriangles(
            pixels=np.concatenate(pixels),
            nearness=np.concatenate(nearness),
            values=np.concatenate(values, axis=1),
            triangles=np.concatenate(triangles),
            bones=np.repeat(np.arange(len(surfaces)), [len(part) for part in triangles]),
            colours=np.array([surface.colour for surface in surfaces], np.float32),
            size_px=size_px,
        )
    )
    return BoneView(
        share=picture[..., :1], coloured=picture[..., 1:4], by_certainty=picture[..., 4:] if by_certainty else None
    )


def _facing_eye(pixels: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Those whose outer side shows; the others lie behind them, as long as the surface is closed."""
    a, b, c = (pixels[triangles[:, i]] for i in range(3))
    ab, ac = b - a, c - a
    return triangles[ab[:, 0] * ac[:, 1] > ab[:, 1] * ac[:, 0]]
