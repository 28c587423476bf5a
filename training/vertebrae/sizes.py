"""How people's vertebrae differ in size, around the published means."""

from __future__ import annotations

import math

import numpy as np

from DualFaceReconLib.vertebra.sizes import published_mm

# The standard errors of the lumbar upper endplates' widths are 0.74 to 1.20 mm, which of twelve spines is 6 to 9 % of
# the mean. Most of it is a person's size, common to all levels and axes; how it divides is ours.
PERSON_SPREAD, AXIS_SPREAD = 0.07, 0.035


def drawn_scales(rng: np.random.Generator) -> np.ndarray:
    """(3,) a person's width, depth and height beside the mean person's, within two deviations and a half."""
    drawn = np.clip(rng.normal(size=4), -2.5, 2.5)
    return np.exp(PERSON_SPREAD * drawn[0] + AXIS_SPREAD * drawn[1:])


def published_size(level: str) -> np.ndarray:
    """(3,) mm: mean width and depth of the two endplates, and the posterior height."""
    width, depth = (
        math.sqrt(published_mm(f"upper_endplate_{name}_mm", level) * published_mm(f"lower_endplate_{name}_mm", level))
        for name in ("width", "depth")
    )
    return np.array([width, depth, published_mm("body_height_posterior_mm", level)])


def measured_size(sizes: dict[str, float]) -> np.ndarray:
    """The same (3,) of a vertebra's `dimensions`."""
    width, depth = (
        math.sqrt(sizes[f"upper_endplate_{name}_mm"] * sizes[f"lower_endplate_{name}_mm"])
        for name in ("width", "depth")
    )
    return np.array([width, depth, sizes["body_height_posterior_mm"]])
