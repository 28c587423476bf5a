"""Lead letters R and L in a film, which say which side is which; read from their shape, upright or mirrored.

    letters = side_letters(pixels)   # (SideLetter("R", row=61.0, col=88.5, height_px=31.0, mirrored=False),)

Letters are bright, as lead and burnt-in marks are, turned by 15 degrees at most, and stand alone: none is read out of
words. Where a shape might be another sign, nothing is read, as a wrong reading is worse than none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise, product

import numpy as np
from scipy.ndimage import find_objects, gaussian_filter, label, map_coordinates

from DualFaceReconLib.film.neighbours import brighter_lines

LOOKED_AT_PX = 700  # the longer side of the picture in which letters are looked for
HEIGHTS_PX = (9, 72)  # of letters in it
WIDTH_SHARES = (0.35, 1.15)  # of their height
FILLED_SHARES = (0.12, 0.8)  # of their box
THICKEST_PX = 17  # of strokes
LEVELS = (0.1, 0.2, 0.35, 0.55)  # how much brighter than beside them strokes are, of the picture's range
TEMPLATE_PX = 24
LEAST_LIKENESS = {"R": 0.82, "L": 0.89}  # correlation with the letter's best template
LEAST_LEAD = {"R": 0.03, "L": 0.06}  # over the best template of any other sign
# How letters are drawn: turned by degrees, stroke widths by their height, widths by their height; and other signs
LETTER_TURNS, LETTER_WIDTHS, LETTER_ASPECTS = (-15, -10, -5, 0, 5, 10, 15), (0.11, 0.16, 0.23), (0.55, 0.72, 0.88)
OTHERS = (-10, 0, 10), (0.12, 0.2), (0.6, 0.8)
WORD_GAP = 0.33  # of the height: what stands nearer belongs to the letter, which is then part of a word
RING_SHARES, RING_SECTORS = (0.8, 0.84), 24  # of a ring's radius: what lies within, and what is the ring
LINE_GAP = 1.3  # of the height: signs of the same height within it make a line of text
SIGNS = {  # strokes through places of a grid of 5 columns and 7 rows, each place column and row
    "R": "06 00 30 41 42 33 03, 23 46",
    "L": "00 06 46",
    "A": "06 20 46, 14 34",
    "B": "00 30 41 42 33 03, 33 44 45 36 06 00",
    "C": "41 30 10 01 05 16 36 45",
    "D": "00 20 42 44 26 06 00",
    "E": "40 00 06 46, 03 33",
    "F": "40 00 06, 03 33",
    "G": "41 30 10 01 05 16 36 45 43 23",
    "H": "00 06, 40 46, 03 43",
    "I": "20 26",
    "J": "40 45 36 16 05",
    "K": "00 06, 40 03 46",
    "M": "06 00 24 40 46",
    "N": "06 00 46 40",
    "O": "10 30 41 45 36 16 05 01 10",
    "P": "06 00 30 41 42 33 03",
    "Q": "10 30 41 45 36 16 05 01 10, 34 46",
    "S": "41 30 10 01 12 33 44 45 36 16 05",
    "T": "00 40, 20 26",
    "U": "00 05 16 36 45 40",
    "V": "00 26 40",
    "W": "00 16 22 36 40",
    "X": "00 46, 40 06",
    "Y": "00 23 40, 23 26",
    "Z": "00 40 06 46",
    "1": "11 20 26",
    "2": "01 10 30 41 42 06 46",
    "3": "01 10 30 41 42 33 13, 33 44 45 36 16 05",
    "4": "36 30 04 44",
    "5": "40 00 03 33 44 45 36 06",
    "6": "40 10 01 05 16 36 45 44 33 03",
    "7": "00 40 16",
    "8": "10 30 41 42 33 13 02 01 10, 13 04 05 16 36 45 44 33",
    "9": "43 13 02 01 10 30 41 45 36 06",
}
SHAPES = {  # that are no signs and come either way round
    "corner": "00 40 46",
    "step": "00 03 43 46",
    "cross": "03 43, 20 26",
    "slash": "06 40",
    "fork": "06 23 46, 20 23",
    "tick": "03 16 40",
    "rails": "00 06, 40 46",
    "block": "00 40 41 01 02 42 43 03 04 44 45 05 06 46",
}


@dataclass(frozen=True)
class SideLetter:
    """A letter in the displayed picture."""

    letter: str  # "R" or "L"
    row: float
    col: float
    height_px: float
    mirrored: bool
    likeness: float  # correlation with its template, up to 1


def side_letters(pixels: np.ndarray) -> tuple[SideLetter, ...]:
    """The letters R and L that stand in (rows, cols), bone bright; the likeliest first."""
    step = max(1, -(-max(pixels.shape) // LOOKED_AT_PX))
    small = _reduced(pixels, step)
    low, high = np.percentile(small, (0.5, 99.8))
    if not high > low:
        return ()
    strokes = brighter_lines(np.clip((small - low) / (high - low), 0, 1), THICKEST_PX)
    letters: list[SideLetter] = []
    for level in LEVELS:
        parts, count = label(strokes > level, structure=np.ones((3, 3)))
        if count == 0:
            continue
        boxes = find_objects(parts)
        edges = np.array([[box[0].start, box[0].stop, box[1].start, box[1].stop] for box in boxes], dtype=float)
        for number in np.flatnonzero(_letter_sized(edges)):
            if _beside_others(edges, number):
                continue
            own = np.where(parts[boxes[number]] == number + 1, strokes[boxes[number]], 0)
            for part, first in ((own, edges[number, ::2]), _within_ring(own, edges[number, ::2])):
                read = _read(part, first, step)
                letters += [] if read is None else [read]
    return _apart(sorted(letters, key=lambda letter: -letter.likeness))


def _reduced(pixels: np.ndarray, step: int) -> np.ndarray:
    """(rows, cols) float32, the mean of every `step` x `step` pixels, of large films of every other row and column."""
    rows, cols = (n // step for n in pixels.shape)
    offsets = range(0, step, 1 if step < 4 else 2)
    total = np.zeros((rows, cols), np.float32)
    for row in offsets:
        for col in offsets:
            total += pixels[row : rows * step : step, col : cols * step : step]
    return total / len(offsets) ** 2


def _letter_sized(edges: np.ndarray) -> np.ndarray:
    """(n,) bool of boxes (n, 4) first row, row beyond, first col, col beyond."""
    high, wide = edges[:, 1] - edges[:, 0], edges[:, 3] - edges[:, 2]
    return (
        (high >= HEIGHTS_PX[0])
        & (high <= HEIGHTS_PX[1])
        & (wide >= WIDTH_SHARES[0] * high)
        & (wide <= WIDTH_SHARES[1] * high)
    )


def _beside_others(edges: np.ndarray, number: int) -> bool:
    """Whether a part touches others, but for a ring or a frame around it, or stands in a line of equal signs."""
    top, bottom, left, right = edges[number]
    high = bottom - top
    tops, bottoms, lefts, rights = edges.T
    own_size = np.maximum(bottoms - tops, rights - lefts)
    around = (tops < top) & (bottoms > bottom) & (lefts < left) & (rights > right)
    within = (tops >= top) & (bottoms <= bottom) & (lefts >= left) & (rights <= right)
    others = ~around & ~within & (own_size > 0.12 * high)
    apart = np.maximum(lefts - right, left - rights), np.maximum(tops - bottom, top - bottoms)
    near = others & (np.maximum(*apart) < WORD_GAP * high)
    heights = bottoms - tops
    in_line = others & (np.abs(heights / high - 1) < 0.25) & (apart[0] < LINE_GAP * high)
    in_line &= np.abs(tops + bottoms - top - bottom) < 0.4 * high
    return bool((near | in_line).any())


def _within_ring(strokes: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What stands within a ring, and its first row and column; nothing where the part is no ring."""
    size = np.array(strokes.shape)
    rows, cols = (np.arange(n)[:, None] - (n - 1) / 2 for n in size)
    away = np.hypot(rows / (size[0] / 2), cols.T / (size[1] / 2))
    angle = np.arctan2(rows / size[0], cols.T / size[1])
    on_ring = (strokes > 0) & (away > RING_SHARES[1])
    sectors = np.unique(((angle[on_ring] + np.pi) / (2 * np.pi) * RING_SECTORS).astype(int) % RING_SECTORS)
    inside = np.where(away < RING_SHARES[0], strokes, 0)
    if len(sectors) < 0.9 * RING_SECTORS or size.max() > 1.15 * size.min() or not inside.any():
        return np.zeros((0, 0)), first
    kept = [np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0)]
    within = inside[kept[0][0] : kept[0][-1] + 1, kept[1][0] : kept[1][-1] + 1]
    return within, first + np.array([kept[0][0], kept[1][0]])


