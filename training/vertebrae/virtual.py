"""Virtual vertebrae: real ones mixed across people and neighbouring levels, bent, of other sizes, some of them ill.

    stock = Stock.of(load_groups(vertebrae, cache), without=["totalseg/s0327"])
    vertebra = sample_vertebra(stock, seed=7)
    vertebra.mesh, vertebra.level, vertebra.metadata

A seed always gives the same vertebra of the same stock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.levels import LEVELS, group_of
from DualFaceReconLib.meshes import MIRROR, Mesh
from DualFaceReconLib.shape.repair import repaired_vertices
from DualFaceReconLib.shape.shapemodel import ShapeModel
from training.anatomy.shapes import shape_model
from training.vertebrae.correspondence import VertebraGroup
from training.vertebrae.disease import draw_fracture, draw_spurs, fractured, with_spur
from training.vertebrae.parts import VertebraParts, dimensions, in_own_frame
from training.vertebrae.pelvis import Pelvis
from training.vertebrae.sizes import drawn_scales, measured_size, published_size

MIXED = 3  # vertebrae in a mixture at most
NEAR = (1.0, 0.4, 0.1)  # how often a vertebra is taken for its own level, the next one, the one after that
BEYOND = 0.25  # mixtures reach so far beyond the real ones, as a share of the way between them
MODES, MODES_SPREAD = 30, 0.4  # of the group's shape model, and standard deviations that are added to a mixture
BENDS, BEND_MM, BEND_REACH_MM = 6, 0.7, (12.0, 25.0)  # smooth warps: how many, how large, how wide


@dataclass(frozen=True, kw_only=True)
class GroupStock:
    """A group's real vertebrae in their own frames."""

    shapes: np.ndarray  # (N, V, 3) mm, over `sizes`
    sizes: np.ndarray  # (N, 3) width, depth and height, mm
    people: tuple[str, ...]
    levels: tuple[str, ...]
    triangles: np.ndarray
    parts: VertebraParts
    model: ShapeModel  # of the shapes at their sizes


