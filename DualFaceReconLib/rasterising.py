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
    (a_row, a_col), (b_row, b_col), (c_row, c_col) = np.ascontiguousarray(corners.transpose(1, 2, 0))
    top, rows = _lines_between(a_row, b_row, c_row, size_px[0])
    leftmost, cols = _lines_between(a_col, b_col, c_col, size_px[1])
    ab_row, ab_col, ac_row, ac_col = b_row - a_row, b_col - a_col, c_row - a_row, c_col - a_col
    determinant = ab_row * ac_col - ab_col * ac_row
    alive = np.flatnonzero((rows > 0) & (cols > 0) & (np.abs(determinant) > 1e-12))
    looked_at = (rows[alive] * cols[alive]).cumsum()
    cuts = np.searchsorted(looked_at, np.arange(AT_ONCE, looked_at[-1], AT_ONCE)) if len(alive) else []
    for some in np.split(alive, cuts):
        line = np.repeat(some, rows[some])  # a triangle's lines of pixels
        row, left, width = top[line] + _counted(rows[some]), leftmost[line], cols[line]
        down, right = row - a_row[line], left - a_col[line]
        per_determinant = 1 / determinant[line]
        v_per_px, w_per_px = -ac_row[line] * per_determinant, ab_row[line] * per_determinant
        v = down * ac_col[line] * per_determinant + right * v_per_px  # at the line's first pixel
        w = right * w_per_px - down * ab_col[line] * per_determinant
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


def _lines_between(a: np.ndarray, b: np.ndarray, c: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first of `count` lines of pixels that triangles with corners there (T,) reach, and how many they do."""
    first = np.clip(np.ceil(np.minimum(np.minimum(a, b), c)), 0, count)
    last = np.clip(np.floor(np.maximum(np.maximum(a, b), c)), -1, count - 1)
    with np.errstate(invalid="ignore"):  # of corners that are nowhere
        lines = last - first + 1
    known = ~np.isnan(lines)
    return np.where(known, first, 0).astype(np.int64), np.where(known, lines, 0).astype(np.int64)


def nearest_values(
    pixels: np.ndarray, nearness: np.ndarray, triangles: np.ndarray, values: np.ndarray, size_px: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What triangles (T, 3) show: pixels (N,) counted row by row, the triangle at each, and values (C, N) float32.

    Vertices lie at `pixels` (V, 2) [row, col] and have `values` (C, V), which run between them. Where triangles overlap
    the one of the greatest `nearness` (V,) counts.
    """
    nearest = np.full(size_px[0] * size_px[1], -np.inf, np.float32)
    first, second, third = nearness[triangles].T
    second, third = second - first, third - first
    hits = [(np.empty(0, np.int64), np.empty(0, np.int64), *np.empty((3, 0), np.float32))]
    for member, place, v, w in covered_pixels(pixels[triangles], size_px):
        flat = place[:, 0] * size_px[1] + place[:, 1]
        near = (first[member] + v * second[member] + w * third[member]).astype(np.float32)
        np.maximum.at(nearest, flat, near)
        hits.append((member, flat, near, v.astype(np.float32), w.astype(np.float32)))
    member, flat, near, v, w = (np.concatenate(part) for part in zip(*hits, strict=True))
    won = np.flatnonzero(near == nearest[flat])
    winner = np.full(len(nearest), -1, np.int32)
    winner[flat[won]] = won  # of two that are equally near, one
    place = np.flatnonzero(winner >= 0)
    won = winner[place]
    member, v, w = member[won], v[won], w[won]
    shown = np.empty((len(values), len(place)), np.float32)
    for value, channel in zip(shown, values.astype(np.float32), strict=True):
        a, b, c = channel[triangles].T
        value[:] = a[member] + v * (b - a)[member] + w * (c - a)[member]
    return place, member, shown


def _counted(lengths: np.ndarray) -> np.ndarray:
    """0, 1, ... up to each length (N,), one after the other."""
    ends = lengths.cumsum()
    return np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
