"""A picture as its file's decoder leaves it, whatever the format: in stored pixel order, bone bright."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from DualFaceReconLib.film.acquisition import Known, RadiographWarning


@dataclass(kw_only=True)
class Decoded:
    """A decoded picture in stored pixel order."""

    pixels: np.ndarray  # (rows, cols) float32, bone bright
    polarity: Known  # how bone became bright
    display_window: tuple[float, float] | None  # black and white, in grey values of `pixels`
    warnings: list[RadiographWarning] = field(default_factory=list)


def polarity_warning() -> RadiographWarning:
    return RadiographWarning(
        "polarity-assumed",
        "The file does not say whether bone is bright or dark: bright is assumed. Look at the picture; say {invert} if "
        "bone is dark.",
    )
