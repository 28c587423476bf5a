"""What stands around a vertebra on a film: its neighbours, the ribs' ends at them, and the trunk's flesh.

Everything is in the vertebra's own frame: neighbours stand on its endplates with discs between them and bend as the
spine does there. Ribs are tubes, and the trunk is an elliptic cylinder along S with lungs in it: enough to lie over a
vertebra on every film, and no more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from DualFaceReconLib.biplanar import PlacedFilm
from DualFaceReconLib.levels import LEVELS, THORACIC
from DualFaceReconLib.meshes import Mesh, volume_mm3
from training.vertebrae.parts import dimensions
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


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """An elliptic cylinder of skin, one of muscle in it, and the lungs'; R and A of middles and half axes, mm."""

    skin: tuple[float, float, float, float]
    lean: tuple[float, float, float, float]
    lungs: tuple[tuple[float, float, float, float], ...]


def draw_trunk(level: str, rng: np.random.Generator) -> Trunk:
    """The trunk around a level."""
    wide, deep = float(rng.uniform(*HALF_WIDTH_MM)), float(rng.uniform(*HALF_DEPTH_MM))
    fat = min(float(rng.uniform(*FAT_MM)), 0.4 * deep)
    middle = float(rng.normal(0, 4)), BEHIND * deep
    lungs = ()
    if level in LUNGS:
        size = 0.36 * wide, 0.62 * (deep - fat)
        lungs = tuple((middle[0] + side * 0.5 * wide, middle[1] - 0.05 * deep, *size) for side in (-1, 1))
    return Trunk(skin=(*middle, wide, deep), lean=(*middle, wide - fat, deep - fat), lungs=lungs)


def chords(film: PlacedFilm, cylinder: Sequence[float]) -> np.ndarray:
    """(rows, cols) mm that every pixel's ray goes through an elliptic cylinder along S; R, A, half axes."""
    right, anterior, wide, deep = cylinder
    geometry = film.geometry
    ends = film.back_project(geometry.pixel_centres(), np.full(geometry.size_px, geometry.sdd_mm))
    way = (ends - film.source)[..., :2] / (wide, deep)
    start = (film.source[:2] - (right, anterior)) / (wide, deep)
    squared, half = (way**2).sum(axis=-1), way @ start
    inside = half**2 - squared * (start @ start - 1)  # a quarter of the discriminant
    share = 2 * np.sqrt(np.maximum(inside, 0)) / squared  # of the ray, from the source to the detector
    return share * np.linalg.norm(ends - film.source, axis=-1)


def flesh_mm(film: PlacedFilm, trunk: Trunk) -> dict[str, np.ndarray]:
    """(rows, cols) mm of muscle and fat on every pixel's ray."""
    skin, lean = chords(film, trunk.skin), chords(film, trunk.lean)
    air = sum((chords(film, lung) for lung in trunk.lungs), np.zeros_like(skin))
    return {"muscle": np.maximum(lean - 0.8 * air, 0), "fat": skin - lean}  # of a lung a fifth is tissue and blood


def neighbours(vertebra: VirtualVertebra, stock: Stock, rng: np.random.Generator) -> list[Mesh]:
    """The vertebrae above and below, as far as there are levels, and the ribs at all of them."""
    place = LEVELS.index(vertebra.level)
    size = measured_size(dimensions(vertebra.mesh[0], vertebra.parts)) / published_size(vertebra.level)
    meshes = ribs(vertebra.level, vertebra.mesh, rng)
    for step in (-1, 1):
        rotation, top, bottom = Rotation.identity(), *_endplates(vertebra)
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
