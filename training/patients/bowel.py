"""What else casts shadows over a pelvis: stool in the colon, calcified veins, a penis. Shares of patients; all ours.

shadows = soft_shadows(skeleton, rng)
"""

from __future__ import annotations

import numpy as np

from training.patients.flesh import Skeleton
from training.patients.shadows import Shadow

# Parts of the colon: share of patients with stool in it, where it begins and ends (R in half widths of the crests from
# the midline, the patient's right positive, and S between trochanter 0 and crest 1), and half its width in mm
COLON = {
    "caecum": (0.4, ((0.62, 0.45), (0.75, 1.25)), (18, 30)),
    "descending": (0.3, ((-0.72, 1.25), (-0.6, 0.5)), (11, 20)),
    "sigmoid": (0.35, ((-0.55, 0.5), (0.1, 0.35)), (13, 24)),
    "rectum": (0.35, ((0.0, 0.4), (0.0, 0.05)), (15, 28)),
}
BUBBLES = (3, 16)  # of gas in the stool of one part
HAUSTRA = 4  # of a part that are drawn
BUBBLE_MM = (1.2, 4.5)
VEIN_STONES_SHARE, PENIS_SHARE = 0.35, 0.35


def soft_shadows(skeleton: Skeleton, rng: np.random.Generator) -> tuple[list[Shadow], dict]:
    """Shadows in the body's frame, and what they are."""
    shadows: list[Shadow] = []
    filled = [name for name, (share, _, _) in COLON.items() if rng.random() < share]
    for name in filled:
        shadows += _stool(skeleton, name, rng)
    stones = int(rng.integers(1, 7)) if rng.random() < VEIN_STONES_SHARE else 0
    for _ in range(stones):
        place = _place(skeleton, rng.choice([-1, 1]) * rng.uniform(0.15, 0.55), rng.uniform(-0.25, 0.3))
        radius = float(rng.uniform(1.0, 3.0))
        shape = str(rng.choice(["dome", "shell"]))
        thick = float(rng.uniform(0.8, 2.5))
        shadows.append(Shadow(material="bone", centre=place, half=(radius, radius), thickness_mm=thick, shape=shape))
    penis = bool(rng.random() < PENIS_SHARE)
    if penis:
        half = float(rng.uniform(12, 19)), float(rng.uniform(30, 60))
        place = skeleton.middle + float(rng.normal(0, 14)), skeleton.pubis_front, skeleton.crotch + 10.0 - half[1] * 0.6
        thick = float(rng.uniform(18, 36))
        turn = float(rng.normal(0, 0.35))
        shadows.append(Shadow(material="muscle", centre=place, half=half, thickness_mm=thick, turn=turn))
    return shadows, {"stool": filled, "vein_stones": stones, "penis": penis}


def _place(skeleton: Skeleton, across: float, up: float) -> tuple[float, float, float]:
    """RAS of a place in the shares of `COLON`."""
    return (
        float(skeleton.middle + across * skeleton.crest_half),
        float((skeleton.front + skeleton.spine_back) / 2),
        float(skeleton.trochanter + up * (skeleton.crest - skeleton.trochanter)),
    )


def _stool(skeleton: Skeleton, name: str, rng: np.random.Generator) -> list[Shadow]:
    """A part of the colon full of stool, speckled with gas."""
    _, (start, end), widths = COLON[name]
    wide = float(rng.uniform(*widths))
    bend = rng.normal(0, 0.08, 2)
    reached = float(rng.uniform(0.4, 1.0))  # how much of the part is full

    def along(share: float) -> np.ndarray:
        bow = np.sin(np.pi * share) * bend
        return np.array(start) + share * (np.array(end) - start) + bow

    gas = float(rng.uniform(0.4, 1.6))
    shadows = []
    for share in np.linspace(0, reached, HAUSTRA):
        half = wide * float(rng.uniform(0.9, 1.3)), wide * float(rng.uniform(0.9, 1.4))
        thick = float(rng.uniform(-3, 7))
        material = "muscle" if thick > 0 else "gas"
        shadows.append(
            Shadow(
                material=material,
                centre=_place(skeleton, *along(share)),
                half=half,
                thickness_mm=abs(thick),
                shape="soft",
            )
        )
        lace = float(half[0] * rng.uniform(0.9, 1.2)), float(half[1] * rng.uniform(0.9, 1.2))
        seed = int(rng.integers(2**31))
        thick = gas * float(rng.uniform(4, 11))
        centre = _place(skeleton, *along(float(share)))
        shadows.append(Shadow(material="gas", centre=centre, half=lace, thickness_mm=thick, shape="lace", seed=seed))
    for _ in range(rng.integers(*BUBBLES)):
        middle = _place(skeleton, *along(float(rng.uniform(0, reached))))
        off = rng.normal(0, 0.5, 2) * wide
        half = rng.uniform(*BUBBLE_MM) * rng.uniform(0.6, 1.6, 2)
        centre = middle[0] + float(off[0]), middle[1], middle[2] + float(off[1])
        thick = gas * float(half.mean()) * float(rng.uniform(0.5, 1.5))
        turn = float(rng.uniform(0, np.pi))
        half = float(half[0]), float(half[1])
        shape = "soft" if rng.random() < 0.7 else "dome"
        shadows.append(Shadow(material="gas", centre=centre, half=half, thickness_mm=thick, turn=turn, shape=shape))
    return shadows
