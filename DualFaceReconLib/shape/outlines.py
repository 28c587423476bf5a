"""A bone's outline on a film, finer than a pixel: where its mask is sure of ending, and the film goes on.

    outline = outline_of(probability, prediction.frame.framed, seen_on(networks.manifest, radiograph))
    outline.rays, outline.normals

Depth maps are coarse evidence along the ray, outlines fine evidence across it: a bone's silhouette, projected exactly,
lies on the outline of its mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from DualFaceReconLib.geometry import ProjectionGeometry

LEVEL = 0.5  # the probability of a bone at its outline
LEAST_SLOPE = 0.15  # of the probability for a pixel across the outline; a sure network has 0.4
FROM_EDGE_MM = 6.0  # at the bones; nearer to where the film or its lit part ends an outline is no bone's
EVERY_MM = 2.5  # along the outline, about one of its points
SMOOTHED_PX = 1.0  # masks of whole pixels, so that their stairs are no normals


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Points on a bone's outline, as rays from the source."""

    rays: np.ndarray  # (N, 3) for a mm of depth
    normals: np.ndarray  # (N, 3) unit, out of the mask, in the film's plane
    spacing_mm: float  # of outline that a point stands for, at the bones

    def __len__(self) -> int:
        return len(self.rays)


def outline_of(probability: ArrayLike, geometry: ProjectionGeometry, seen: ProjectionGeometry) -> Outline:
    """The outline of a bone's probability (rows, cols), or of its mask (bool), on the pixels of `geometry`.

    `seen` is the part of the film on which bones are looked for, as `prediction.seen_on` has it.
    """
    values = np.asarray(probability)
    if values.dtype == bool:
        from scipy.ndimage import gaussian_filter  # which a process that only asks networks does without

        values = gaussian_filter(values.astype(np.float64), SMOOTHED_PX)
    depth = geometry.sdd_mm - (geometry.object_distance_mm or 0.0)
    pixels, outwards, length_px = _crossings(values.astype(np.float64))
    places = geometry.back_project(pixels, np.full(len(pixels), depth))
    normals = geometry.back_project(pixels + outwards, np.full(len(pixels), depth)) - places
    normals /= np.maximum(np.linalg.norm(normals, axis=1), 1e-12)[:, None]
    kept = np.ones(len(places), dtype=bool)
    for right in (-FROM_EDGE_MM, 0.0, FROM_EDGE_MM):
        for up in (-FROM_EDGE_MM, 0.0, FROM_EDGE_MM):
            kept &= seen.sees(places + np.array([right, 0.0, up]))
    length_mm = length_px * float(np.mean(geometry.pixel_size_at(depth)))
    every = max(1, round(EVERY_MM * len(pixels) / max(length_mm, 1e-9)))
    rays = (places - geometry.source) / depth
    return Outline(
        rays=rays[kept][::every], normals=normals[kept][::every], spacing_mm=length_mm * every / max(len(pixels), 1)
    )


def _crossings(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Where neighbours lie on both sides of LEVEL: places (N, 2) px, normals (N, 2) to smaller values, the length.

    Only where the slope is steep enough. A straight outline of slope a, |a| <= 1, crosses 1 + |a| lines of pixels for a
    length of sqrt(1 + a^2), which is 1.27 on average.
    """
    slopes = np.gradient(values)
    places, normals = [], []
    for axis in (0, 1):
        first = np.take(values, range(values.shape[axis] - 1), axis)
        second = np.take(values, range(1, values.shape[axis]), axis)
        at = np.argwhere((first - LEVEL) * (second - LEVEL) < 0)
        if len(at) == 0:
            continue
        low, high = first[tuple(at.T)], second[tuple(at.T)]
        share = (LEVEL - low) / (high - low)
        step = np.eye(2, dtype=np.int64)[axis]
        after = at + step
        slope = np.stack([(1 - share) * s[tuple(at.T)] + share * s[tuple(after.T)] for s in slopes], axis=1)
        steep = np.linalg.norm(slope, axis=1)
        sure = steep > LEAST_SLOPE
        places.append((at + share[:, None] * step)[sure])
        normals.append((-slope / np.maximum(steep, 1e-12)[:, None])[sure])
    if not places:
        return np.empty((0, 2)), np.empty((0, 2)), 0.0
    found = np.concatenate(places)
    return found, np.concatenate(normals), len(found) / 1.27
