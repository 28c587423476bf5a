"""Flesh around a posed patient: skin, muscle, fat, bladder, bowel gas, folds; from slim to obese.

    flesh = draw_flesh(bones, table_mm, facing, rng)
    cast_flesh(flesh, geometry)  # training.xray.fleshcast: how far rays go through it

Skin, and the muscle under it, is the union of a trunk and two thighs, each described by horizontal sections. Muscle
lies around the bones, fat around the muscle, and the table presses flat what lies on it. Beside the hips the fat over
the muscle is 5 mm thick in a slim adult and 60 in an obese one; shares and shapes are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from DualFaceReconLib.meshes import Mesh

STEP_MM = 2.0  # between sections
ENDS_MM = 30.0  # over which a trunk or a thigh ends: its front face sinks behind its back face
ROUNDED_MM = 12.0  # standard deviation of the Gaussian that smooths an outline along the body
WAVES = 12  # of fat within muscle
ADIPOSITY_SPREAD = 0.55  # of fat's thickness between people, in logarithms
GAS_SHARE, BLADDER_SHARE, SCROTUM_SHARE = 0.85, 0.9, 0.4
SPREAD_LEG = 0.78  # height of a leg's femur over its length: less where it is spread and bent, as in frog-leg views
APRON_ABOVE = 1.6  # adiposity from which the belly may hang over the groin


@dataclass(frozen=True)
class Sections:
    """Horizontal sections of a trunk or a thigh, half an ellipse in front of the middle and half one behind it."""

    lowest_mm: float  # S of the first one
    table: np.ndarray  # (Z, 5): R of the middle, half width, A of the middle, half depth in front and behind
    square: float  # 0 an ellipse, 1 rather a rectangle

    @property
    def highest_mm(self) -> float:
        """S of the last one."""
        return self.lowest_mm + STEP_MM * (len(self.table) - 1)

    def half_width_at(self, up: float) -> float:
        """Half the width at a height."""
        return float(np.interp(up, self.lowest_mm + STEP_MM * np.arange(len(self.table)), self.table[:, 1]))


@dataclass(frozen=True, kw_only=True)
class Fold:
    """A fold of skin: above a line it is thicker, and ends there in a sharp lower edge."""

    middle: tuple[float, float]  # R, S mm
    half_width_mm: float
    sag_mm: float  # how far the line's middle hangs below its ends
    thickness_mm: float
    reach_mm: float  # upwards


@dataclass(frozen=True, kw_only=True)
class Blob:
    """An ellipsoid whose axes are R, A and S, turned about A."""

    centre: tuple[float, float, float]  # RAS mm
    half: tuple[float, float, float]  # half the length of each axis, mm
    turn: float = 0.0  # radians


@dataclass(frozen=True, kw_only=True)
class Flesh:
    """A patient's soft tissue, in the film's frame."""

    skin: tuple[Sections, ...]  # trunk, left thigh, right thigh
    lean: tuple[Sections, ...]  # the outside of the muscle, likewise
    folds: tuple[Fold, ...]
    bladder: tuple[Blob, ...]
    gas: tuple[tuple[Blob, ...], ...]  # loops of bowel, each a chain
    scrotum: tuple[Blob, ...]
    table_mm: float  # A of the table's plane
    facing: float  # 1: the patient lies on the back, -1: on the belly
    marbling: np.ndarray  # (K, 4) waves over R and S in the share of fat in muscle: two frequencies, phase, amplitude
    metadata: dict  # plain values for JSON


def draw_flesh(
    bones: Mapping[str, Mesh], table_mm: float, facing: float, rng: np.random.Generator, heaviness: float = 1.0
) -> Flesh:
    """The flesh of a patient who lies on a table at A = `table_mm`, on the back (`facing` 1) or on the belly (-1).

    `heaviness` is a factor of the fat.
    """
    adiposity = float(np.clip(heaviness * np.exp(rng.normal(0, ADIPOSITY_SPREAD)), 0.3, 3.6))
    sturdy = float(np.clip(rng.normal(1, 0.08), 0.8, 1.2))
    body = Skeleton(bones)
    fat = {
        "side": 14 * adiposity * rng.uniform(0.8, 1.3),
        "belly": 17 * adiposity * rng.uniform(0.6, 1.5),
        "back": 18 * adiposity * rng.uniform(0.7, 1.3),
        "thigh": 8 * adiposity * rng.uniform(0.7, 1.3),
    }
    trunk = _trunk(body, sturdy, fat, rng)
    thighs = [_thigh(body, side, trunk, sturdy, fat, rng) for side in ("left", "right")]
    folds = []
    if adiposity > APRON_ABOVE and rng.random() < 0.6:
        low = body.crotch + rng.uniform(20, 75)
        thick = rng.uniform(8, 22) * adiposity
        folds.append(
            Fold(
                middle=(body.middle, low),
                half_width_mm=body.half_width,
                sag_mm=rng.uniform(20, 70),
                thickness_mm=thick,
                reach_mm=rng.uniform(60, 150),
            )
        )
    metadata = {
        "adiposity": round(adiposity, 3),
        "fat_mm": {place: round(float(thickness), 1) for place, thickness in fat.items()},
        "apron": bool(folds),
        "fat_in_muscle": round(float(rng.uniform(0.05, 0.2)), 3),
    }
    angles, phases = rng.uniform(0, np.pi, WAVES), rng.uniform(0, 2 * np.pi, WAVES)
    frequencies = 2 * np.pi / rng.uniform(15, 80, WAVES)
    strengths = rng.uniform(0, 0.02, WAVES)
    marbling = np.stack([frequencies * np.cos(angles), frequencies * np.sin(angles), phases, strengths], axis=1)
    bladder = _bladder(body, rng) if rng.random() < BLADDER_SHARE else ()
    gas = _gas(body, rng) if rng.random() < GAS_SHARE else ()
    scrotum: tuple[Blob, ...] = ()
    if rng.random() < SCROTUM_SHARE:
        half = rng.uniform((22, 6, 28), (36, 14, 42))
        place = body.middle + rng.normal(0, 8), body.pubis_front, body.crotch + 35 - half[2]
        scrotum = (Blob(centre=tuple(map(float, place)), half=tuple(map(float, half))),)
    metadata |= {"bladder": bool(bladder), "gas": len(gas)}
    lean, skin = zip(trunk, *thighs, strict=True)
    return Flesh(
        skin=skin,
        lean=lean,
        folds=tuple(folds),
        bladder=bladder,
        gas=gas,
        scrotum=scrotum,
        table_mm=table_mm,
        facing=facing,
        marbling=marbling,
        metadata=metadata,
    )


class Skeleton:
    """Where the bones are that flesh is laid around; RAS mm."""

    def __init__(self, bones: Mapping[str, Mesh]) -> None:
        hips = np.concatenate([bones["hip_left"][0], bones["hip_right"][0]])
        femora = {side: bones[f"femur_{side}"][0] for side in ("left", "right")}
        self.middle = float((hips[:, 0].min() + hips[:, 0].max()) / 2)
        self.crest = float(hips[:, 2].max())
        self.crest_half = float(np.ptp(hips[:, 0]) / 2)
        self.ischium = float(hips[:, 2].min())
        self.crotch = self.ischium - 15.0
        self.front, self.back = float(hips[:, 1].max()), float(hips[:, 1].min())
        self.spine_back = float(bones["sacrum"][0][:, 1].min())
        low = hips[hips[:, 2] < self.ischium + 0.35 * np.ptp(hips[:, 2])]
        self.pubis_front = float(low[:, 1].max())
        upper = {side: _upper_end(v, self.middle) for side, v in femora.items()}
        self.lateral = {"left": float(upper["left"][:, 0].min()), "right": float(upper["right"][:, 0].max())}
        self.trochanter = float(np.mean([v[np.abs(v[:, 0] - self.middle).argmax(), 2] for v in upper.values()]))
        self.half_width = float((self.lateral["right"] - self.lateral["left"]) / 2)
        self.shaft = {}  # a point of the upper shaft, and the way down it
        self.slant = {}  # of the thigh's width and depth: how much longer a level section is than one across the shaft
        for side, v in femora.items():
            near, far = (v[np.abs(v[:, 2] - (v[:, 2].max() - down)) < 12].mean(axis=0) for down in _shaft_levels(v))
            way = (far - near) / (near[2] - far[2])
            self.shaft[side] = near, way
            self.slant[side] = np.hypot(1.0, way[:2]) if _spread(v) else np.ones(2)


def _spread(femur: np.ndarray) -> bool:
    """Whether a leg lies so far apart or is bent so much that level sections cut it slantwise."""
    away = femur - femur[femur[:, 2].argmax()]
    return bool(np.ptp(femur[:, 2]) < SPREAD_LEG * np.linalg.norm(away, axis=1).max())


def _upper_end(femur: np.ndarray, middle: float) -> np.ndarray:
    """Vertices of a femur's upper end."""
    if not _spread(femur):
        return femur[femur[:, 2] > femur[:, 2].max() - 90]
    head = femur[np.abs(femur[:, 0] - middle).argmin()]
    return femur[np.linalg.norm(femur - head, axis=1) < 110]


