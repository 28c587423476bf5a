"""Closed-form solids and their exact projections: truth for tests, the demo and the ray caster's checks.

Every solid answers where a ray enters it first and leaves it last, and how far the ray travels inside; all in RAS mm.
Roots are sought from the point of the ray that is nearest to the solid's centre, so that the long way from the source
costs no digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry

Vector = tuple[float, float, float]


class Crossings(NamedTuple):
    """Where rays meet a solid, each (rays,) mm along the ray; entry and exit are NaN where a ray misses."""

    entry: np.ndarray  # the first one
    exit: np.ndarray  # the last one
    path: np.ndarray  # length inside the solid, 0 where a ray misses


class Solid(Protocol):
    """Anything that rays can cross."""

    def crossings(self, origin: np.ndarray, directions: np.ndarray) -> Crossings:
        """For rays from `origin` (3,) along unit `directions` (rays, 3)."""
        ...


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid; the columns of `rotation` are the directions of its semi-axes."""

    centre: Vector  # RAS mm
    semi_axes: Vector  # mm
    rotation: np.ndarray | None = None  # (3, 3); None: along R, A, S

    def crossings(self, origin: np.ndarray, directions: np.ndarray) -> Crossings:
        """For rays from `origin` (3,) along unit `directions` (rays, 3): the unit ball's, in stretched space."""
        rotation = np.eye(3) if self.rotation is None else np.asarray(self.rotation)
        to_ball = rotation / np.asarray(self.semi_axes, dtype=float)
        start, along = (origin - np.asarray(self.centre)) @ to_ball, directions @ to_ball
        speed_2 = np.sum(along**2, axis=1)
        nearest = -(along @ start) / speed_2
        miss_2 = np.sum((start + nearest[:, None] * along) ** 2, axis=1)
        half = np.sqrt(np.where(miss_2 < 1, (1 - miss_2) / speed_2, np.nan))
        return Crossings(nearest - half, nearest + half, np.nan_to_num(2 * half))


@dataclass(frozen=True)
class Sphere:
    """A ball."""

    centre: Vector  # RAS mm
    radius: float  # mm

    def crossings(self, origin: np.ndarray, directions: np.ndarray) -> Crossings:
        """For rays from `origin` (3,) along unit `directions` (rays, 3)."""
        return Ellipsoid(self.centre, (self.radius,) * 3).crossings(origin, directions)


@dataclass(frozen=True)
class Torus:
    """A ring around `axis`; a ray may cross it twice."""

    centre: Vector  # RAS mm
    axis: Vector  # any length
    major_radius: float  # mm, centre to the tube's middle
    minor_radius: float  # mm, the tube's own

    def __post_init__(self) -> None:
        if not 0 < self.minor_radius < self.major_radius:
            raise ValueError("a torus needs 0 < minor_radius < major_radius")

    def crossings(self, origin: np.ndarray, directions: np.ndarray) -> Crossings:
        """For rays from `origin` (3,) along unit `directions` (rays, 3); entry and exit span both tubes' crossings."""
        axis = np.asarray(self.axis, dtype=float) / np.linalg.norm(self.axis)
        start = origin - np.asarray(self.centre)
        nearest = -(directions @ start)
        closest = start + nearest[:, None] * directions
        reach = self.major_radius + self.minor_radius
        near = np.flatnonzero(np.sum(closest**2, axis=1) < reach**2)
        closest, along = closest[near], directions[near]

        # With x = closest + s * along and closest . along = 0, (|x|^2 + R^2 - r^2)^2 = 4 R^2 (|x|^2 - (x . axis)^2)
        # has no cubic term: s^4 + a2 s^2 + a1 s + a0.
        four_r2 = 4 * self.major_radius**2
        height, slope = closest @ axis, along @ axis
        miss_2 = np.sum(closest**2, axis=1)
        k = miss_2 + self.major_radius**2 - self.minor_radius**2
        quartic = (
            2 * k - four_r2 * (1 - slope**2),
            2 * four_r2 * height * slope,
            k**2 - four_r2 * (miss_2 - height**2),
        )
        roots = _quartic_roots(*quartic, reach)

        met = ~np.isnan(roots).all(axis=1)
        hit, roots, offset = near[met], roots[met], nearest[near[met]]
        leaving = np.cumsum(~np.isnan(roots), axis=1) % 2 == 0  # roots alternate between in and out
        entry, leave = np.full(len(directions), np.nan), np.full(len(directions), np.nan)
        path = np.zeros(len(directions))
        entry[hit], leave[hit] = np.nanmin(roots, axis=1) + offset, np.nanmax(roots, axis=1) + offset
        path[hit] = np.nansum(np.where(leaving, roots, -roots), axis=1)
        return Crossings(entry, leave, path)


