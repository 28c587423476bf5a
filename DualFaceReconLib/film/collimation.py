"""The collimator's edges in a picture: where the flat border that saw no direct X-rays ends."""

from __future__ import annotations

import numpy as np

FLAT_FRACTION = 0.04  # of the picture's range: what noise and scatter leave of contrast behind the blades
STEP_FRACTION = 0.12  # of the picture's range: how much brighter or darker the border is than the field beside it
THINNEST_FRACTION = 0.008  # of the picture's side
WIDEST_FRACTION = 0.4
LOOKED_AT_PX = 512


def field_of_exposure(pixels: np.ndarray) -> tuple[int, int, int, int] | None:
    """First row, last row, first col, last col of the exposed field of (rows, cols); None where no border is seen.

    Borders are taken off side by side, so that each is judged only where the other sides are exposed.
    """
    step = max(1, -(-max(pixels.shape) // LOOKED_AT_PX))
    small = pixels[::step, ::step]
    low, high = np.percentile(small, (0.5, 99.5))
    if not high > low:
        return None
    small = (small - low) / (high - low)
    first_row, last_row, first_col, last_col = 0, small.shape[0], 0, small.shape[1]
    for _ in range(2):  # a second look, now without the other sides' borders
        rows, cols = small[:, first_col:last_col], small[first_row:last_row]
        first_row, last_row = _border(rows), small.shape[0] - _border(rows[::-1])
        first_col, last_col = _border(cols.T), small.shape[1] - _border(cols.T[::-1])
    if (first_row, first_col, last_row, last_col) == (0, 0, *small.shape):
        return None
    rows, cols = pixels.shape
    return (
        first_row * step,
        rows - 1 if last_row == small.shape[0] else last_row * step - 1,
        first_col * step,
        cols - 1 if last_col == small.shape[1] else last_col * step - 1,
    )


def _border(lines: np.ndarray) -> int:
    """How many of the first lines are one flat border; 0 where there is none."""
    low, middle, high = np.percentile(lines, (10, 50, 90), axis=1)
    flat = (high - low < FLAT_FRACTION) & (np.abs(middle - middle[0]) < 2 * FLAT_FRACTION)
    width = len(flat) if flat.all() else int(np.argmin(flat))
    if not THINNEST_FRACTION * len(lines) <= width <= WIDEST_FRACTION * len(lines):
        return 0
    beside = lines[width + 1 : width + 1 + max(2, width // 4)]
    step = 0 if beside.size == 0 else np.median(np.abs(beside - middle[0]))
    return width if step > STEP_FRACTION else 0
