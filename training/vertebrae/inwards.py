"""How deep voxels lie in a solid: exact Euclidean distances, of what is inside alone.

SciPy's transform says as much of every voxel, and takes ten times as long where a bone is thin.
"""

from __future__ import annotations

import numpy as np
import warp as wp

FAR = 2**28  # squared voxels, more than any solid is deep

wp.config.log_level = wp.LOG_ERROR  # no greeting, and no warning where there is no CUDA


def squared_depths(inside: np.ndarray) -> np.ndarray:
    """(N,) int32 squared voxels from each inside voxel of a bool volume to the nearest outside, in C order.

    Axis by axis: a voxel's nearest along two axes is known, and the third is searched until nothing can be nearer.
    """
    places = wp.array(np.flatnonzero(inside).astype(np.int32), dtype=wp.int32, device="cpu")
    before = wp.array(np.where(inside, FAR, 0).astype(np.int32).ravel(), dtype=wp.int32, device="cpu")
    after = wp.zeros_like(before)
    stride = 1
    for count in inside.shape[::-1]:
        wp.launch(_nearer, dim=len(places), inputs=[before, places, stride, count], outputs=[after], device="cpu")
        before, after = after, before
        stride *= count
    return before.numpy()[places.numpy()]


@wp.kernel(enable_backward=False)
def _nearer(
    before: wp.array(dtype=wp.int32),
    places: wp.array(dtype=wp.int32),
    stride: int,
    count: int,
    after: wp.array(dtype=wp.int32),
) -> None:
    place = places[wp.tid()]
    at = (place / stride) % count
    nearest, step = wp.int32(before[place]), wp.int32(1)
    while step < count and step * step < nearest:
        if at >= step:
            nearest = wp.min(nearest, before[place - step * stride] + step * step)
        if at + step < count:
            nearest = wp.min(nearest, before[place + step * stride] + step * step)
        step += 1
    after[place] = nearest
