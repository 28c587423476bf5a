"""Femoral stems, drawn in the plane of shaft and head as wide as the canal lets them be, and lofted through rings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from DualFaceReconLib.meshes import Mesh, unit
from training.patients.femur_frame import FemurFrame
from training.patients.solids import SIDES, lofted, rounded

# Ours, as stems look on films, unless a source is named.
TIP_MM = (95.0, 125.0)  # from the lesser trochanter down to the tip
TOP_MM = 8.0  # from the lesser trochanter up to where the neck begins to leave the body
NECK_SHAFT_DEGREES = (126.0, 136.0)
NECK_MM = 6.2  # radius, a little more than half of a 12/14 taper
TILTED_DEGREES = 1.2  # standard deviation of the stem's axis to the shaft's, to both sides
FILL = (0.8, 0.97)  # of the canal's width
CLEARANCE_MM = {"cement": 2.4, "press fit": 0.4}  # to the cortex
CORTEX_MM = 2.5  # thickness at least, where the shaft's share (FemurFrame.canal) gives less
TURN = np.linspace(0, 2 * np.pi, SIDES, endpoint=False)


@dataclass(frozen=True)
class Stem:
    """A stem's rings from the tip to the neck's end, and how many of them lie across the shaft, in the bone."""

    rings: np.ndarray  # (N, SIDES, 3)
    straight: int
    neck_degrees: float  # between neck and shaft

    def mesh(self) -> Mesh:
        """The stem as a solid."""
        return lofted(self.rings)

    def mantle(self, thickness: float) -> Mesh:
        """Cement around the part in the bone, and under the tip: a bag with the stem's hollow in it."""
        inside = self.rings[: self.straight]
        middles = inside.mean(axis=1, keepdims=True)
        to = inside - middles
        bag = inside + thickness * to / np.linalg.norm(to, axis=2, keepdims=True)
        down = unit(middles[0, 0] - middles[-1, 0])
        floor = middles[0] + 8.0 * down + 0.6 * (bag[0] - middles[0])
        return lofted(np.concatenate([floor[None], bag, inside[::-1]]))


@dataclass(frozen=True, kw_only=True)
class _Plane:
    """The plane in which a stem is drawn: out towards the head, and up along the stem from the lesser trochanter."""

    base: np.ndarray  # (3,) at out 0, height 0
    out: np.ndarray
    up: np.ndarray
    across: np.ndarray

    def at(self, out: np.ndarray, height: np.ndarray) -> np.ndarray:
        """Points (N, 3)."""
        return self.base + np.multiply.outer(out, self.out) + np.multiply.outer(height, self.up)

    def of(self, point: np.ndarray) -> np.ndarray:
        """[out, height] of a point (3,)."""
        return np.array([(point - self.base) @ self.out, (point - self.base) @ self.up])


@dataclass(frozen=True, kw_only=True)
class _Body:
    """The part of a stem that lies in the bone: at each height its reach to both sides, and to front and back, mm."""

    heights: np.ndarray
    lateral: np.ndarray
    medial: np.ndarray
    deep: np.ndarray


def stem_for(femur: FemurFrame, ball: np.ndarray, radius: float, cement: bool, rng: np.random.Generator) -> Stem | None:
    """A stem for a femur with its neck in a ball; None where canal or neck leave no room for one."""
    tilt = np.radians(rng.normal(0, TILTED_DEGREES))
    up = unit(np.cos(tilt) * femur.up + np.sin(tilt) * femur.medial)
    half_way = femur.middle(-60.0)  # the stem is turned about it
    out = unit(ball - half_way - ((ball - half_way) @ up) * up)
    plane = _Plane(base=half_way + 60.0 * up, out=out, up=up, across=np.cross(up, out))
    body = _body(femur, plane, CLEARANCE_MM["cement" if cement else "press fit"], rng)
    if body is None:
        return None
    neck = _neck(body, plane, plane.of(ball), radius, rng)
    if neck is None:
        return None
    section = np.asarray if cement else rounded  # cemented stems are round, others have edges
    rings = []
    for height, lateral, medial, deep in zip(body.heights, body.lateral, body.medial, body.deep, strict=True):
        wide = (medial - lateral) / 2 + (medial + lateral) / 2 * section(np.cos(TURN))
        rings.append(plane.at(wide, np.full_like(wide, height)) + np.outer(deep * section(np.sin(TURN)), plane.across))
    middle = rings[0].mean(axis=0)
    tip = middle + 0.55 * (rings[0] - middle) - 3.0 * up
    neck_rings, degrees = neck
    return Stem(np.concatenate([tip[None], rings, neck_rings]), len(rings) + 1, degrees)


