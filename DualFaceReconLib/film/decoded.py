"""A picture as its file's decoder leaves it, whatever the format: in stored pixel order, bone bright."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Known, RadiographWarning

COLOUR_TOLERANCE = 0.08  # of the range: what lossy compression may add to equal channels
COLOUR_FRACTION = 0.002  # of the pixels: a coloured mark is no colour photo


@dataclass(kw_only=True)
class Decoded:
    """A decoded picture in stored pixel order."""

    pixels: np.ndarray  # (rows, cols) float32, bone bright
    polarity: Known  # how bone became bright
    display_window: tuple[float, float] | None  # black and white, in grey values of `pixels`
    warnings: list[RadiographWarning] = field(default_factory=list)


def grey_channel(colour: np.ndarray) -> np.ndarray:
    """(rows, cols, 3) with equal channels -> (rows, cols); refuses a picture in colour."""
    if np.abs(colour[..., 1:].astype(np.int32) - 128).max() <= 2 < np.ptp(colour[..., 0]):
        return colour[..., 0]  # luma and two empty chroma channels that a decoder left as they were
    low, high = colour.min(axis=-1), colour.max(axis=-1)
    spread = high.astype(np.float32) - low
    if np.mean(spread > COLOUR_TOLERANCE * max(float(high.max()), 1.0)) > COLOUR_FRACTION:
        raise Refusal("This is a colour picture, not a radiograph: choose the original grey-scale film.")
    return colour[..., 1]


def polarity_warning() -> RadiographWarning:
    return RadiographWarning(
        "polarity-assumed",
        "The file does not say whether bone is bright or dark: bright is assumed. Look at the picture; say {invert} if "
        "bone is dark.",
    )
