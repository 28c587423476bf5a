"""What stands around a vertebra on a film: its neighbours, the ribs' ends at them, the pelvis, and the trunk's flesh.

Everything is in the vertebra's own frame: neighbours stand on its endplates with discs between them and bend as the
spine does there. Ribs are tubes, and the trunk is an elliptic cylinder along S with lungs in it: enough to lie over a
vertebra on every film, and no more than that. Pelves and gas in the bowel are there where a stock has pelves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from DualFaceReconLib.biplanar import PlacedFilm
from DualFaceReconLib.levels import LEVELS, THORACIC
from DualFaceReconLib.meshes import Mesh, volume_mm3
from training.vertebrae.parts import dimensions
from training.vertebrae.pelvis import below
from training.vertebrae.sizes import measured_size, published_size
from training.vertebrae.virtual import Stock, VirtualVertebra, sample_vertebra

NEIGHBOURS = 2  # above, and below
# Height of the disc below a level, and how far the level below is bent forward against it (kyphosis above 0), rounded
# from textbooks' ranges: 40 degrees of thoracic kyphosis, 50 of lumbar lordosis, the most of it below L4.
DISC_MM = {**dict.fromkeys(LEVELS[:6], 4.0), **dict.fromkeys(LEVELS[6:12], 5.5), **dict.fromkeys(LEVELS[12:], 9.5)}
BEND_DEGREES = {
    **dict.fromkeys(LEVELS[:9], 4.0),
    **dict.fromkeys(LEVELS[9:13], 0.0),
    **dict.fromkeys(LEVELS[13:], -9.0),
}
RIB_RADIUS_MM, RIB_LENGTH_MM = (4.0, 6.0), 150.0
RIB_STEPS, RIB_SIDES = 24, 12  # of a tube
HALF_WIDTH_MM, HALF_DEPTH_MM = (120.0, 190.0), (85.0, 150.0)  # of trunks
BEHIND = 0.45  # a vertebral body's middle is so far behind the trunk's, as a share of its half depth
FAT_MM = (6.0, 45.0)
LUNGS = tuple(LEVELS[:10])  # levels with lungs on both sides
# Gas in front of the spine below the lungs, ours: loops of bowel, blobs in each, their half axes and how far one is
# from the next; single bubbles; how much of what a ray meets of muscle gas can take
LOOPS, BLOBS, BLOB_MM, BLOBS_APART_MM = (0, 4), (4, 9), (8.0, 17.0), 11.0
BUBBLES, BUBBLE_MM = (0, 25), (2.0, 6.0)
FLAT = 0.6  # of gas from front to back, as it lies in loops that are not full of it
BOWEL_FROM_MM, BOWEL_REACH_MM = 32.0, 110.0  # in front of the vertebra's middle; above and below it
MOST_GAS = 0.6
GAS_MARGIN = 1.5  # of the window around a blob's shadow, which is skewed off the central ray

Blob = tuple[float, float, float, float, float, float]  # R, A and S of a middle and of half axes, mm


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """An elliptic cylinder of skin, one of muscle in it, the lungs' and gas; R and A of middles and half axes, mm."""

    skin: tuple[float, float, float, float]
    lean: tuple[float, float, float, float]
    lungs: tuple[tuple[float, float, float, float], ...]
    gas: tuple[tuple[Blob, ...], ...] = ()  # loops of bowel


def draw_trunk(level: str, rng: np.random.Generator, bowel: bool = False) -> Trunk:
    """The trunk around a level; `bowel`: with gas in it."""
    wide, deep = float(rng.uniform(*HALF_WIDTH_MM)), float(rng.uniform(*HALF_DEPTH_MM))
    fat = min(float(rng.uniform(*FAT_MM)), 0.4 * deep)
    middle = float(rng.normal(0, 4)), BEHIND * deep
    lungs = ()
    if level in LUNGS:
        size = 0.36 * wide, 0.62 * (deep - fat)
        lungs = tuple((middle[0] + side * 0.5 * wide, middle[1] - 0.05 * deep, *size) for side in (-1, 1))
    trunk = Trunk(skin=(*middle, wide, deep), lean=(*middle, wide - fat, deep - fat), lungs=lungs)
    return replace(trunk, gas=_gas(trunk, rng.spawn(1)[0])) if bowel and not lungs else trunk