def _shaft_levels(femur: np.ndarray) -> tuple[float, float]:
    """Heights below a femur's top at which its shaft is looked up, mm."""
    return (0.42 * np.ptp(femur[:, 2]), 0.75 * np.ptp(femur[:, 2])) if _spread(femur) else (110, 240)


def _smooth(levels: list[tuple[float, ...]], square: float) -> Sections:
    """Sections between some given ones, each a height and a row of `Sections.table`."""
    levels = sorted(levels)
    heights = np.array([level[0] for level in levels])
    up = np.arange(heights[0], heights[-1] + STEP_MM, STEP_MM)
    table = PchipInterpolator(heights, np.array([level[1:] for level in levels]))(np.minimum(up, heights[-1]))
    table = gaussian_filter1d(table, ROUNDED_MM / STEP_MM, axis=0, mode="nearest")
    return Sections(float(heights[0]), table.astype(np.float32), square)


def _trunk(
    body: Skeleton, sturdy: float, fat: Mapping[str, float], rng: np.random.Generator
) -> tuple[Sections, Sections]:
    """Muscle and skin of the trunk; below the hips it narrows to the perineum between the thighs."""
    beside = rng.uniform(10, 22) * sturdy
    waist = body.crest_half * rng.uniform(0.88, 1.02)
    depth = (body.front + body.spine_back) / 2
    belly = rng.uniform(-8, 22) * sturdy
    behind = rng.uniform(20, 40) * sturdy
    hips = body.half_width + beside
    perineum = rng.uniform(30, 45)
    below = body.trochanter - body.crotch
    rows = [  # height, half width, front and back of the muscle, share of the belly's fat in front
        (body.crotch, perineum, body.pubis_front - 4, body.back + 5, 0.3),
        (body.crotch + 0.35 * below, (perineum + hips) / 2, body.pubis_front + 8, body.back - behind * 0.5, 0.4),
        (body.trochanter, hips, body.pubis_front + rng.uniform(12, 22), body.back - behind, 0.55),
        (body.trochanter + 60, (hips + body.crest_half + 8) / 2, body.front + 4, body.back - behind, 0.8),
        (body.crest - 40, body.crest_half + rng.uniform(4, 12), body.front + belly, body.back - behind * 0.5, 1.0),
        (body.crest + 20, waist, body.front + belly, body.spine_back - 8, 1.2),
        (body.crest + 260, waist * 0.98, body.front + belly, body.spine_back - 10, 1.2),
    ]
    lean, skin = [], []
    for up, half, front, back, share in rows:
        beside = fat["side"] * np.interp(up, [body.crotch, body.trochanter, body.crest], [0.2, 1.0, 0.8])
        ahead, after = front - depth, depth - back
        lean.append((up, body.middle, half, depth, ahead, after))
        skin.append((up, body.middle, half + beside, depth, ahead + fat["belly"] * share, after + fat["back"]))
    bottom = body.crotch - rng.uniform(8, 18)
    for sections, lower in ((lean, bottom), (skin, bottom - 3)):
        sections.append((lower, body.middle, perineum * 0.6, depth, 0.0, 0.0))
        sections.append((lower - ENDS_MM, body.middle, perineum * 0.6, depth, -60.0, -60.0))
    square = rng.uniform(0.2, 0.7)
    return _smooth(lean, square), _smooth(skin, square)