def render(solids: Mapping[str, Solid], geometry: ProjectionGeometry) -> tuple[BoneMaps, np.ndarray]:
    """Exact bone maps of solids that stand before the source, and their path lengths (solids, rows, cols) in mm.

    A pixel belongs to a solid where the ray through its centre meets it; depths are those of first entry and last exit.
    """
    ends = geometry.back_project(geometry.pixel_centres(), geometry.sdd_mm).reshape(-1, 3)
    directions = ends - geometry.source
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    shape = (len(solids), *geometry.size_px)
    mask = np.zeros(shape, dtype=bool)
    front, back, path = (np.zeros(shape, dtype=dtype) for dtype in (np.float32, np.float32, np.float64))
    for number, (name, solid) in enumerate(solids.items()):
        crossings = solid.crossings(geometry.source, directions)
        met = ~np.isnan(crossings.entry)
        if np.any(crossings.entry[met] <= 0):
            raise ValueError(f"{name} does not lie wholly before the source")
        mask[number] = met.reshape(geometry.size_px)
        for face, distance in ((front, crossings.entry), (back, crossings.exit)):
            points = geometry.source + distance[met, None] * directions[met]
            face[number][mask[number]] = geometry.project(points)[1]
        path[number] = crossings.path.reshape(geometry.size_px)
    return BoneMaps(bones=tuple(solids), mask=mask, front=front, back=back), path


def _quartic_roots(a2: np.ndarray, a1: np.ndarray, a0: np.ndarray, reach: float) -> np.ndarray:
    """Real roots (rays, 4) of s^4 + a2 s^2 + a1 s + a0 within +-reach, ascending, NaN where there are fewer.

    The quartic is monotonic between its stationary points, so a change of sign there brackets exactly one root:
    roots come in pairs and none is lost to a complex rounding error.
    """
    stationary = np.clip(_stationary_points(a2, a1), -reach, reach)
    borders = np.column_stack([np.full(len(a2), -reach), stationary, np.full(len(a2), reach)])
    coefficients = [part[:, None] for part in (a2, a1, a0)]
    inside = _quartic(borders, *coefficients) < 0
    inside[:, [0, -1]] = False  # the borders lie on the sphere around the torus
    ray, interval = np.nonzero(inside[:, :-1] != inside[:, 1:])
    low, high = borders[ray, interval], borders[ray, interval + 1]
    root = _bracketed_roots(low, high, inside[ray, interval], a2[ray], a1[ray], a0[ray])
    roots = np.full((len(a2), 4), np.nan)
    roots[ray, interval] = root
    return roots


def _stationary_points(a2: np.ndarray, a1: np.ndarray) -> np.ndarray:
    """Roots (rays, 3) of s^3 + p s + q with p = a2 / 2, q = a1 / 4, ascending; a single real one three times."""
    p, q = a2 / 2, a1 / 4
    three = 4 * p**3 + 27 * q**2 < 0
    radius = np.sqrt(np.where(three, -p, 1) / 3)
    angle = np.arccos(np.clip(-q / (2 * radius**3), -1, 1)) / 3
    trigonometric = np.stack([2 * radius * np.cos(angle - 2 * np.pi * k / 3) for k in (2, 1, 0)], axis=1)
    # Cardano, with the cube root that does not cancel.
    spread = np.sqrt(np.maximum(q**2 / 4 + p**3 / 27, 0))
    larger = np.cbrt(-q / 2 - np.copysign(spread, q))
    single = larger - np.divide(p, 3 * larger, out=np.zeros_like(p), where=larger != 0)
    return np.sort(np.where(three[:, None], trigonometric, single[:, None]), axis=1)


def _quartic(s: np.ndarray, a2: np.ndarray, a1: np.ndarray, a0: np.ndarray) -> np.ndarray:
    return ((s * s + a2) * s + a1) * s + a0


def _bracketed_roots(
    low: np.ndarray, high: np.ndarray, low_inside: np.ndarray, a2: np.ndarray, a1: np.ndarray, a0: np.ndarray
) -> np.ndarray:
    """The root in every bracket, by Newton's steps that fall back to halving when they would leave it."""
    s = (low + high) / 2
    for _ in range(80):  # halving alone needs about 55; Newton mostly ends it at 8
        value = _quartic(s, a2, a1, a0)
        same = (value < 0) == low_inside
        low, high = np.where(same, s, low), np.where(same, high, s)
        slope = (4 * s * s + 2 * a2) * s + a1
        step = np.divide(value, slope, out=np.full_like(s, np.inf), where=slope != 0)
        target = s - step
        target = np.where((target >= low) & (target <= high), target, (low + high) / 2)
        moved, s = np.abs(target - s).max(initial=0), target
        if moved < 1e-12:
            break
    return s
