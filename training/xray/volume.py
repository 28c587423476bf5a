"""Volumes -> line integrals along every pixel's ray, by sampling on planes of equal depth; on CPU or CUDA.

planes = planes_through(volume, geometry, step_mm=0.5)
muscle_mm, bone_mm = line_integrals(volume, geometry, planes, knots=(-1000, 50, 1600), heights=((0, 1, 0), (0, 0, 1)))
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import warp as wp
from scipy.ndimage import binary_dilation

from DualFaceReconLib.geometry import ProjectionGeometry

CELL = wp.constant(8)  # voxels along a side of the cells by which rays pass over what is empty around the body
JUST_BELOW = wp.constant(1.0 - 2.0**-23)  # of a number in single precision: the last cell's upper neighbours exist

wp.config.log_level = wp.LOG_ERROR  # no greeting, and no warning where there is no CUDA
wp.set_module_options(
    {"cpu_compiler_flags": f"{wp.config.cpu_compiler_flags or ''} -ffp-contract=fast"}
)  # as CUDA does


@dataclass(frozen=True)
class Volume:
    """Values on a regular grid."""

    values: np.ndarray  # (slices, rows, cols), any kind of number
    ijk_to_ras: np.ndarray  # (4, 4) from [column, row, slice] to RAS mm; an integer is a voxel's centre

    def translated(self, translation: np.ndarray) -> Volume:
        """The same values elsewhere, moved by (3,) RAS mm."""
        matrix = self.ijk_to_ras.copy()
        matrix[:3, 3] += translation
        return Volume(self.values, matrix)

    def to_ijk(self, points: np.ndarray) -> np.ndarray:
        """RAS mm (..., 3) -> [column, row, slice] (..., 3)."""
        inverse = np.linalg.inv(self.ijk_to_ras)
        return points @ inverse[:3, :3].T + inverse[:3, 3]

    def to_ras(self, places: np.ndarray) -> np.ndarray:
        """[column, row, slice] (..., 3) -> RAS mm (..., 3)."""
        return places @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3]

    @property
    def spacing_mm(self) -> np.ndarray:
        """(3,) between columns, rows and slices."""
        return np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)

    def corners(self, margin: float) -> np.ndarray:
        """(8, 3) RAS mm of the box around the outer voxels' centres, `margin` voxels wider on every side."""
        ends = [(-margin, n - 1 + margin) for n in self.values.shape[::-1]]
        return self.to_ras(np.array(list(itertools.product(*ends))))


@dataclass(frozen=True)
class Planes:
    """Where rays are sampled: planes that are parallel to the detector, by their depth."""

    first_mm: float
    step_mm: float
    count: int


def planes_through(volume: Volume, geometry: ProjectionGeometry, step_mm: float) -> Planes:
    """Evenly spaced planes through all of a volume."""
    depth = geometry.project(volume.corners(margin=1.0))[1]
    if depth.min() <= 0:
        raise ValueError("the volume reaches behind the X-ray source")
    return Planes(float(depth.min()) + step_mm / 2, step_mm, int(np.ceil(np.ptp(depth) / step_mm)))