def _thigh(
    body: Skeleton,
    side: str,
    trunk: tuple[Sections, Sections],
    sturdy: float,
    fat: Mapping[str, float],
    rng: np.random.Generator,
) -> tuple[Sections, Sections]:
    """Muscle and skin of a thigh around its shaft; at the trochanter it is as wide as the trunk."""
    out = -1.0 if side == "left" else 1.0
    shaft, way = body.shaft[side]
    outside, inside = rng.uniform(30, 44) * sturdy, rng.uniform(74, 94) * sturdy  # muscle beside the shaft
    front, behind = rng.uniform(56, 74) * sturdy, rng.uniform(74, 96) * sturdy
    taper = rng.uniform(0.62, 0.76)
    apart = rng.uniform(2, 9)  # between the midline and the muscle at the crotch
    lowest, top = body.crotch - 360, body.trochanter + 55
    lean, skin = [], []
    for up in (lowest, body.crotch - 120, body.crotch, body.trochanter, top, top + ENDS_MM):
        place = shaft + way * (shaft[2] - up)
        size = np.interp(up, [lowest, body.crotch - 120], [taper, 1.0])
        wide, deep = size * body.slant[side]
        outer, inner = place[0] + out * outside * wide, place[0] - out * inside * wide
        if up >= body.crotch:
            inner = body.middle + out * apart
        if up >= body.trochanter:
            inner = body.middle + out * 45
            outer = body.middle + out * (trunk[0].half_width_at(up) + (1 if up == body.trochanter else -20))
        if (inner - body.middle) * out < apart:  # a thigh does not cross the midline
            inner = body.middle + out * apart
        beside = fat["side"] * np.interp(up, [body.crotch - 120, body.trochanter], [0.5, 1.0])
        thicker = fat["thigh"] * np.interp(up, [lowest, body.crotch], [0.6, 1.0])
        ahead, back = front * deep, behind * deep
        if up >= top:
            ahead = back = thicker = 0.0 if up == top else -60.0
        lean.append((up, (inner + outer) / 2, abs(outer - inner) / 2, place[1], ahead, back))
        outer, inner = outer + out * beside, inner - out * thicker
        if up >= body.trochanter:
            outer = body.middle + out * (trunk[1].half_width_at(up) + (1 if up == body.trochanter else -20))
        skin.append((up, (inner + outer) / 2, abs(outer - inner) / 2, place[1], ahead + thicker, back + thicker))
    square = rng.uniform(0.0, 0.3)
    return _smooth(lean, square), _smooth(skin, square)


