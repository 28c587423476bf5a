"""What is burnt into a displayed film (rows, cols) from 0 to 1: words, rulers, scale bars, arrows, lines, watermarks.

ink = Ink(pixels.shape)
ink.line((10, 10), (40, 90), width=1.5)
ink.laid_on(pixels, value=1.0)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FINER = 2  # ink is drawn on a grid so many times as fine
LETTER_MM, WATERMARK_MM = (3.5, 11.0), (18.0, 45.0)  # tall
LINE_MM = (0.5, 2.2)
HEADINGS = (
    *("ST. MARY'S HOSPITAL", "CITY CLINIC", "Klinikum Nord", "RADIOLOGY DEPT", "HOSP. GENERAL", "ORTHO CENTER"),
    *("Name: ANON", "PATIENT 0143", "Anonymous", "DOE^JOHN", "M 054Y", "F 71", "ID: 7720318", "Acc 20-11832"),
    *("PELVIS AP", "HIP AP", "Pelvis ap stehend", "BECKEN", "Hip, 1 view", "PELVIS", "STANDING", "SUPINE", "AP"),
    *("70 kV 16 mAs", "75kV", "S: 412", "EI 1820", "W: 4095 L: 2047", "WL 512 WW 1024", "Zoom 48%", "Im: 1/1", "Se: 2"),
    *("R", "L", "RIGHT", "LEFT", "re", "li", "POST OP", "PRE OP", "No. 12", "Fig. 3", "A", "B", "1", "2"),
)
MARKS = ("SAMPLE", "PREVIEW", "copyright", "www.ortho.example", "FOR TEACHING", "RADIOLOGY CASES")


class Ink:
    """Where something is drawn, as a share of every pixel."""

    def __init__(self, size_px: tuple[int, int]) -> None:
        self._image = Image.new("L", (size_px[1] * FINER, size_px[0] * FINER))
        self._draw = ImageDraw.Draw(self._image)

    def line(self, start: Sequence[float], end: Sequence[float], width: float) -> None:
        """A line between two places [row, col]; one thinner than half a pixel is drawn faintly."""
        self._draw.line([_on_grid(start), _on_grid(end)], fill=_strength(width), width=_thick(width))

    def rectangle(
        self, top: float, left: float, bottom: float, right: float, width: float | None, corner: float
    ) -> None:
        """The outline of a rectangle, inwards, or all of it where there is no width."""
        box = [*_on_grid((top - 0.5, left - 0.5)), *_on_grid((bottom + 0.5, right + 0.5))]
        box[2:] = [n - 1 for n in box[2:]]
        paint = {"fill": 255} if width is None else {"outline": _strength(width), "width": _thick(width)}
        self._draw.rounded_rectangle(box, radius=corner * FINER, **paint)

    def circle(self, middle: Sequence[float], radius: float, width: float) -> None:
        """The outline of a circle around a place [row, col]."""
        box = [*_on_grid((middle[0] - radius, middle[1] - radius)), *_on_grid((middle[0] + radius, middle[1] + radius))]
        self._draw.ellipse(box, outline=_strength(width), width=_thick(width))

    def polygon(self, places: Sequence[Sequence[float]]) -> None:
        """A filled polygon through places [row, col]."""
        self._draw.polygon([_on_grid(place) for place in places], fill=255)

    def text(self, text: str, place: Sequence[float], tall: float, anchor: str = "lt") -> None:
        """Words at a place [row, col]; `anchor` as Pillow has it."""
        self._draw.text(_on_grid(place), text, fill=255, font=_font(max(round(tall * FINER * 1.35), 4)), anchor=anchor)

    def turned(self, degrees: float) -> None:
        """All that is drawn so far, turned about the middle."""
        self._image = self._image.rotate(degrees, Image.Resampling.BILINEAR)
        self._draw = ImageDraw.Draw(self._image)

    def share(self) -> np.ndarray:
        """(rows, cols) float32 from 0 to 1."""
        return np.asarray(self._image.reduce(FINER), dtype=np.float32) / 255

    def laid_on(self, pixels: np.ndarray, value: float, opacity: float = 1.0) -> None:
        """Blends a grey value into a film, in place."""
        box = self._image.getbbox()
        if box is None:
            return
        left, top, right, bottom = (side // FINER for side in (box[0], box[1], box[2] + FINER - 1, box[3] + FINER - 1))
        cut = self._image.crop((left * FINER, top * FINER, right * FINER, bottom * FINER)).reduce(FINER)
        part = pixels[top:bottom, left:right]
        part += opacity * np.asarray(cut, dtype=np.float32) / 255 * (value - part)


def _on_grid(place: Sequence[float]) -> tuple[int, int]:
    """[row, col] of a film as (x, y) of the finer grid."""
    return round((place[1] + 0.5) * FINER), round((place[0] + 0.5) * FINER)


def _thick(width: float) -> int:
    return max(round(width * FINER), 1)


def _strength(width: float) -> int:
    return round(255 * min(width * FINER, 1.0))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def words(pixels: np.ndarray, pitch_mm: float, rng: np.random.Generator) -> dict:
    """Blocks of a few lines in corners or at edges, on the film or on a patch."""
    rows, cols = pixels.shape
    tall = float(rng.uniform(*LETTER_MM)) / pitch_mm
    value = 0.0 if rng.random() < 0.15 else float(rng.uniform(0.75, 1.0))
    ink, patch, written = Ink(pixels.shape), Ink(pixels.shape), []
    on_patch = rng.random() < 0.2
    for _ in range(rng.integers(1, 4)):
        lines = [str(line) for line in rng.choice(HEADINGS, rng.integers(1, 6))] + _dates(rng)
        at_top, at_left = rng.random() < 0.6, rng.random() < 0.5
        row = rng.uniform(0.01, 0.05) * rows
        row = row if at_top else rows - row - 1.4 * tall * len(lines)
        col = rng.uniform(0.01, 0.05) * cols
        col = col if at_left else cols - 1 - col
        if rng.random() < 0.15:
            row = rng.uniform(0.1, 0.85) * rows
        if on_patch:
            wide = 0.75 * tall * max(len(line) for line in lines)
            ends = (col - 1, col + wide) if at_left else (col - wide, col + 1)
            patch.rectangle(row - 1, ends[0], row + 1.4 * tall * len(lines), ends[1], None, 0.0)
        for number, line in enumerate(lines):
            ink.text(line, (row + 1.4 * tall * number, col), tall, "lt" if at_left else "rt")
        written += lines
    if on_patch:
        patch.laid_on(pixels, 1.0 - round(value))
    ink.laid_on(pixels, value)
    return {"lines": written, "value": value, "patch": on_patch}


def _dates(rng: np.random.Generator) -> list[str]:
    """A day and a time, sometimes."""
    if rng.random() < 0.5:
        return []
    day, month, year = rng.integers(1, 29), rng.integers(1, 13), rng.integers(1998, 2026)
    dates = (f"{day:02d}.{month:02d}.{year}", f"{year}-{month:02d}-{day:02d}", f"{month}/{day}/{year}")
    return [str(rng.choice(dates)), f"{rng.integers(7, 20):02d}:{rng.integers(60):02d}"][: rng.integers(1, 3)]


def ruler(pixels: np.ndarray, pitch_mm: float, rng: np.random.Generator) -> dict:
    """Ticks every 5 or 10 mm along a side, longer ones every 50, sometimes with a line and with numbers."""
    rows, cols = pixels.shape
    side = str(rng.choice(["left", "right", "top", "bottom"], p=[0.3, 0.45, 0.1, 0.15]))
    upright = side in ("left", "right")
    along_px, across_px = (rows, cols) if upright else (cols, rows)
    step_mm = float(rng.choice([5.0, 10.0]))
    length = min(float(rng.choice([50.0, 100.0, 150.0, 200.0, 300.0])) / pitch_mm, 0.9 * along_px)
    start = rng.uniform(0.05, max(0.95 - length / along_px, 0.06)) * along_px
    edge = rng.uniform(0.005, 0.06) * across_px
    tick = float(rng.uniform(1.5, 5)) / pitch_mm
    width = float(rng.uniform(*LINE_MM)) / pitch_mm * 0.6
    value = 0.0 if rng.random() < 0.15 else float(rng.uniform(0.6, 1.0))
    numbered = bool(rng.random() < 0.35)
    ink = Ink(pixels.shape)

    def place(along: float, inwards: float) -> tuple[float, float]:
        across = edge + inwards if side in ("left", "top") else across_px - 1 - edge - inwards
        return (along, across) if upright else (across, along)

    for number in range(int(length * pitch_mm / step_mm) + 1):
        along = start + number * step_mm / pitch_mm
        long = number * step_mm % 50 == 0
        ink.line(place(along, 0), place(along, tick * (2 if long else 1)), width)
        if long and numbered:
            ink.text(f"{number * step_mm / 10:g}", place(along, 2.4 * tick), 4.0 / pitch_mm, "mm")
    if rng.random() < 0.5:
        ink.line(place(start, 0), place(start + length, 0), width)
    ink.laid_on(pixels, value)
    return {"side": side, "length_mm": length * pitch_mm, "step_mm": step_mm, "value": value}


def scale_bar(pixels: np.ndarray, pitch_mm: float, rng: np.random.Generator) -> dict:
    """A bar of 20 to 100 mm with its length beside it."""
    rows, cols = pixels.shape
    length_mm = float(rng.choice([20.0, 50.0, 100.0]))
    length, width = length_mm / pitch_mm, float(rng.uniform(0.8, 4.0)) / pitch_mm
    row = rows * (rng.uniform(0.86, 0.97) if rng.random() < 0.8 else rng.uniform(0.03, 0.1))
    col = rng.uniform(0.03, max(0.97 - length / cols, 0.04)) * cols
    value = 0.0 if rng.random() < 0.15 else 1.0
    ink = Ink(pixels.shape)
    ink.line((row, col), (row, col + length), width)
    if rng.random() < 0.5:
        for end in (col, col + length):
            ink.line((row - 2.5 / pitch_mm, end), (row + 2.5 / pitch_mm, end), width)
    if rng.random() < 0.8:
        ink.text(f"{length_mm / 10:g} cm", (row - 3.0 / pitch_mm, col + length / 2), 5.0 / pitch_mm, "mb")
    ink.laid_on(pixels, value)
    return {"length_mm": length_mm, "value": value}


def arrow(pixels: np.ndarray, pitch_mm: float, rng: np.random.Generator) -> None:
    """An arrow that points somewhere into the film."""
    rows, cols = pixels.shape
    tip = rng.uniform(0.15, 0.85, 2) * (rows, cols)
    turn, length = rng.uniform(0, 2 * np.pi), float(rng.uniform(15, 60)) / pitch_mm
    width = float(rng.uniform(0.8, 4.0)) / pitch_mm
    way, across = np.array([np.sin(turn), np.cos(turn)]), np.array([np.cos(turn), -np.sin(turn)])
    head = max(3.0 * width, 4.0 / pitch_mm)
    ink = Ink(pixels.shape)
    ink.line(tip - length * way, tip - 0.8 * head * way, width)
    ink.polygon([tip, tip - head * way + 0.5 * head * across, tip - head * way - 0.5 * head * across])
    ink.laid_on(pixels, _drawn_in(rng))


def measured(pixels: np.ndarray, pitch_mm: float, rng: np.random.Generator) -> None:
    """A line, an angle or a circle with what it measures."""
    rows, cols = pixels.shape
    place = rng.uniform(0.2, 0.8, 2) * (rows, cols)
    width = float(rng.uniform(*LINE_MM)) / pitch_mm
    kind = str(rng.choice(["line", "angle", "circle", "level"]))
    turns = rng.uniform(0, 2 * np.pi, 2)
    length = float(rng.uniform(20, 120)) / pitch_mm
    ends = [place + length * np.array([np.sin(turn), np.cos(turn)]) for turn in turns]
    ink = Ink(pixels.shape)
    label = f"{length * pitch_mm:.1f} mm"
    if kind == "circle":
        ink.circle(place, float(rng.uniform(18, 32)) / pitch_mm, width)
    elif kind == "level":  # across the film, as between both ischia
        ink.line((place[0], 0.1 * cols), (place[0] + rng.normal(0, 0.02) * rows, 0.9 * cols), width)
    else:
        ink.line(place, ends[0], width)
        if kind == "angle":
            ink.line(place, ends[1], width)
            label = f"{abs(np.degrees(turns[1] - turns[0])) % 180:.1f}°"
    if rng.random() < 0.7 and kind != "level":
        ink.text(label, place + 3.0 / pitch_mm, float(rng.uniform(*LETTER_MM)) / pitch_mm)
    ink.laid_on(pixels, _drawn_in(rng))


def watermark(pixels: np.ndarray, pitch_mm: float, rng: np.random.Generator) -> dict:
    """A faint word across the film, once or on every line."""
    rows, cols = pixels.shape
    word = str(rng.choice(MARKS))
    tall = min(float(rng.uniform(*WATERMARK_MM)) / pitch_mm, 1.2 * cols / len(word))
    ink = Ink(pixels.shape)
    if rng.random() < 0.4:
        for row in np.arange(0.08, 1.0, rng.uniform(0.15, 0.3)):
            ink.text(word, (row * rows, cols * rng.uniform(0.2, 0.8)), tall / 2.5, "mm")
    else:
        ink.text(word, (rows / 2, cols / 2), tall, "mm")
    ink.turned(float(rng.uniform(0, 45)))
    opacity, value = float(rng.uniform(0.1, 0.4)), float(rng.random() < 0.8)
    ink.laid_on(pixels, value, opacity)
    return {"word": word, "opacity": opacity, "value": value}


def dotted(ink: Ink, side: str, inset: float, width: float, period: float | None) -> None:
    """A line along one side of the film, dotted where there is a period, px."""
    rows, cols = ink.share().shape
    upright = side in ("left", "right")
    length, across_px = (rows, cols) if upright else (cols, rows)
    across = inset if side in ("left", "top") else across_px - 1 - inset
    starts = [0.0] if period is None else np.arange(0.0, length, period)
    for start in starts:
        end = length - 1 if period is None else start + period / 2
        ends = [(along, across) if upright else (across, along) for along in (start, end)]
        ink.line(*ends, width)


def _drawn_in(rng: np.random.Generator) -> float:
    """The grey value of what a doctor drew."""
    return float(rng.choice([1.0, 0.85, 0.0, 0.5], p=[0.5, 0.2, 0.2, 0.1]))
