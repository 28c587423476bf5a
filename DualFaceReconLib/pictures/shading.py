"""Lit triangles on a picture's pixels, smooth at edges: only there is more looked at than the middle of a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from DualFaceReconLib.rasterising import nearest_values

FINER = 2  # places a side in a pixel at an edge, which are averaged
EVEN = 12.0  # of 255: pixels that differ by less from those beside them are at no edge
APART = 1000.0  # of bones beside each other: far above all that light and certainty add up to
BLOCK_PX = 4  # a side; triangles at edges are found by blocks of pixels
DARKER = 0.55  # on stripes
STRIPES_PX, STRIPE_PX = 8, 2  # where a bone is inferred: from one stripe to the next, and how wide


@dataclass(frozen=True, kw_only=True)
class LitTriangles:
    """Bones' triangles on a picture's pixels, in the light in which they are seen."""

    pixels: np.ndarray  # (V, 2) [row, col]
    nearness: np.ndarray  # (V,)
    values: np.ndarray  # (C, V): the light; by certainty also its colour (3) in that light, and 1 where inferred
    triangles: np.ndarray  # (T, 3)
    bones: np.ndarray  # (T,) the number of each triangle's bone
    colours: np.ndarray  # (bones, 3) float32
    size_px: tuple[int, int]


def drawn(lit: LitTriangles) -> np.ndarray:
    """(rows, cols, 4 or 7) float32, in memory one channel after the other.

    The share of a pixel that bones cover, their colours and those of certainty, black where no bone is.
    """
    pixel, triangle, on_stripe, values = _seen(lit, 1)
    channels = _channels(lit, triangle, on_stripe, values)
    picture = np.zeros((len(channels), math.prod(lit.size_px)), np.float32)
    for channel, shown in zip(picture, channels, strict=True):
        channel[pixel] = shown

    level = 255 * values[0]
    if len(channels) > 4:
        level = (level + np.maximum.reduce(channels[4:])) / 2
    edge = _uneven(lit.size_px, pixel, level + APART * (1 + lit.bones.take(triangle)))
    number = np.full(picture.shape[1], -1)
    number[edge] = np.arange(len(edge))
    at_edges = _reaching(lit, edge)
    pixel, triangle, on_stripe, values = _seen(at_edges, FINER)
    number = number.take(pixel)
    kept = np.flatnonzero(number >= 0)
    number = number.take(kept)
    channels = _channels(at_edges, triangle.take(kept), on_stripe.take(kept), values.take(kept, axis=1))
    for channel, shown in zip(picture, channels, strict=True):
        channel[edge] = np.bincount(number, shown, len(edge)) / FINER**2
    return np.moveaxis(picture.reshape(-1, *lit.size_px), 0, -1)


def striped(picture: np.ndarray) -> None:
    """Darkens slanting stripes of a picture (rows, cols, 3), as where nothing was seen."""
    stripes = _on_stripes(*np.ogrid[: picture.shape[0], : picture.shape[1]])
    picture[stripes] = picture[stripes] * DARKER


def _on_stripes(row: np.ndarray, col: np.ndarray, finer: int = 1) -> np.ndarray:
    return (row + col) % (STRIPES_PX * finer) < STRIPE_PX * finer


def _seen(lit: LitTriangles, finer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """At the places in pixels, so many a side, where one sees bones: the pixel (N,) counted row by row, the triangle
    (N,), whether it is on a stripe (N,), and the values (C, N)."""
    rows, cols = lit.size_px
    place, triangle, values = nearest_values(
        (lit.pixels + 0.5) * finer - 0.5, lit.nearness, lit.triangles, lit.values, (rows * finer, cols * finer)
    )
    row = place // (cols * finer)
    col = place - row * (cols * finer)
    return row // finer * cols + col // finer, triangle, _on_stripes(row, col, finer), values


def _channels(lit: LitTriangles, triangle: np.ndarray, on_stripe: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    """1, the bone's colour and that of certainty (N,), where a triangle is seen with those values (C, N)."""
    light, *by_certainty = values
    bone = lit.bones.take(triangle)
    channels = [np.ones_like(light), *(colour.take(bone) * light for colour in lit.colours.T)]
    if by_certainty:
        *certainty, inferred = by_certainty
        dark = np.where(on_stripe & (inferred > 0.5), np.float32(DARKER), np.float32(1))
        channels += [colour * dark for colour in certainty]
    return channels


def _uneven(size_px: tuple[int, int], pixel: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Pixels, counted row by row, that differ from one beside them; levels (N,) of pixels (N,), 0 elsewhere."""
    picture = np.zeros(size_px, np.float32)
    picture.ravel()[pixel] = level
    uneven = np.zeros(size_px, bool)
    for axis in (0, 1):
        differ = np.abs(np.diff(picture, axis=axis)) > EVEN
        before, after = (np.moveaxis(uneven, axis, 0)[part] for part in (slice(-1), slice(1, None)))
        before |= np.moveaxis(differ, axis, 0)
        after |= np.moveaxis(differ, axis, 0)
    return np.flatnonzero(uneven)


def _reaching(lit: LitTriangles, pixel: np.ndarray) -> LitTriangles:
    """Without triangles that cover nothing of those pixels (N,), counted row by row, nor of their blocks."""
    rows, cols = lit.size_px
    blocks = np.zeros((rows // BLOCK_PX + 1, cols // BLOCK_PX + 1), np.int32)
    blocks[pixel // cols // BLOCK_PX, pixel % cols // BLOCK_PX] = 1
    before = np.pad(blocks.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    corners = np.nan_to_num(lit.pixels)[lit.triangles.T]

    def block(ends: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(ends), 0, np.subtract(lit.size_px, 1)).astype(np.int64).T // BLOCK_PX

    (top, left), (bottom, right) = block(corners.min(axis=0)), block(corners.max(axis=0)) + 1
    inside = before[bottom, right] - before[top, right] - before[bottom, left] + before[top, left]
    some = np.flatnonzero(inside)
    return replace(lit, triangles=lit.triangles[some], bones=lit.bones[some])