def line_integrals(
    volume: Volume,
    geometry: ProjectionGeometry,
    planes: Planes,
    knots: Sequence[float],
    heights: Sequence[Sequence[float]],
    device: str | None = None,
) -> np.ndarray:
    """(functions, rows, cols) float32, mm: integrals of functions of the values, from the source to pixels' centres.

    Between voxels values are trilinear. A function is straight lines between its `heights` (functions, knots) at
    ascending `knots`, and level beyond them. The space around the volume has the first knot's value, where every
    function is 0; an edge fades into it over one voxel. `device`: "cpu" or "cuda".
    """
    heights, places = np.asarray(heights, dtype=float), np.asarray(knots, dtype=float)
    if np.any(heights[:, 0] != 0) or np.any(np.diff(places) <= 0):
        raise ValueError("line integrals take functions that are 0 at the first of ascending knots")
    if volume.values.size >= 2**31 or min(volume.values.shape) < 2:
        raise ValueError(f"line integrals take 2 to 2^31 voxels, two or more a side, not {volume.values.shape}")
    slopes = np.pad(np.diff(heights, axis=1) / np.diff(places), ((0, 0), (0, 1)))  # level beyond the last knot
    offsets = heights - slopes * places

    device = device or ("cuda" if wp.is_cuda_available() else "cpu")
    flat = wp.array(np.ascontiguousarray(volume.values).ravel(), device=device, copy=False)
    sizes = wp.vec3i(*volume.values.shape[::-1])
    rays = geometry.back_project(geometry.pixel_centres(), geometry.sdd_mm).reshape(-1, 3) - geometry.source
    along = rays @ np.linalg.inv(volume.ijk_to_ras)[:3, :3].T / geometry.sdd_mm  # voxels for a mm of depth
    vector = wp.types.vector(len(heights), wp.float32)
    out = wp.zeros(len(rays), dtype=vector, device=device)
    wp.launch(
        _march,
        dim=len(rays),
        inputs=[
            _pairs(flat),
            sizes,
            _near_something(flat, sizes, places[0]),
            wp.vec3(*volume.to_ijk(geometry.source)),
            wp.array(along, dtype=wp.vec3, device=device),
            planes.first_mm,
            planes.step_mm,
            planes.count,
            wp.array(places, dtype=wp.float32, device=device),
            wp.array(offsets.T, dtype=vector, device=device),
            wp.array(slopes.T, dtype=vector, device=device),
        ],
        outputs=[out],
        device=device,
    )
    lengths = np.linalg.norm(rays, axis=1) / geometry.sdd_mm * planes.step_mm  # from plane to plane
    return (out.numpy().T * lengths.astype(np.float32)).reshape(len(heights), *geometry.size_px)


def _pairs(flat: wp.array) -> wp.array:
    """Every voxel together with the next one in memory, without a copy: one load brings two, which is quicker."""
    pair = wp.types.vector(2, flat.dtype)
    pairs = wp.array(ptr=flat.ptr, dtype=pair, shape=flat.size - 1, strides=flat.strides, device=flat.device)
    pairs.owner = flat  # whose memory it is
    return pairs


