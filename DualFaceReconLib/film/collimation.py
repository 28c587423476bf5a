"""The exposed field of a picture: what frames, bars, text beside the film and the collimator's blades leave of it.

field = field_of_exposure(pixels)
field.box_px      # (66, 1023, 0, 851), or the whole picture's
field.corners_px  # ((70.5, 0.0), ...) of a turned or rounded field, else None
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label
from scipy.spatial import ConvexHull

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.neighbours import eroded, filled, median_of_nine, opened

LOOKED_AT_PX = 512
FLAT_FRACTION = 0.03  # of the picture's range: what noise and scatter leave of contrast behind the blades
STEP_FRACTION = 0.12  # of the picture's range: how much brighter or darker a border is than the field beside it
STEPPING_SHARE = 0.35  # of a frame's line, dotted ones among them, that differs so much from the line beside it
FRAME_FRACTION = 0.02  # of the picture's side: how thick a frame, and how near the edge a border begins
BORDER_SHARE = 0.6  # of a side of the picture that a border lies along
EDGE_SHARE = 0.6  # of a blade's edge at which there is a step
SHARP_SHARE = 0.6  # of a step over 16 px that is there over 4: of blades 0.7 and more, of skin under 0.5
SHORT_FRACTION = 0.15  # of the picture's side: so short an edge is a blade's only between two others
ROUND_SHARE = 0.6  # of a field's edges within the picture that are blades, where some of them are short
LEAST_FIELD = 0.15  # of the picture: less is no film
ROUND_PX = 1.0  # of the looked-at picture: what a straight edge may leave of a rounded one
FILLED_SHARE = 0.995  # of its box from which a field is that box


@dataclass(frozen=True)
class Field:
    """The part of a picture (rows, cols) that saw X-rays; always convex, as collimators are."""

    box_px: tuple[int, int, int, int]  # first row, last row, first col, last col
    corners_px: tuple[tuple[float, float], ...] | None = None  # [row, col] in turn; None where the box is the field


def field_of_exposure(pixels: np.ndarray) -> Field | None:
    """The exposed field of (rows, cols); None where nothing is seen that bounds it."""
    step = max(1, -(-max(pixels.shape) // LOOKED_AT_PX))
    small = np.asarray(pixels[::step, ::step], np.float32)
    low, high = np.percentile(small, (0.5, 99.5))
    if not high > low:
        return None
    small = (small - low) / (high - low)
    top, bottom, left, right = _frame(small)
    inner = median_of_nine(small[top : small.shape[0] - bottom, left : small.shape[1] - right])
    lit = _lit(inner)
    if lit.all() and not top + bottom + left + right:
        return None
    whole = np.zeros(small.shape, bool)
    whole[top : small.shape[0] - bottom, left : small.shape[1] - right] = lit
    return _field(whole, step, pixels.shape)


def checked_field(field_px: Sequence[int], size_px: tuple[int, int]) -> tuple[int, int, int, int]:
    """A field that somebody gave; Refusal where it is none of a picture of so many rows and columns."""
    first_row, last_row, first_col, last_col = (int(place) for place in field_px)
    if not (0 <= first_row < last_row < size_px[0] and 0 <= first_col < last_col < size_px[1]):
        raise Refusal(
            f"Rows {first_row} to {last_row} and columns {first_col} to {last_col} are no field of a picture of "
            f"{size_px[0]} x {size_px[1]} pixels: give the first and last row and the first and last column of what is "
            "exposed with {field_px}.",
            "field_px-impossible",
        )
    return first_row, last_row, first_col, last_col


def _frame(picture: np.ndarray) -> tuple[int, int, int, int]:
    """How many lines of a frame lie along the top, bottom, left and right edges."""
    return tuple(_frame_lines(side) for side in (picture, picture[::-1], picture.T, picture.T[::-1]))


def _frame_lines(lines: np.ndarray) -> int:
    """How many of the first lines are a frame: the last of them that differs along its length from the next one."""
    most = max(3, round(FRAME_FRACTION * len(lines)))
    steps = np.abs(np.diff(lines[: most + 1], axis=0)) > STEP_FRACTION
    along = np.flatnonzero(steps.mean(axis=1) > STEPPING_SHARE)
    return 0 if len(along) == 0 else int(along[-1]) + 1


def _lit(picture: np.ndarray) -> np.ndarray:
    """(rows, cols) bool: what borders along the edges leave of a smooth picture."""
    lit, seen = np.ones(picture.shape, bool), np.zeros(picture.shape, bool)
    for turn in (lambda p: p, lambda p: p[::-1], lambda p: p.T, lambda p: p.T[::-1]):
        border = _border(turn(picture))
        if not (border & ~turn(seen)).any():  # none, or that of another side
            continue
        turn(seen)[border] = True
        left = turn(lit)  # a view
        left &= _beside(turn(picture), left, border)
    return lit


def _border(lines: np.ndarray) -> np.ndarray:
    """(rows, cols) bool: what is as grey as, and hangs together with, a flat border along the first lines."""
    edge = lines[: max(3, round(FRAME_FRACTION * len(lines)))]
    counts, levels = np.histogram(edge, bins=np.arange(-0.5, 1.5 + FLAT_FRACTION, FLAT_FRACTION))
    at = int(counts.argmax())
    level = float(np.median(edge[(edge >= levels[at]) & (edge <= levels[at + 1])]))
    alike = np.abs(lines - level) < FLAT_FRACTION
    if alike[: len(edge)].mean() < BORDER_SHARE:
        return np.zeros(lines.shape, bool)
    parts, _ = label(alike)
    reached = np.unique(parts[: len(edge)])
    return np.isin(parts, reached[reached > 0])


def _beside(picture: np.ndarray, lit: np.ndarray, border: np.ndarray) -> np.ndarray:
    """(rows, cols) bool: within those edges of what a border leaves of a lit part at which grey values step."""
    everything = np.ones(picture.shape, bool)
    parts, count = label(opened(lit & ~border, 2))  # without text in the border
    if count == 0:
        return everything
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    field = filled(parts == sizes.argmax())
    if field.mean() < LEAST_FIELD:
        return everything
    corners = _hull(field)
    along = np.roll(corners, -1, axis=0) - corners
    lengths = np.hypot(*along.T)
    normals = np.stack([along[:, 1], -along[:, 0]], axis=1) / np.maximum(lengths, 1e-6)[:, None]
    normals[((corners.mean(axis=0) - corners) * normals).sum(axis=1) < 0] *= -1
    steps = [_steps(picture, lit, *edge) for edge in zip(corners, corners + along, normals, strict=True)]
    blades, inner = np.array([step is True for step in steps]), np.array([step is not None for step in steps])
    long = lengths > SHORT_FRACTION * max(picture.shape)
    in_round = np.roll(blades, 1) & np.roll(blades, -1) & (lengths[blades].sum() > ROUND_SHARE * lengths[inner].sum())
    rows, cols = np.arange(picture.shape[0])[:, None], np.arange(picture.shape[1])[None]
    for first, normal in zip(corners[blades & (long | in_round)], normals[blades & (long | in_round)], strict=True):
        everything &= (rows - first[0]) * normal[0] + (cols - first[1]) * normal[1] >= -0.5
    return everything


def _hull(area: np.ndarray) -> np.ndarray:
    """Corners (n, 2) [row, col] of the convex hull of an area (rows, cols) bool, in turn."""
    places = np.argwhere(area & ~eroded(area))
    return _simplified(places[ConvexHull(places).vertices].astype(float))


def _simplified(corners: np.ndarray) -> np.ndarray:
    """Corners (n, 2) of a hull without those that lie nearly on the line between their neighbours."""
    kept = list(corners)
    while len(kept) > 4:
        ring = np.array(kept)
        before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
        chord, arm = after - before, ring - before
        off = np.abs(chord[:, 0] * arm[:, 1] - chord[:, 1] * arm[:, 0]) / np.maximum(np.hypot(*chord.T), 1e-6)
        least = int(off.argmin())
        if off[least] > ROUND_PX:
            break
        kept.pop(least)
    return np.array(kept)


def _steps(
    picture: np.ndarray, lit: np.ndarray, first: np.ndarray, second: np.ndarray, inwards: np.ndarray
) -> bool | None:
    """Whether grey values step along most of an edge, and within a few pixels: flesh ends more softly than a field.

    None of an edge that is the picture's or the lit part's own.
    """
    count = max(2, int(np.hypot(*(second - first))))
    places = first + np.linspace(0, 1, count)[:, None] * (second - first)
    limits = np.array(picture.shape) - 1
    beyond = places - 3 * inwards
    within = ((beyond >= -0.5) & (beyond <= limits + 0.5)).all(axis=1)
    within[within] = lit[tuple(np.rint(beyond[within]).astype(int).clip(0, limits).T)]
    if within.mean() < 0.5:
        return None

    def step(half_px: int) -> np.ndarray:
        sides = [np.clip(np.rint(places[within] + d * inwards), 0, limits).astype(int) for d in (half_px, -half_px)]
        return np.abs(picture[tuple(sides[0].T)] - picture[tuple(sides[1].T)])

    near, far = step(2), np.maximum(step(8), STEP_FRACTION / 6)
    stepping = step(3) > STEP_FRACTION / 2
    return bool(stepping.mean() > EDGE_SHARE and np.median(near / far) > SHARP_SHARE)


def _field(lit: np.ndarray, step: int, size_px: tuple[int, int]) -> Field | None:
    """A field of the looked-at picture in pixels of the whole one."""
    rows, cols = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    box = (
        int(rows[0]) * step,
        size_px[0] - 1 if rows[-1] == lit.shape[0] - 1 else int(rows[-1] + 1) * step - 1,
        int(cols[0]) * step,
        size_px[1] - 1 if cols[-1] == lit.shape[1] - 1 else int(cols[-1] + 1) * step - 1,
    )
    part = lit[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    if part.mean() >= FILLED_SHARE:
        return Field(box)
    return Field(box, tuple((float(row), float(col)) for row, col in _hull(lit) * step))
