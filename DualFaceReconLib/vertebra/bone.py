"""Which voxels of a volume are bone; without VTK, which is not everywhere where networks learn."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_closing, binary_fill_holes, label

CLOSED_MM = 3.5  # gaps in a cortex that a network saw in parts: of the sample pair 0.3 mm of 2.4 go by it


def solid(hu: np.ndarray, threshold_hu: float) -> np.ndarray:
    """What is denser than a threshold, and what that encloses: the marrow of a body is not denser than many things."""
    return binary_fill_holes(hu > threshold_hu)


def largest_part(mask: np.ndarray) -> np.ndarray:
    """Its largest connected component; all of an empty one."""
    labels, count = label(mask)
    if count < 2:
        return mask
    return labels == 1 + np.bincount(labels.ravel())[1:].argmax()


def whole_bone(hu: np.ndarray, threshold_hu: float, voxel_mm: float) -> np.ndarray:
    """The largest part of what is denser than a threshold, with what that encloses once gaps in it are closed."""
    steps = max(1, round(CLOSED_MM / voxel_mm))
    dense = hu > threshold_hu
    inner = (slice(steps, -steps),) * 3
    closed = binary_closing(np.pad(dense, steps), iterations=steps)[inner]  # a cube's ends are no gaps
    return largest_part(binary_fill_holes(closed | dense))


def touches_an_end(inside: np.ndarray) -> bool:
    """Whether something goes on beyond its cube."""
    return any(bool(np.take(inside, end, axis=axis).any()) for axis in range(3) for end in (0, -1))
