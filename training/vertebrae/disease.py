"""Fractures and osteophytes of virtual vertebrae: both bend vertices, so that a vertebra stays in correspondence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.vertebrae.parts import VertebraParts

# Of vertebrae that are trained on. Of people aged 50 to 79 some 12 to 20 % have a deformed one among all of theirs
# (O'Neill et al., J Bone Miner Res 11:1010, 1996), and most old spines have osteophytes. A vertebra's own odds are
# lower than these: networks are to meet them.
FRACTURE_SHARE, OSTEOPHYTE_SHARE = 0.15, 0.3
# Height that is lost, by Genant's grades (J Bone Miner Res 8:1137, 1993), and how often each is drawn; shares are ours.
GRADES = {"mild": ((0.20, 0.25), 0.5), "moderate": ((0.25, 0.40), 0.35), "severe": ((0.40, 0.55), 0.15)}
KINDS = {"wedge": 0.6, "biconcave": 0.3, "crush": 0.1}
SINKS = (0.45, 0.65)  # the upper endplate's share of the lost height
BICONCAVE_REACH = (0.38, 0.3)  # of the body's width and depth, where a biconcave body is still nearly as deep
SPURS = (1, 5)  # osteophytes of a vertebra that has some, the last not included
SPUR_MM, SPUR_WIDTH_MM = (1.5, 6.0), (3.0, 6.0)


@dataclass(frozen=True, kw_only=True)
class Fracture:
    """A compressed body."""

    kind: str  # "wedge": in front; "biconcave": in the middle; "crush": everywhere
    grade: str  # Genant's
    loss: float  # of the height, where most is lost
    upper_share: float  # of that, at the upper endplate


@dataclass(frozen=True, kw_only=True)
class Spur:
    """An osteophyte on the rim of an endplate."""

    upper: bool
    angle_degrees: float  # around the body from in front, to the right
    length_mm: float
    width_mm: float


def draw_fracture(rng: np.random.Generator) -> Fracture | None:
    """A fracture, or none."""
    fractured = rng.random() < FRACTURE_SHARE
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    grade = str(rng.choice(list(GRADES), p=[share for _, share in GRADES.values()]))
    loss, upper = float(rng.uniform(*GRADES[grade][0])), float(rng.uniform(*SINKS))
    return Fracture(kind=kind, grade=grade, loss=loss, upper_share=upper) if fractured else None


def draw_spurs(rng: np.random.Generator) -> tuple[Spur, ...]:
    """Osteophytes, or none."""
    count = int(rng.integers(*SPURS)) if rng.random() < OSTEOPHYTE_SHARE else 0
    return tuple(
        Spur(
            upper=bool(rng.random() < 0.5),
            angle_degrees=float(rng.uniform(-120, 120)),
            length_mm=float(rng.uniform(*SPUR_MM)),
            width_mm=float(rng.uniform(*SPUR_WIDTH_MM)),
        )
        for _ in range(count)
    )


def fractured(upright: np.ndarray, parts: VertebraParts, fracture: Fracture) -> np.ndarray:
    """Vertices (V, 3) of a vertebra in its own frame, compressed; the arch stays where it is."""
    body = upright[parts.body]
    back, front = body[:, 1].min(), body[:, 1].max()
    along = np.clip((upright[:, 1] - back) / (front - back), 0, 1)
    if fracture.kind == "wedge":
        share = along
    elif fracture.kind == "biconcave":
        across = upright[:, 0] / (BICONCAVE_REACH[0] * np.ptp(body[:, 0]))
        share = np.exp(-(across**2) - ((along - 0.5) / BICONCAVE_REACH[1]) ** 2)
        share[along == 0] = 0
    else:
        share = np.clip(along / 0.25, 0, 1)
    share = share * np.clip(along / 0.15, 0, 1)  # nothing is torn at the wall of the canal
    sinks = np.where(upright[:, 2] > 0, fracture.upper_share, 1 - fracture.upper_share)
    compressed = upright.copy()
    compressed[:, 2] *= 1 - 2 * sinks * fracture.loss * share
    return compressed


def with_spur(upright: np.ndarray, parts: VertebraParts, spur: Spur) -> np.ndarray:
    """Vertices (V, 3) of a vertebra in its own frame, with an osteophyte that is drawn out of the body's rim."""
    rim = parts.upper_rim if spur.upper else parts.lower_rim
    middle = upright[rim].mean(axis=0) * (1, 1, 0)
    angle = np.radians(spur.angle_degrees)
    way = np.array([np.sin(angle), np.cos(angle), 0.0])
    tip = rim[((upright[rim] - middle) @ way).argmax()]
    height = upright[rim, 2].max() if spur.upper else upright[rim, 2].min()
    root = upright[tip] * (1, 1, 0) + np.array([0, 0, height * 0.9])
    near = np.zeros(len(upright))
    near[parts.body] = np.exp(-((upright[parts.body] - root) ** 2).sum(axis=1) / (2 * spur.width_mm**2))
    return upright + spur.length_mm * near[:, None] * (way + np.array([0, 0, 0.25 if spur.upper else -0.25]))
