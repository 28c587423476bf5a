"""Triangles on a grid of pixels: which pixel centres each covers, and what the nearest of them shows there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

AT_ONCE = 1 << 16  # pixels around triangles that are looked at together: as many as a processor's cache holds


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
    looked_at = spans[alive].prod(axis=1).cumsum()
    cuts = np.searchsorted(looked_at, np.arange(AT_ONCE, looked_at[-1], AT_ONCE)) if len(alive) else []
    for some in np.split(alive, cuts):
        line = np.repeat(some, spans[some, 0])  # a triangle's lines of pixels
        row, left, width = low[line, 0] + _counted(spans[some, 0]), low[line, 1], spans[line, 1]
        down, right = row - a[line, 0], left - a[line, 1]
        per_determinant = 1 / determinant[line]
        v_per_px, w_per_px = -ac[line, 0] * per_determinant, ab[line, 0] * per_determinant
        v = down * ac[line, 1] * per_determinant + right * v_per_px  # at the line's first pixel
        w = right * w_per_px - down * ab[line, 1] * per_determinant
        step = _counted(width)
        v = np.repeat(v, width) + step * np.repeat(v_per_px, width)
        w = np.repeat(w, width) + step * np.repeat(w_per_px, width)
        within = np.flatnonzero((v >= 0) & (w >= 0) & (v + w <= 1))
        of_line = np.repeat(np.arange(len(line)), width)[within]
        yield (
            line[of_line],
            np.stack([row[of_line], left[of_line] + step[within]], axis=1),
            v[within],
            w[within],
        )


def nearest_values(
    pixels: np.ndarray, nearness: np.ndarray, triangles: np.ndarray, values: np.ndarray, size_px: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What triangles (T, 3) show: pixels (N,) counted row by row, the triangle at each, and values (C, N) float32.

    Vertices lie at `pixels` (V, 2) [row, col] and have `values` (C, V), which run between them. Where triangles overlap
    the one of the greatest `nearness` (V,) counts.
    """
    nearest = np.full(size_px[0] * size_px[1], -np.inf)
    first, second, third = nearness[triangles].T
    second, third = second - first, third - first
    hits = []
    for member, place, v, w in covered_pixels(pixels[triangles], size_px):
        flat = place[:, 0] * size_px[1] + place[:, 1]
        near = first[member] + v * second[member] + w * third[member]
        np.maximum.at(nearest, flat, near)
        hits.append((member, flat, near, v, w))

    shown = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((len(values), 0), np.float32))]
    corners = [[part.astype(np.float32) for part in channel[triangles].T] for channel in values]
    runs = [(a, b - a, c - a) for a, b, c in corners]
    last = np.empty(len(nearest), np.int64)
    for member, flat, near, v, w in hits:
        won = np.flatnonzero(near == nearest[flat])
        last[flat[won]] = won  # of two that are equally near
        won = won[last[flat[won]] == won]
        nearest[flat[won]] = np.inf  # nothing comes before it any more
        member, v, w = member[won], v[won].astype(np.float32), w[won].astype(np.float32)
        shown.append((flat[won], member, np.stack([a[member] + v * b[member] + w * c[member] for a, b, c in runs])))
    flat, member, value = zip(*shown, strict=True)
    return np.concatenate(flat), np.concatenate(member), np.concatenate(value, axis=1)


def _counted(lengths: np.ndarray) -> np.ndarray:
    """0, 1, ... up to each length (N,), one after the other."""
    ends = lengths.cumsum()
    return np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