def _near_something(flat: wp.array, sizes: wp.vec3i, around: float) -> wp.array:
    """Which cells hold more than what is around, or have a neighbour that does; uint8."""
    cells = wp.zeros(tuple((n + CELL - 1) // CELL for n in sizes[::-1]), dtype=wp.uint8, device=flat.device)
    wp.launch(_find, dim=cells.shape, inputs=[flat, sizes, float(around)], outputs=[cells], device=flat.device)
    near = binary_dilation(cells.numpy(), np.ones((3, 3, 3)))
    return wp.array(near, dtype=wp.uint8, device=flat.device)


@wp.kernel(enable_backward=False)
def _find(flat: wp.array(dtype=Any), sizes: wp.vec3i, around: float, cells: wp.array3d(dtype=wp.uint8)) -> None:
    ck, cj, ci = wp.tid()
    for k in range(CELL * ck, wp.min(CELL * (ck + 1), sizes[2])):
        for j in range(CELL * cj, wp.min(CELL * (cj + 1), sizes[1])):
            for i in range(CELL * ci, wp.min(CELL * (ci + 1), sizes[0])):
                if float(flat[wp.uint32((k * sizes[1] + j) * sizes[0] + i)]) > around:
                    cells[ck, cj, ci] = wp.uint8(1)
                    return


@wp.func
def _inside(pairs: wp.array(dtype=Any), sizes: wp.vec3i, at: wp.vec3) -> float:
    """The trilinear value at a place between the outer centres."""
    i, j, k = int(at[0]), int(at[1]), int(at[2])
    u, v, w = at[0] - float(i), at[1] - float(j), at[2] - float(k)
    row = wp.uint32(sizes[0])  # without a sign, or every index is looked at for counting from the end
    first = wp.uint32((k * sizes[1] + j) * sizes[0] + i)
    beyond = first + row * wp.uint32(sizes[1])
    a, b = pairs[first], pairs[first + row]
    c, d = pairs[beyond], pairs[beyond + row]
    a_0, a_1, b_0, b_1 = float(a[0]), float(a[1]), float(b[0]), float(b[1])
    c_0, c_1, d_0, d_1 = float(c[0]), float(c[1]), float(d[0]), float(d[1])
    near_0, near_1 = a_0 + v * (b_0 - a_0), a_1 + v * (b_1 - a_1)
    far_0, far_1 = c_0 + v * (d_0 - c_0), c_1 + v * (d_1 - c_1)
    left, right = near_0 + w * (far_0 - near_0), near_1 + w * (far_1 - near_1)
    return left + u * (right - left)


@wp.func
def _fading(pairs: wp.array(dtype=Any), sizes: wp.vec3i, at: wp.vec3, around: float) -> float:
    """The value at a place near or beyond the outer centres, from where the edge fades into what is around."""
    share = wp.float32(1.0)
    held = at
    for axis in range(3):
        most = float(sizes[axis] - 1)
        share *= 1.0 - wp.clamp(wp.max(-at[axis], at[axis] - most), 0.0, 1.0)
        held[axis] = wp.clamp(at[axis], 0.0, most * JUST_BELOW)
    return around + share * (_inside(pairs, sizes, held) - around)


@wp.func
def _within(start: float, speed: float, low: float, high: float, span: wp.vec2) -> wp.vec2:
    """The part of a span of depths in which a coordinate lies between two bounds; the end before the begin if none."""
    if wp.abs(speed) < 1.0e-9:
        if start < low or start > high:
            return wp.vec2(span[1], span[0] - 1.0)
        return span
    at_low, at_high = (low - start) / speed, (high - start) / speed
    return wp.vec2(wp.max(span[0], wp.min(at_low, at_high)), wp.min(span[1], wp.max(at_low, at_high)))


@wp.func
def _empty(cells: wp.array3d(dtype=wp.uint8), at: wp.vec3) -> bool:
    i = wp.clamp(int(at[0]) / CELL, 0, cells.shape[2] - 1)
    j = wp.clamp(int(at[1]) / CELL, 0, cells.shape[1] - 1)
    k = wp.clamp(int(at[2]) / CELL, 0, cells.shape[0] - 1)
    return cells[k, j, i] == wp.uint8(0)


@wp.kernel(enable_backward=False)
def _march(
    pairs: wp.array(dtype=Any),
    sizes: wp.vec3i,
    cells: wp.array3d(dtype=wp.uint8),
    source: wp.vec3,
    along: wp.array(dtype=wp.vec3),
    first: float,
    step: float,
    count: int,
    knots: wp.array(dtype=float),
    offsets: wp.array(dtype=Any),
    slopes: wp.array(dtype=Any),
    out: wp.array(dtype=Any),
) -> None:
    ray = wp.tid()
    direction = along[ray]
    touched = wp.vec2(first, first + step * float(count - 1))
    inner = touched
    for axis in range(3):
        touched = _within(source[axis], direction[axis], -1.0, float(sizes[axis]), touched)
        inner = _within(source[axis], direction[axis], 1.0e-3, float(sizes[axis] - 1) - 1.0e-3, inner)
    begin = wp.max(int(wp.ceil((touched[0] - first) / step - 1.0e-3)), 0)
    end = wp.min(int(wp.floor((touched[1] - first) / step + 1.0e-3)) + 1, count)
    inner_begin = int(wp.ceil((inner[0] - first) / step))
    inner_end = int(wp.floor((inner[1] - first) / step)) + 1

    fastest = wp.max(wp.abs(direction[0]), wp.max(wp.abs(direction[1]), wp.abs(direction[2])))
    stride = wp.max(int(float(CELL - 1) / (fastest * step)), 1)  # planes that stay within a cell and its neighbours
    while begin < end and _empty(cells, source + (first + step * float(begin)) * direction):
        begin += stride
    while begin < end and _empty(cells, source + (first + step * float(end - 1)) * direction):
        end -= stride

    last = knots.shape[0] - 1
    around = knots[0]
    total = out[ray]
    move = step * direction
    entry = source + first * direction
    for plane in range(begin, end):
        at = entry + float(plane) * move
        value = around
        if plane >= inner_begin and plane < inner_end:
            value = _inside(pairs, sizes, at)
        else:
            value = _fading(pairs, sizes, at, around)
        if value > around:
            piece = wp.int32(0)
            while piece < last and value > knots[piece + 1]:
                piece += 1
            total += offsets[piece] + slopes[piece] * value
    out[ray] = total
