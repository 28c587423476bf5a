"""What makes a spine and a sacrum look like ones on a film: foramina, facets, processes, pedicles, uneven joints.

shadows = axial_shadows(patient.bones, rng)

The meshes of the sacrum are smooth, and those of lumbar bodies schematic. Here their landmarks are put before them as
`Shadow`s. Places are shares of each bone's own size, and ours: foramina lie 15 to 21 mm beside the midline of a
sacrum 105 mm wide.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from DualFaceReconLib.meshes import Mesh
from training.patients.shadows import Shadow

# Shares of patients. Lumbosacral transitional vertebrae are found in 4 to 30 % (Konin and Walz, AJNR 31:1778, 2010)
SACRALISED_SHARE, LUMBARISED_SHARE = 0.08, 0.05
FORAMINA = ((0.20, 0.20), (0.40, 0.18), (0.58, 0.16), (0.74, 0.14))  # shares of the height from above, of the width
CREST = (0.12, 0.3, 0.48, 0.64)  # tubercles in the midline, shares of the height
JOINT = (0.06, 0.66)  # the sacroiliac joint, shares of the height
SEGMENTS = (0.29, 0.48, 0.65)  # where the sacral vertebrae meet, shares of the height
FEWER = 4  # one in so many vertices tells where a bone is
LEVELS = 14  # of the sacrum, at which its sides are looked up


def axial_shadows(bones: Mapping[str, Mesh], rng: np.random.Generator) -> list[Shadow]:
    """Shadows before a patient's sacrum and lumbar bodies, in the patient's frame."""
    strength = float(np.exp(rng.normal(0, 0.4)))
    sacrum = bones["sacrum"][0][::FEWER]
    shadows = _sacrum(sacrum, strength, rng)
    bodies = [bones[name][0][::FEWER] for name in ("lumbar_5", "lumbar_4", "lumbar_3") if name in bones]
    for body in bodies:
        shadows += _vertebra(body, strength, rng)
    if bodies:
        shadows += _transition(bodies[0], sacrum, rng)
    return shadows


def _sacrum(sacrum: np.ndarray, strength: float, rng: np.random.Generator) -> list[Shadow]:
    top, bottom = float(np.quantile(sacrum[:, 2], 0.97)), float(sacrum[:, 2].min())
    height = top - bottom
    level = np.clip(((top - sacrum[:, 2]) / height * LEVELS).astype(int), 0, LEVELS - 1)
    present = np.unique(level)
    there = [sacrum[level == number] for number in present]
    known = np.array([(points[:, 0].min(), points[:, 0].max(), points[:, 1].mean()) for points in there])
    width = float((known[:, 1] - known[:, 0]).max())
    sides = np.stack([np.interp(np.arange(LEVELS), present, column) for column in known.T], axis=1).tolist()

    def at(share: float) -> tuple[float, float, float, float, float]:
        """R of the left and right side and of the midline, A and S at a share of the height from above."""
        place = min(max(share * LEVELS - 0.5, 0.0), LEVELS - 1.0)
        above = min(int(place), LEVELS - 2)
        part = place - above
        left, right, anterior = (
            upper + part * (lower - upper) for upper, lower in zip(sides[above], sides[above + 1], strict=True)
        )
        return left, right, (left + right) / 2, anterior, top - share * height

    shadows = []
    for share, beside in FORAMINA:
        share = share + rng.normal(0, 0.015)
        for sign in (-1, 1):
            _, _, middle, front_mm, up = at(share)
            centre = middle + sign * width * beside * rng.uniform(0.9, 1.1), front_mm, up + rng.normal(0, 1.5)
            half = (float(rng.uniform(8, 13)) * (1.25 - share), float(rng.uniform(6, 10)) * (1.2 - share))
            turn = -sign * float(rng.uniform(0.1, 0.6))
            deep = strength * float(rng.uniform(0.5, 4.0))
            shadows.append(
                Shadow(material="bone", centre=centre, half=half, thickness_mm=-deep, turn=turn, shape="soft")
            )
            larger = half[0] * 0.9, half[1] * 0.95
            rim = strength * float(rng.uniform(0.8, 2.5))
            shadows.append(
                Shadow(material="bone", centre=centre, half=larger, thickness_mm=rim, turn=turn, shape="arc")
            )
    for share in CREST:
        _, _, middle, front_mm, up = at(share)
        centre = middle + rng.normal(0, 1.5), front_mm, up + rng.normal(0, 2.0)
        half = float(rng.uniform(2.0, 4.5)), float(rng.uniform(5, 9))
        shadows.append(
            Shadow(
                material="bone",
                centre=centre,
                half=half,
                thickness_mm=strength * float(rng.uniform(1, 4)),
                shape="soft",
            )
        )
    for share in SEGMENTS:  # what is left of the discs
        _, _, middle, front_mm, up = at(share + rng.normal(0, 0.01))
        half = width * float(rng.uniform(0.12, 0.22)), float(rng.uniform(1.0, 2.2))
        thick = strength * float(rng.normal(0, 1.5))
        turn = float(rng.normal(0, 0.06))
        centre = middle, front_mm, up
        shadows.append(Shadow(material="bone", centre=centre, half=half, thickness_mm=thick, turn=turn, shape="soft"))
    shadows += _coccyx(np.array(at(1.0)[2:]), strength, rng)
    for sign in (-1, 1):  # a joint whose line is broken and lies more or less open; its borders are dense
        open_mm, dense_mm = float(rng.uniform(0.5, 4.0)), strength * float(rng.uniform(0.3, 3.0))
        inwards = float(rng.uniform(0, 9))
        for share in np.linspace(*JOINT, 9):
            left, right, _, front_mm, up = at(float(share))
            side = (left if sign < 0 else right) - sign * (inwards + rng.normal(0, 2.0))
            half = float(rng.uniform(1.2, 2.6)), height * float(rng.uniform(0.025, 0.06))
            turn = -sign * float(rng.normal(0.25, 0.3))
            centre = side, front_mm, up
            shadows.append(
                Shadow(
                    material="bone",
                    centre=centre,
                    half=half,
                    thickness_mm=-open_mm * float(rng.uniform(0, 1.5)),
                    turn=turn,
                )
            )
            centre = side - sign * float(rng.choice([-1, 1])) * float(rng.uniform(2.5, 6)), front_mm, up
            half = float(rng.uniform(1.5, 4.0)), half[1] * 1.3
            shadows.append(
                Shadow(
                    material="bone",
                    centre=centre,
                    half=half,
                    thickness_mm=dense_mm * float(rng.uniform(0, 1.2)),
                    turn=turn,
                    shape="soft",
                )
            )
    return shadows


def _coccyx(tip: np.ndarray, strength: float, rng: np.random.Generator) -> list[Shadow]:
    """Three or four small bones below the sacrum's tip, in a line that may bend to a side."""
    bend, bow = float(rng.normal(0, 0.25)), float(rng.normal(0, 0.12))
    size, place = float(rng.uniform(6, 9)), tip.copy()
    shadows = []
    for _ in range(rng.integers(3, 5)):
        half = size * float(rng.uniform(0.9, 1.4)), size
        place = place + size * np.array([np.sin(bend), 0.0, -1.5 * np.cos(bend)])
        shape = "soft" if rng.random() < 0.7 else "dome"
        thick = strength * float(rng.uniform(0.5, 2.5))
        centre = tuple(map(float, place))
        shadows.append(Shadow(material="bone", centre=centre, half=half, thickness_mm=thick, turn=bend, shape=shape))
        bend, size = bend + bow, 0.8 * size
    return shadows