def _body(femur: FemurFrame, plane: _Plane, clearance: float, rng: np.random.Generator) -> _Body | None:
    """Straight on the outside, straight and then flaring to the calcar on the inside."""
    heights = np.linspace(-rng.uniform(*TIP_MM), TOP_MM, 12)
    lateral, medial, deep = _room(femur, plane, heights, clearance)
    if (lateral + medial < 6).any() or (lateral < 2).any() or (medial < 2).any():
        return None
    fill = rng.uniform(*FILL)
    lateral, medial = fill * lateral, fill * medial
    share = np.linspace(0, 1, len(heights))
    end = min(4.5, lateral[0], medial[0])

    def widest(limit: np.ndarray, line: np.ndarray, shape: np.ndarray, most: float) -> np.ndarray:
        """The line and as much of a shape on it as the limit allows."""
        there = shape > 0.05
        return line + shape * np.min((limit[there] - line[there]) / shape[there]).clip(0, most)

    straight = np.full_like(share, end)
    outside = widest(lateral, straight, share, 9)
    inside = widest(medial, straight, share, 8)
    inside = widest(medial, inside, np.clip(2 * share - 1, 0, 1) ** 2.5, 16)
    deep = 0.9 * np.minimum.accumulate(deep[::-1])[::-1]  # no thicker below than above
    deep = np.minimum.reduce([deep, 0.5 * (outside + inside), 5.0 + 4.0 * share])
    return _Body(heights=heights, lateral=outside, medial=inside, deep=deep)


def _neck(
    body: _Body, plane: _Plane, ball: np.ndarray, radius: float, rng: np.random.Generator
) -> tuple[np.ndarray, float] | None:
    """The rings (N, SIDES, 3) that bend from the body's upper end to the neck and up to the ball, and its angle."""
    start = np.array([(body.medial[-1] - body.lateral[-1]) / 2, body.heights[-1]])
    degrees = rng.uniform(*NECK_SHAFT_DEGREES)
    way = np.array([np.sin(np.radians(180 - degrees)), np.cos(np.radians(180 - degrees))])
    bend_at = ball - way * (ball[0] - start[0]) / way[0]  # where the neck's axis meets the body's
    if not 0 < bend_at[1] - start[1] < 32:  # another angle for this hip
        bend_at = np.array([start[0], np.clip(bend_at[1], start[1] + 2, start[1] + 26)])
        way = unit(ball - bend_at)
    length = float(np.linalg.norm(ball - bend_at))
    if length < radius + 4 or way[1] < 0.3:
        return None
    leave = bend_at + way * min(12.0, 0.4 * (length - radius))
    finish = ball - way * (np.sqrt(max(radius**2 - NECK_MM**2, 1.0)) - 0.3)
    bend = np.linspace(0, 1, 7)[1:]
    curve = np.outer((1 - bend) ** 2, start) + np.outer(2 * bend * (1 - bend), bend_at) + np.outer(bend**2, leave)
    path = np.concatenate([curve, [(leave + finish) / 2, finish]])
    lean = np.arctan2(*way) * np.append(bend, [1, 1])
    wide = np.append(np.interp(bend, (0, 1), ((body.lateral[-1] + body.medial[-1]) / 2, 8.5)), [NECK_MM + 0.4, NECK_MM])
    deep = np.append(np.interp(bend, (0, 1), (body.deep[-1], NECK_MM + 0.6)), [NECK_MM, NECK_MM])
    flat = np.multiply.outer(wide, np.cos(TURN))
    outs = path[:, :1] + flat * np.cos(lean)[:, None]
    heights = path[:, 1:] - flat * np.sin(lean)[:, None]
    thick = np.multiply.outer(np.multiply.outer(deep, np.sin(TURN)), plane.across)
    return plane.at(outs, heights) + thick, 180 - float(np.degrees(np.arctan2(*way)))


def _room(
    femur: FemurFrame, plane: _Plane, heights: np.ndarray, clearance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far a stem may reach outwards, inwards and to the front and back at heights (K,), each (K,) mm."""
    steps = np.arange(-24.0, 40.0, 1.0)
    points = plane.at(np.tile(steps, len(heights)), np.repeat(heights, len(steps)))
    depth = femur.depth(points).reshape(len(heights), len(steps))
    shaft = np.interp(heights, femur.heights, femur.radii)
    cortex = np.maximum(shaft - femur.canal(heights), CORTEX_MM) + clearance
    free = depth > cortex[:, None]
    free[:, [0, -1]] = False
    zero = int(np.abs(steps).argmin())
    lateral = np.argmin(free[:, zero::-1], axis=1) - 1.0
    medial = np.argmin(free[:, zero:], axis=1) - 1.0
    return lateral, medial, np.maximum(depth[:, zero] - cortex, 1.0)