def _gas(trunk: Trunk, rng: np.random.Generator) -> tuple[tuple[Blob, ...], ...]:
    """Loops of bowel as chains of ellipsoids, and bubbles."""
    right, anterior, wide, deep = trunk.lean
    front = anterior + 0.8 * deep

    def place() -> np.ndarray:
        across = right + rng.uniform(-0.7, 0.7) * wide
        return np.array(
            [across, rng.uniform(BOWEL_FROM_MM, max(front, 1.2 * BOWEL_FROM_MM)), rng.uniform(-1, 1) * BOWEL_REACH_MM]
        )

    loops = []
    for _ in range(rng.integers(*LOOPS, endpoint=True)):
        at, half = place(), rng.uniform(*BLOB_MM)
        way = rng.normal(size=3) * (1.0, 0.3, 1.0)
        loop = []
        for _ in range(rng.integers(*BLOBS, endpoint=True)):
            loop.append((*at.tolist(), *(half * rng.uniform(0.8, 1.25, 3) * (1, FLAT, 1)).tolist()))
            way += 0.6 * rng.normal(size=3) * (1.0, 0.3, 1.0)
            at = at + BLOBS_APART_MM * way / np.linalg.norm(way)
            at[1] = np.clip(at[1], BOWEL_FROM_MM, max(front, BOWEL_FROM_MM))
        loops.append(tuple(loop))
    for _ in range(rng.integers(*BUBBLES, endpoint=True)):
        loops.append(((*place().tolist(), *(rng.uniform(*BUBBLE_MM) * rng.uniform(0.7, 1.4, 3)).tolist()),))
    return tuple(loops)


def chords(film: PlacedFilm, cylinder: Sequence[float]) -> np.ndarray:
    """(rows, cols) mm that every pixel's ray goes through an elliptic cylinder along S; R, A, half axes."""
    return _chords(film.source, _ways(film), cylinder)


def gas_mm(film: PlacedFilm, trunk: Trunk) -> np.ndarray:
    """(rows, cols) mm that every pixel's ray goes through gas; the blobs of a loop are one with each other."""
    ways, (rows, cols) = _ways(film), film.geometry.size_px
    gas = np.zeros((rows, cols))
    for loop in trunk.gas:
        through = np.zeros_like(gas)
        for blob in loop:
            (row, col), depth = film.project(np.array(blob[:3]))
            reach = GAS_MARGIN * max(blob[3:]) / np.array(film.geometry.pixel_size_at(float(depth)))
            near = tuple(
                slice(max(int(at - half), 0), min(int(at + half) + 2, count))
                for at, half, count in zip((row, col), reach, (rows, cols), strict=True)
            )
            if all(part.start < part.stop for part in near):
                through[near] = np.maximum(through[near], _chords(film.source, ways[near], blob))
        gas += through
    return gas


def _ways(film: PlacedFilm) -> np.ndarray:
    """(rows, cols, 3) mm from the source to every pixel."""
    geometry = film.geometry
    return film.back_project(geometry.pixel_centres(), np.full(geometry.size_px, geometry.sdd_mm)) - film.source


def _chords(source: np.ndarray, ways: np.ndarray, solid: Sequence[float]) -> np.ndarray:
    """(...) mm of rays (..., 3) in an elliptic cylinder along S, or in an ellipsoid, whose S is given as well."""
    middle, half_axes = np.split(np.asarray(solid, dtype=float), 2)
    known = len(middle)
    way, start = ways[..., :known] / half_axes, (source[:known] - middle) / half_axes
    squared, half = (way**2).sum(axis=-1), way @ start
    inside = half**2 - squared * (start @ start - 1)  # a quarter of the discriminant
    share = 2 * np.sqrt(np.maximum(inside, 0)) / squared  # of the ray, from the source to the detector
    return share * np.linalg.norm(ways, axis=-1)


def flesh_mm(film: PlacedFilm, trunk: Trunk) -> dict[str, np.ndarray]:
    """(rows, cols) mm of muscle and fat on every pixel's ray."""
    skin, lean = chords(film, trunk.skin), chords(film, trunk.lean)
    air = sum((chords(film, lung) for lung in trunk.lungs), np.zeros_like(skin))
    muscle = np.maximum(lean - 0.8 * air, 0)  # of a lung a fifth is tissue and blood
    if trunk.gas:
        muscle = muscle - np.minimum(gas_mm(film, trunk), MOST_GAS * muscle)
    return {"muscle": muscle, "fat": skin - lean}