def _read(strokes: np.ndarray, first: np.ndarray, step: int) -> SideLetter | None:
    """What strokes (rows, cols) from a first row and column on are; None where that may be another sign."""
    high = len(strokes)
    if high < HEIGHTS_PX[0] or not FILLED_SHARES[0] <= (strokes > 0).mean() <= FILLED_SHARES[1]:
        return None
    signs, kinds, templates = _templates()
    likeness = templates @ _normalised(_evened(_in_square(strokes))[None])[0]
    best = int(likeness.argmax())
    letter, mirrored = signs[kinds[best]]
    if letter not in LEAST_LIKENESS or likeness[best] < LEAST_LIKENESS[letter]:
        return None
    if likeness[best] - likeness[kinds != kinds[best]].max() < LEAST_LEAD[letter]:
        return None
    row, col = (first + (np.array(strokes.shape) - 1) / 2) * step + (step - 1) / 2
    return SideLetter(letter, float(row), float(col), float(high * step), mirrored, float(likeness[best]))


def _in_square(strokes: np.ndarray) -> np.ndarray:
    """Brought to the templates' height, in the middle of a square."""
    high, wide = strokes.shape
    scale = max(high, wide) / (TEMPLATE_PX - 4)
    smooth = gaussian_filter(strokes, 0.5 * max(scale - 1, 0)) if scale > 1 else strokes
    grid = (np.arange(TEMPLATE_PX) - (TEMPLATE_PX - 1) / 2) * scale
    rows, cols = np.meshgrid(grid + (high - 1) / 2, grid + (wide - 1) / 2, indexing="ij")
    return map_coordinates(smooth, [rows, cols], order=1)