def _vertebra(body: np.ndarray, strength: float, rng: np.random.Generator) -> list[Shadow]:
    """Pedicles, a spinous process, articular processes with the gap between them, and denser endplates."""
    middle = np.median(body, axis=0)
    height = float(np.quantile(body[:, 2], 0.95) - np.quantile(body[:, 2], 0.05))
    half_width = float(np.quantile(np.abs(body[:, 0] - middle[0]), 0.8))

    def put(
        across: float, up: float, half: tuple[float, float], thick: float, turn: float = 0.0, shape: str = "dome"
    ) -> Shadow:
        centre = float(middle[0] + across), float(middle[1]), float(middle[2] + up)
        return Shadow(material="bone", centre=centre, half=half, thickness_mm=strength * thick, turn=turn, shape=shape)

    shadows = []
    for sign in (-1, 1):
        pedicle = float(rng.uniform(3.2, 5.0)), float(rng.uniform(5.0, 7.5))
        across = sign * half_width * float(rng.uniform(0.6, 0.75))
        shadows.append(put(across, 0.15 * height, pedicle, float(rng.uniform(1.5, 4.0)), shape="shell"))
        facet = sign * float(rng.uniform(13, 19))
        turn = sign * float(rng.uniform(0.0, 0.4))
        shadows.append(put(facet, -0.62 * height, (5.0, 8.5), float(rng.uniform(2, 6)), turn))
        shadows.append(put(facet, -0.6 * height, (0.9, 6.5), -float(rng.uniform(1, 4)), turn))
        lamina = float(rng.uniform(0.35, 0.8))
        shadows.append(put(sign * 8.0, -0.25 * height, (9.0, 3.0), float(rng.uniform(1, 3)), -sign * lamina, "soft"))
    spinous = float(rng.uniform(2.5, 4.5)), float(rng.uniform(8, 13))
    shadows.append(put(float(rng.normal(0, 1.5)), -0.35 * height, spinous, float(rng.uniform(3, 8)), shape="shell"))
    for up in (-0.5, 0.5):
        thick = float(rng.uniform(0.3, 2.5))
        tilt = float(rng.normal(0, 0.04))
        shadows.append(put(0.0, up * height, (half_width * 1.1, float(rng.uniform(1.0, 2.5))), thick, tilt))
    return shadows


def _transition(fifth: np.ndarray, sacrum: np.ndarray, rng: np.random.Generator) -> list[Shadow]:
    """A fifth lumbar vertebra whose wide processes join the sacrum, or a first sacral one that stands apart."""
    middle = np.median(fifth, axis=0)
    if rng.random() < SACRALISED_SHARE:
        signs = ((-1,), (1,), (-1, 1))[rng.integers(3)]
        return [
            Shadow(
                material="bone",
                centre=(float(middle[0] + sign * rng.uniform(34, 44)), float(middle[1]), float(middle[2] - 14)),
                half=(float(rng.uniform(16, 24)), float(rng.uniform(9, 14))),
                thickness_mm=float(rng.uniform(3, 8)),
                turn=-sign * float(rng.uniform(0.1, 0.5)),
            )
            for sign in signs
        ]
    if rng.random() < LUMBARISED_SHARE:
        top = float(np.quantile(sacrum[:, 2], 0.97))
        height = top - float(sacrum[:, 2].min())
        centre = float(np.median(sacrum[:, 0])), float(middle[1]), top - 0.28 * height
        return [
            Shadow(
                material="bone",
                centre=centre,
                half=(24.0, float(rng.uniform(2, 4))),
                thickness_mm=-float(rng.uniform(2, 6)),
            )
        ]
    return []