def neighbours(vertebra: VirtualVertebra, stock: Stock, rng: np.random.Generator) -> list[Mesh]:
    """The vertebrae above and below, as far as there are levels, the ribs at all of them, and the pelvis below L5."""
    place = LEVELS.index(vertebra.level)
    size = measured_size(dimensions(vertebra.mesh[0], vertebra.parts)) / published_size(vertebra.level)
    meshes = ribs(vertebra.level, vertebra.mesh, rng)
    for step in (-1, 1):
        rotation, top, bottom = Rotation.identity(), *_endplates(vertebra)
        last = vertebra.level
        for number in range(place + step, place + step * (NEIGHBOURS + 1), step):
            if not 0 <= number < len(LEVELS) or LEVELS[number] not in stock.levels:
                break
            other = sample_vertebra(stock, int(rng.integers(2**31)), LEVELS[number])
            own = measured_size(dimensions(other.mesh[0], other.parts)) / published_size(other.level)
            above = LEVELS[min(number, number - step)]
            rotation = (
                Rotation.from_euler("x", step * BEND_DEGREES[above] * rng.normal(1, 0.3), degrees=True) * rotation
            )
            gap = DISC_MM[above] * rng.uniform(0.6, 1.2)
            vertices = other.mesh[0] * (size / own)
            plates = [vertices[plate].mean(axis=0) for plate in (other.parts.upper, other.parts.lower)]
            up = rotation.apply([0.0, 0.0, 1.0])
            if step < 0:  # its lower endplate stands above what is below it
                move = top + gap * up - rotation.apply(plates[1])
            else:
                move = bottom - gap * up - rotation.apply(plates[0])
            placed = rotation.apply(vertices) + move, other.mesh[1]
            top, bottom = (rotation.apply(plate) + move for plate in plates)
            meshes += [placed, *ribs(other.level, placed, rng)]
            last = other.level
        if step > 0 and last == LEVELS[-1] and stock.pelves:
            meshes += below(stock.pelves, bottom, rotation, float(size[0]), rng.spawn(1)[0])
    return meshes


def ribs(level: str, vertebra: Mesh, rng: np.random.Generator) -> list[Mesh]:
    """The hind parts of a thoracic level's two ribs, from beside the body round the back to the side."""
    if level not in THORACIC:
        return []
    vertices = vertebra[0]
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    out = []
    for side in (-1, 1):
        radius = float(rng.uniform(*RIB_RADIUS_MM))
        start = np.array([side * 0.42 * (high[0] - low[0]), (low[1] + high[1]) / 2, high[2] - 4])
        along = np.linspace(0, 1, RIB_STEPS)
        reach = RIB_LENGTH_MM * rng.uniform(0.7, 1.0)
        path = start + np.stack(
            [
                side * reach * np.sin(1.5 * along) * 0.85,
                -0.25 * reach * np.sin(np.pi * np.minimum(along * 1.4, 1)) + 0.5 * reach * along**2,
                -0.45 * reach * along**1.3,
            ],
            axis=1,
        )
        out.append(tube(path, radius))
    return out


def tube(path: np.ndarray, radius_mm: float) -> Mesh:
    """A closed tube around a path (K, 3), outward."""
    ways = np.gradient(path, axis=0)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    first = np.cross(ways, np.where(np.abs(ways[:, 2:]) < 0.9, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(ways, first)
    turn = np.arange(RIB_SIDES) * 2 * np.pi / RIB_SIDES
    around = np.cos(turn)[:, None] * first[:, None] + np.sin(turn)[:, None] * second[:, None]
    vertices = np.concatenate([(path[:, None] + radius_mm * around).reshape(-1, 3), path[[0, -1]]])
    here = np.arange(len(path) * RIB_SIDES).reshape(len(path), RIB_SIDES)
    beside = np.roll(here, -1, axis=1)
    walls = [np.stack([here[:-1], beside[:-1], beside[1:]], -1), np.stack([here[:-1], beside[1:], here[1:]], -1)]
    middles = len(vertices) - 2, len(vertices) - 1
    caps = [
        np.stack([beside[0], here[0], np.full(RIB_SIDES, middles[0])], -1),
        np.stack([here[-1], beside[-1], np.full(RIB_SIDES, middles[1])], -1),
    ]
    triangles = np.concatenate([part.reshape(-1, 3) for part in (*walls, *caps)])
    return vertices, triangles if volume_mm3(vertices, triangles) > 0 else triangles[:, ::-1]


def _endplates(vertebra: VirtualVertebra) -> tuple[np.ndarray, np.ndarray]:
    """Middles (3,) of the upper and the lower endplate."""
    vertices = vertebra.mesh[0]
    return vertices[vertebra.parts.upper].mean(axis=0), vertices[vertebra.parts.lower].mean(axis=0)