def _evened(strokes: np.ndarray) -> np.ndarray:
    """From 0 to 1, all strokes about as bright, as those of lead are."""
    return np.minimum(strokes / max(float(np.percentile(strokes[strokes > 0], 60)), 1e-9), 1)


def _normalised(squares: np.ndarray) -> np.ndarray:
    """(n, rows, cols) smoothed and flat, (n, pixels), without their means, of length 1."""
    flat = gaussian_filter(squares, (0, 0.6, 0.6)).reshape(len(squares), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


@cache
def _templates() -> tuple[list[tuple[str, bool]], np.ndarray, np.ndarray]:
    """Signs and whether they are mirrored, which of these each template is, and (n, pixels) templates of length 1."""
    signs: list[tuple[str, bool]] = []
    kinds, templates = [], []
    for sign, strokes in {**SIGNS, **SHAPES}.items():
        wanted = sign in LEAST_LIKENESS
        ways = (False, True) if wanted or sign in SHAPES else (False,)
        turns, widths, aspects = (LETTER_TURNS, LETTER_WIDTHS, LETTER_ASPECTS) if wanted else OTHERS
        drawn = _drawn(strokes, product(aspects, widths, turns))
        for mirrored in ways:
            signs.append((sign, mirrored))
            kinds += [len(signs) - 1] * len(drawn)
            templates.append(drawn[..., ::-1] if mirrored else drawn)
    return signs, np.array(kinds), _normalised(np.concatenate(templates))


def _drawn(strokes: str, hows: Iterable[tuple[float, float, float]]) -> np.ndarray:
    """A sign's strokes in the middle of squares (n, TEMPLATE_PX, TEMPLATE_PX), as `_in_square` brings them there.

    Each is drawn in a way of its own: its width and that of the strokes by its height, and turned by degrees.
    """
    straight = [pairwise((int(row) / 6, int(col) / 4) for col, row in stroke.split()) for stroke in strokes.split(",")]
    grid = np.array(list(chain.from_iterable(straight)))  # (S, 2, 2) ends of strokes, [row, col]
    firsts, alongs, widths = [], [], []
    for aspect, width, degrees in hows:
        turn = np.radians(degrees)
        ends = grid * (1, aspect) * (1 - width)
        ends = ends @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        low, high = ends.min(axis=(0, 1)) - width / 2, ends.max(axis=(0, 1)) + width / 2
        scale = (TEMPLATE_PX - 4) / (high - low).max()
        ends = (ends - (low + high) / 2) * scale + (TEMPLATE_PX - 1) / 2
        firsts.append(ends[:, 0])
        alongs.append(ends[:, 1] - ends[:, 0])
        widths.append(width * scale)
    # of strokes (n, S, rows, cols), from their first ends: rows and columns apart, which takes a third of the time
    first, along = (np.moveaxis(np.array(ends, np.float32), 2, 0)[..., None, None] for ends in (firsts, alongs))
    pixels = np.arange(TEMPLATE_PX, dtype=np.float32)
    rows, cols = pixels[:, None] - first[0], pixels - first[1]
    share = ((rows * along[0] + cols * along[1]) / (along**2).sum(axis=0)).clip(0, 1)
    away_2 = ((rows - share * along[0]) ** 2 + (cols - share * along[1]) ** 2).min(axis=1)
    return (np.array(widths, np.float32)[:, None, None] / 2 - np.sqrt(away_2) + 0.5).clip(0, 1)


def _apart(letters: Sequence[SideLetter]) -> tuple[SideLetter, ...]:
    """Without those that stand where a likelier one does."""
    kept: list[SideLetter] = []
    for letter in letters:
        near = (np.hypot(letter.row - other.row, letter.col - other.col) < other.height_px for other in kept)
        if not any(near):
            kept.append(letter)
    return tuple(kept)