@dataclass(frozen=True, kw_only=True)
class Stock:
    """What virtual vertebrae are made of."""

    groups: Mapping[str, GroupStock]
    pelves: tuple[Pelvis, ...] = ()  # that stand below L5 on films in situ; with them goes gas in the bowel

    @classmethod
    def of(cls, groups: Mapping[str, VertebraGroup], without: Collection[str] = ()) -> Stock:
        """All real vertebrae but those of some people; Refusal where nobody has such a name or too few are left."""
        known = {person for group in groups.values() for person in group.bones.people}
        if strangers := sorted(set(without) - known):
            raise Refusal(f"Nobody is called {strangers[0]}: there are {', '.join(sorted(known))}.")
        return cls(groups={name: _stock(group.without(without)) for name, group in groups.items()})

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels that somebody has."""
        return tuple(level for level in LEVELS if any(level in group.levels for group in self.groups.values()))


@dataclass(frozen=True, kw_only=True)
class VirtualVertebra:
    """A vertebra in its own frame."""

    level: str
    mesh: Mesh  # closed, outward, mm
    parts: VertebraParts
    metadata: dict[str, Any]  # how it came about, plain values for JSON


def only(groups: Mapping[str, VertebraGroup], people: Collection[str]) -> Stock:
    """The stock of some people alone, in the groups of which they have two vertebrae or more."""
    others = {person for group in groups.values() for person in group.bones.people} - set(people)
    of_people = {name: group.without(others) for name, group in groups.items()}
    return Stock.of({name: group for name, group in of_people.items() if len(group.levels) > 1})


def sample_vertebra(stock: Stock, seed: int, level: str | None = None) -> VirtualVertebra:
    """The vertebra of a seed, of a level or of any."""
    rng = np.random.default_rng([seed, 20])
    drawn = str(rng.choice(stock.levels))
    level = level or drawn
    group = stock.groups[group_of(level)]
    chosen, weights = _mixture(group, level, rng)
    upright = np.einsum("n,nvx->vx", weights, group.shapes[chosen])
    size = _size(group, level, chosen, weights, rng)
    upright = upright * size
    upright = upright + _local(group.model, rng) + _bent(upright, rng)
    fracture, spurs = draw_fracture(rng), draw_spurs(rng)
    ill = upright if fracture is None else fractured(upright, group.parts, fracture)
    for spur in spurs:
        ill = with_spur(ill, group.parts, spur)
    ill = repaired_vertices(ill, group.triangles, upright) if fracture or spurs else upright
    mirrored = bool(rng.random() < 0.5)
    vertices, triangles = (ill * MIRROR, group.triangles[:, ::-1]) if mirrored else (ill, group.triangles)
    return VirtualVertebra(
        level=level,
        mesh=(vertices, triangles),
        parts=group.parts,
        metadata={
            "seed": seed,
            "level": level,
            "mixed": [
                {"person": group.people[number], "level": group.levels[number], "share": round(float(weight), 3)}
                for number, weight in zip(chosen, weights, strict=True)
            ],
            "size_mm": [round(float(value), 1) for value in size],
            "fracture": None if fracture is None else asdict(fracture),
            "osteophytes": [asdict(spur) for spur in spurs],
            "mirrored": mirrored,
        },
    )


def _stock(group: VertebraGroup) -> GroupStock:
    if len(group.levels) < 2:
        raise Refusal(f"Of the {group.name.replace('_', ' ')} vertebrae fewer than two are left: take more people.")
    upright = np.array([in_own_frame(shape, group.parts) for shape in group.bones.shapes])
    sizes = np.array([measured_size(dimensions(shape, group.parts)) for shape in upright])
    return GroupStock(
        shapes=upright / sizes[:, None],
        sizes=sizes,
        people=group.bones.people,
        levels=group.levels,
        triangles=group.bones.triangles,
        parts=group.parts,
        model=shape_model(replace(group.bones, shapes=upright), modes=MODES),
    )


def _mixture(group: GroupStock, level: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the vertebrae that are mixed, and their weights, which add up to 1 and may be a little below 0."""
    away = np.array([abs(LEVELS.index(other) - LEVELS.index(level)) for other in group.levels])
    odds = np.array([NEAR[steps] if steps < len(NEAR) else 0.0 for steps in away])
    count = min(MIXED, int(np.count_nonzero(odds)))
    chosen = rng.choice(len(odds), count, replace=False, p=odds / odds.sum())
    weights = rng.dirichlet(np.ones(count))
    return chosen, (1 + BEYOND) * weights - BEYOND / count


def _size(
    group: GroupStock, level: str, chosen: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(3,) mm: anywhere from the published mean of a level to the size of those who were mixed, times a person's own.

    The spines that were measured are smaller than those on our CTs, above all in height.
    """
    published = published_size(level)
    steps = np.array([published / published_size(group.levels[number]) for number in chosen])
    own = np.exp(weights @ np.log(group.sizes[chosen] * steps))
    share = rng.random()
    return own**share * published ** (1 - share) * drawn_scales(rng)


def _local(model: ShapeModel, rng: np.random.Generator) -> np.ndarray:
    """(V, 3) mm by which a vertebra differs from a mixture as others of its group differ from their mean."""
    return MODES_SPREAD * (model.shape(model.sample(rng, limit=2.5)) - model.mean)


def _bent(upright: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(V, 3) mm of smooth warps."""
    centres = upright[rng.integers(len(upright), size=BENDS)]
    reach = rng.uniform(*BEND_REACH_MM, BENDS)
    moves = rng.normal(0, BEND_MM, (BENDS, 3))
    apart = ((upright[:, None] - centres) ** 2).sum(axis=2)
    return np.exp(-apart / (2 * reach**2)) @ moves
