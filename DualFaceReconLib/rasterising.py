"""Triangles on a grid of pixels: which pixel centres each covers, and what the nearest of them shows there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def covered_pixels(
    corners: np.ndarray, size_px: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """The pixel centres inside triangles with corners (T, 3, 2) [row, col]; swift where triangles cover few pixels.

    Yields triangles (N,), their pixels (N, 2) [row, col], and the weights v, w (N,) of their second and third corner.
    """
    last = np.array(size_px) - 1
    low = np.nan_to_num(np.clip(np.ceil(corners.min(axis=1)), 0, last + 1), nan=1e9).astype(np.int64)
    spans = np.nan_to_num(np.clip(np.floor(corners.max(axis=1)), -1, last), nan=-1).astype(np.int64) - low + 1
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    determinant = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    alive = np.flatnonzero((spans > 0).all(axis=1) & (np.abs(determinant) > 1e-12))
    for row in range(spans[alive, 0].max(initial=0)):
        in_row = alive[spans[alive, 0] > row]
        for col in range(spans[in_row, 1].max(initial=0)):
            member = in_row[spans[in_row, 1] > col]
            place = low[member] + (row, col)
            to = place - a[member]
            v = (to[:, 0] * ac[member, 1] - to[:, 1] * ac[member, 0]) / determinant[member]
            w = (ab[member, 0] * to[:, 1] - ab[member, 1] * to[:, 0]) / determinant[member]
            within = (v >= 0) & (w >= 0) & (v + w <= 1)
            yield member[within], place[within], v[within], w[within]


def nearest_values(
    pixels: np.ndarray, nearness: np.ndarray, triangles: np.ndarray, values: np.ndarray, size_px: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices' values (V, C) between them, where triangles (T, 3) cover pixels: (rows, cols, C) float32, and where.

    Vertices lie at `pixels` (V, 2) [row, col]; of several triangles the one of the greatest `nearness` (V,) shows.
    """
    shown = np.zeros((size_px[0] * size_px[1], values.shape[1]), np.float32)
    hits = list(covered_pixels(pixels[triangles], size_px))
    triangle, place, v, w = (np.concatenate([hit[i] for hit in hits]) for i in range(4)) if hits else _NO_HITS
    flat = place[:, 0] * size_px[1] + place[:, 1]
    corner = triangles[triangle]
    weights = (1 - v - w, v, w)
    near = sum(weight * nearness[corner[:, i]] for i, weight in enumerate(weights))
    winner = np.full(len(shown), -1)
    order = np.argsort(near)
    winner[flat[order]] = order  # the nearest is written last
    covered = winner >= 0
    won = winner[covered]
    values = values.astype(np.float32)
    shown[covered] = sum(
        weight[won, None].astype(np.float32) * values[corner[won, i]] for i, weight in enumerate(weights)
    )
    return shown.reshape(*size_px, -1), covered.reshape(size_px)


_NO_HITS = (np.zeros(0, np.int64), np.zeros((0, 2), np.int64), np.zeros(0), np.zeros(0))
