"""Triangles on a grid of pixels: which pixel centres each covers, and what the nearest of them shows there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

AT_ONCE = 1 << 17  # pixels around triangles that are looked at together: as many as a processor's cache holds
ON_EDGE = 1e-9  # a corner's weight so little below 0 counts as inside: rounding leaves no gaps between triangles
STEADY = 1e-200  # how a weight changes along a row that does not: one can divide by it


@dataclass(frozen=True)
class PixelLines:
    """What triangles cover of rows of pixels; every array is (L,)."""

    triangle: np.ndarray
    row: np.ndarray
    col: np.ndarray  # of the first pixel
    count: np.ndarray  # of pixels; 0 where a row passes between two of them
    v: np.ndarray  # the weight of the triangle's second corner at the first pixel
    w: np.ndarray  # of its third
    v_per_px: np.ndarray
    w_per_px: np.ndarray

    def values(self, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What runs between values at triangles' corners (3, T): at the first pixel (L,), and how much from there to
        the next."""
        start = corners[0].take(self.triangle)
        to_second, to_third = ((corner - corners[0]).take(self.triangle) for corner in corners[1:])
        start += self.v * to_second + self.w * to_third
        return start, self.v_per_px * to_second + self.w_per_px * to_third


def covered_pixels(
    corners: np.ndarray, size_px: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """The pixel centres inside triangles with corners (T, 3, 2) [row, col]; swift where triangles cover few pixels.

    Yields triangles (N,), their pixels (N, 2) [row, col], and the weights v, w (N,) of their second and third corner.
    """
    for lines in _covered_lines(corners, size_px):
        line, step = np.repeat(np.arange(len(lines.count)), lines.count), _counted(lines.count)
        yield (
            lines.triangle.take(line),
            np.stack([lines.row.take(line), lines.col.take(line) + step], axis=1),
            lines.v.take(line) + step * lines.v_per_px.take(line),
            lines.w.take(line) + step * lines.w_per_px.take(line),
        )


def nearest_values(
    pixels: np.ndarray, nearness: np.ndarray, triangles: np.ndarray, values: np.ndarray, size_px: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What triangles (T, 3) show: pixels (N,) counted row by row, the triangle at each, and values (C, N) float32.

    Vertices lie at `pixels` (V, 2) [row, col] and have `values` (C, V), which run between them. Where triangles overlap
    the one of the greatest `nearness` (V,) counts.
    """
    nearest = np.full(size_px[0] * size_px[1], -np.inf, np.float32)
    line_there = np.full(len(nearest), -1, np.int32)
    parts, before, nearness = [], 0, nearness[triangles.T]
    for lines in _covered_lines(pixels[triangles], size_px):
        line = np.repeat(np.arange(len(lines.count)), lines.count)
        number, first = np.arange(len(line)), lines.count.cumsum() - lines.count  # of pixels, and of a line's first
        start, per_px = lines.values(nearness)
        place = number + (lines.row * size_px[1] + lines.col - first).take(line)
        near = (number * per_px.take(line) + (start - first * per_px).take(line)).astype(np.float32)
        np.maximum.at(nearest, place, near)
        won = np.flatnonzero(near == nearest.take(place))  # so far; of two that are equally near, one
        line_there[place.take(won)] = (line.take(won) + before).astype(np.int32)
        parts.append(lines)
        before += len(lines.count)
    arrays = zip(*(vars(part).values() for part in parts), strict=True)
    lines = PixelLines(*map(np.concatenate, arrays))
    place = np.flatnonzero(line_there >= 0)
    line = line_there.take(place).astype(np.int64)
    step = (place - (lines.row * size_px[1] + lines.col).take(line)).astype(np.float32)
    shown = np.empty((len(values), len(place)), np.float32)
    for value, channel in zip(shown, values, strict=True):
        start, per_px = (along.astype(np.float32) for along in lines.values(channel[triangles.T]))
        np.multiply(step, per_px.take(line), out=value)
        value += start.take(line)
    return place, lines.triangle.take(line), shown


def _covered_lines(corners: np.ndarray, size_px: tuple[int, int]) -> Iterator[PixelLines]:
    """The lines of pixels inside triangles with corners (T, 3, 2) [row, col], of many triangles at a time."""
    (a_row, a_col), (b_row, b_col), (c_row, c_col) = np.ascontiguousarray(corners.transpose(1, 2, 0))
    top, rows = _rows_between(a_row, b_row, c_row, size_px[0])
    _, cols = _rows_between(a_col, b_col, c_col, size_px[1])
    with np.errstate(divide="ignore", invalid="ignore"):  # of triangles that cover nothing, or are nowhere
        ab_row, ab_col, ac_row, ac_col = b_row - a_row, b_col - a_col, c_row - a_row, c_col - a_col
        determinant = ab_row * ac_col - ab_col * ac_row
        v_per_row, v_per_col = ac_col / determinant, -ac_row / determinant
        w_per_row, w_per_col = -ab_col / determinant, ab_row / determinant
        u_per_col = -v_per_col - w_per_col  # u = 1 - v - w is the weight of the first corner
    for per_col in (u_per_col, v_per_col, w_per_col):
        per_col[per_col == 0] = STEADY
    size = np.abs(determinant)
    alive = np.flatnonzero((rows > 0) & (cols > 0) & (size > 1e-12) & np.isfinite(size))
    around = (rows[alive] * cols[alive]).cumsum()
    cuts = np.searchsorted(around, np.arange(AT_ONCE, around[-1], AT_ONCE)) if len(alive) else []
    for some in np.split(alive, cuts):
        triangle = np.repeat(some, rows[some])
        row = top.take(triangle) + _counted(rows[some])
        down, right = row - a_row.take(triangle), -a_col.take(triangle)  # from the first corner to column 0
        u_per_px, v_per_px, w_per_px = (per_col.take(triangle) for per_col in (u_per_col, v_per_col, w_per_col))
        v = down * v_per_row.take(triangle) + right * v_per_px
        w = down * w_per_row.take(triangle) + right * w_per_px
        first, last = 0.0, size_px[1] - 1.0
        for weight, per_px in ((1 - v - w, u_per_px), (v, v_per_px), (w, w_per_px)):  # none is negative inside
            edge, grows = -(weight + ON_EDGE) / per_px, per_px > 0
            first = np.maximum(first, np.where(grows, edge, 0.0))
            last = np.minimum(last, np.where(grows, np.inf, edge))
        first = np.minimum(np.ceil(first), size_px[1])
        count = np.maximum(np.floor(last) - first + 1, 0).astype(np.int64)
        v += first * v_per_px
        w += first * w_per_px
        yield PixelLines(triangle, row, first.astype(np.int64), count, v, w, v_per_px, w_per_px)


def _rows_between(a: np.ndarray, b: np.ndarray, c: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first of `count` rows of pixels that triangles with corners there (T,) reach, and how many they do."""
    first = np.clip(np.ceil(np.minimum(np.minimum(a, b), c)), 0, count)
    last = np.clip(np.floor(np.maximum(np.maximum(a, b), c)), -1, count - 1)
    with np.errstate(invalid="ignore"):  # of corners that are nowhere
        rows = last - first + 1
    known = ~np.isnan(rows)
    return np.where(known, first, 0).astype(np.int64), np.where(known, rows, 0).astype(np.int64)


def _counted(lengths: np.ndarray) -> np.ndarray:
    """0, 1, ... up to each length (N,), one after the other."""
    ends = lengths.cumsum()
    return np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
