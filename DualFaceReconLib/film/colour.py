"""A picture with colour channels as the grey film that it shows; marks that somebody drew in colour are taken out."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter, label

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import RadiographWarning

COLOUR_TOLERANCE = 0.08  # of the range: what lossy compression may add to equal channels
TINT_TOLERANCE = 0.02  # of the range: what it adds to most pixels; more is a tinted picture or a photograph
MARKED_SHARE = 0.05  # of the pixels: arrows, scales and words are less, as are their edges after compression
EDGE_PX = 3  # that colour reaches beyond a mark, as channels are kept at half the size
SMOOTHED_PX = 2.0  # of what is filled in


def grey_channel(colour: np.ndarray) -> tuple[np.ndarray, list[RadiographWarning]]:
    """(rows, cols, 3) of a grey film -> (rows, cols) without coloured marks, and a warning where there were some.

    Refuses a picture in colour.
    """
    if np.abs(colour[..., 1:].astype(np.int32) - 128).max() <= 2 < np.ptp(colour[..., 0]):
        return colour[..., 0], []  # luma and two empty chroma channels that a decoder left as they were
    low, high = colour.min(axis=-1), colour.max(axis=-1)
    spread = (high.astype(np.float32) - low) / max(float(high.max()), 1.0)
    marked = spread > COLOUR_TOLERANCE
    share = float(marked.mean())
    if share > MARKED_SHARE or float(np.median(spread)) > TINT_TOLERANCE:
        raise Refusal("This is a colour picture, not a radiograph: choose the original grey-scale film.")
    if not marked.any():
        return colour[..., 1], []
    marked = binary_dilation(marked, iterations=EDGE_PX)
    places = label(marked)[1]
    warning = RadiographWarning(
        "coloured-marks",
        f"Coloured marks ({places} of them, {100 * share:.2g} % of the picture) are no part of the film: they were "
        "taken out and filled with the greys around them. Look at the bones beneath them.",
        {"places": places, "share": share},
    )
    return _filled(colour[..., 1], marked), [warning]


def _filled(grey: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """Grey values with those of marked pixels taken from the nearest others, and smoothed."""
    nearest = distance_transform_edt(marked, return_distances=False, return_indices=True)
    filled = grey[tuple(nearest)].astype(np.float32)
    filled[marked] = gaussian_filter(filled, SMOOTHED_PX)[marked]
    return filled.astype(grey.dtype)