def _bladder(body: Skeleton, rng: np.random.Generator) -> tuple[Blob, ...]:
    half = rng.uniform((22, 22, 16), (58, 50, 52))
    place = body.middle + rng.normal(0, 6), body.pubis_front - 15 - half[1], body.trochanter + 8 + half[2]
    return (Blob(centre=tuple(map(float, place)), half=tuple(map(float, half))),)


def _gas(body: Skeleton, rng: np.random.Generator) -> tuple[tuple[Blob, ...], ...]:
    """Loops of bowel that hold gas: the rectum in front of the sacrum, and some above it."""
    loops = []
    for _ in range(rng.integers(1, 6)):
        width = rng.uniform(6, 15)
        if rng.random() < 0.35:  # rectum
            place = np.array([rng.normal(0, 12), body.spine_back + 45, body.trochanter + rng.uniform(20, 70)])
        else:
            place = np.array(
                [
                    rng.uniform(-0.75, 0.75) * body.crest_half,
                    rng.uniform(body.spine_back + 60, body.front),
                    rng.uniform(body.trochanter + 70, body.crest + 90),
                ]
            )
        place[0] += body.middle
        heading = rng.uniform(0, 2 * np.pi)
        loop = []
        for _ in range(rng.integers(2, 9)):  # haustra along a bend
            half = width * rng.uniform(0.6, 1.4, 3) * (1.2, rng.uniform(0.3, 1.0), 0.9)
            loop.append(
                Blob(
                    centre=tuple(map(float, place)),
                    half=tuple(map(float, half)),
                    turn=float(rng.uniform(0, np.pi)),
                )
            )
            heading += rng.normal(0, 0.6)
            place = place + width * 1.1 * np.array([np.cos(heading), 0, np.sin(heading)])
        loops.append(tuple(loop))
    return tuple(loops)
