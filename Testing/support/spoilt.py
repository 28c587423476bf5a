"""Films spoilt on purpose, as other hands leave them: frames, bars with text, turned and rounded shutters."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter


def grey(pixels: np.ndarray, share: float) -> float:
    """The grey value at a share of a film's range: 0 its black, 1 its white."""
    low, high = np.percentile(pixels, (0.5, 99.5))
    return float(low + (high - low) * share)


def framed(pixels: np.ndarray, width_px: int, share: float = 1.0) -> np.ndarray:
    """With a frame along all four sides."""
    spoilt = np.full_like(pixels, grey(pixels, share))
    inner = slice(width_px, -width_px)
    spoilt[inner, inner] = pixels[inner, inner]
    return spoilt


def dotted(pixels: np.ndarray) -> np.ndarray:
    """With a dotted line along the top."""
    spoilt = pixels.copy()
    spoilt[0] = grey(pixels, 0)
    spoilt[0, ::4] = spoilt[0, 1::4] = grey(pixels, 1)
    return spoilt


def barred(
    pixels: np.ndarray, bars_px: tuple[int, int, int, int], share: float, text: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """With bars at top, bottom, left and right, and words in them; and the field (rows, cols) bool between them."""
    top, bottom, left, right = bars_px
    rows, cols = pixels.shape
    field = np.zeros(pixels.shape, bool)
    field[top : rows - bottom, left : cols - right] = True
    spoilt = np.where(field, pixels, grey(pixels, share)).astype(np.float32)
    if text:
        words = Image.new("L", (cols, rows))
        ImageDraw.Draw(words).text((20, 14), "HIP AP 12:00  75 kV  8 mAs  R  L", 255, ImageFont.load_default(28))
        spoilt[(np.asarray(words) > 128) & ~field] = grey(pixels, 0 if share > 0.5 else 1)
    return spoilt, field


def shuttered(
    pixels: np.ndarray, share: float, corner_px: float = 0.0, turned_degrees: float = 0.0, size: float = 0.8
) -> tuple[np.ndarray, np.ndarray]:
    """Behind a shutter with rounded corners, a circle where they are large; and its opening (rows, cols) bool."""
    rows, cols = pixels.shape
    down, across = np.mgrid[:rows, :cols] - np.array([[[(rows - 1) / 2]], [[(cols - 1) / 2]]])
    angle = np.radians(turned_degrees)
    along, up = across * np.cos(angle) + down * np.sin(angle), down * np.cos(angle) - across * np.sin(angle)
    half_rows, half_cols = size * rows / 2, size * cols / 2
    corner = min(corner_px, half_rows, half_cols)
    if corner_px >= min(half_rows, half_cols):
        half_rows = half_cols = corner
    beyond = [np.maximum(np.abs(place) - half + corner, 0) for place, half in ((up, half_rows), (along, half_cols))]
    field = np.hypot(*beyond) <= corner if corner else (beyond[0] <= 0) & (beyond[1] <= 0)
    edge = gaussian_filter(field.astype(np.float32), 1.0)
    return (pixels * edge + grey(pixels, share) * (1 - edge)).astype(np.float32), field
