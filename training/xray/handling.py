"""What became of a film after its maker's station: other processing, bars, frames, rulers, words, arrows, JPEG.

    handled = handled_film(pixels, geometry, rng)
    handled.pixels, handled.visible, handled.entries  # entries say what was done

Films from collections, the web and slides come so. Each change is drawn on its own by `SHARES`, and they are made in
that order. Sizes are mm at the detector, so that a film of 200 pixels shows what one of 2000 does, less sharply.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from DualFaceReconLib.geometry import ProjectionGeometry
from training.xray.looks import (
    equalised_locally,
    grainy,
    rebanded,
    rewindowed,
    saved,
    sharpened,
)
from training.xray.overlays import Ink, arrow, dotted, measured, ruler, scale_bar, watermark, words

UNTOUCHED_SHARE = 0.2  # of films, which come from the station as they are
# Shares of the others; all ours, as films in public collections look.
SHARES = {
    "sharpened": 0.2,  # by unsharp masks of one to three widths, with bright and dark seams
    "rebanded": 0.25,  # faint detail of every size made stronger, as makers' multiscale processing does
    "equalised": 0.15,  # the same contrast everywhere
    "window": 0.3,  # narrow, so that black and white are clipped, or another gamma
    "grain": 0.2,  # of a low dose
    "light": 0.08,  # uneven, as of a film that was photographed before a box
    "shutter": 0.08,  # round, rounded or turned
    "words": 0.2,
    "drawing": 0.07,
    "bars": 0.12,
    "frame": 0.12,
    "ruler": 0.08,
    "scale bar": 0.04,
    "watermark": 0.03,
    "saved": 0.4,  # smaller, as JPEG, or both
}
BAR_SHARE = (0.02, 0.16)  # of the film's side
FRAME_MM = (0.4, 7.0)
SHUTTER_TURN_DEGREES = 8.0
SMALL_MM = (0.8, 3.0)  # a pixel's width in films that were made small
QUALITY = (30, 95)  # of JPEG


@dataclass
class Picture:
    """A film on its way, changed in place."""

    pixels: np.ndarray  # (rows, cols) float32 from 0 to 1, bone bright
    visible: np.ndarray  # (rows, cols) bool: where the film is still to be seen
    pitch_mm: float  # at the detector
    entries: list[dict] = field(default_factory=list)  # what was done, plain values

    def covered(self, area: np.ndarray, value: float) -> None:
        """Covers an area (rows, cols) bool with a grey value."""
        self.pixels[area] = value
        self.visible &= ~area


def handled_film(pixels: np.ndarray, geometry: ProjectionGeometry, rng: np.random.Generator) -> Picture:
    """A film (rows, cols) as its owner has it."""
    whole = np.ones(pixels.shape, dtype=bool)
    picture = Picture(pixels=pixels.copy(), visible=whole, pitch_mm=geometry.pixel_pitch_mm[0])
    for name in draw_changes(rng):
        picture.entries.append({"what": name, **CHANGES[name](picture, rng)})
    return picture


def draw_changes(rng: np.random.Generator) -> list[str]:
    """What happens to a film, in order; nothing to some."""
    if rng.random() < UNTOUCHED_SHARE:
        return []
    return [name for name, share in SHARES.items() if rng.random() < share]


def _sharpened(picture: Picture, rng: np.random.Generator) -> dict:
    widths = np.exp(rng.uniform(np.log(0.7), np.log(12), rng.integers(1, 4)))
    gains = rng.uniform(0.3, 2.0, len(widths)) / len(widths) ** 0.5
    picture.pixels = sharpened(picture.pixels, widths / picture.pitch_mm, gains)
    return {"width_mm": widths.round(2).tolist(), "gain": gains.round(2).tolist()}


def _rebanded(picture: Picture, rng: np.random.Generator) -> dict:
    power, coarse = float(rng.uniform(0.55, 0.85)), float(rng.uniform(0.2, 0.9))
    picture.pixels = rebanded(picture.pixels, power, coarse)
    return {"power": power, "coarse": coarse}


def _equalised(picture: Picture, rng: np.random.Generator) -> dict:
    width, share = float(rng.uniform(12, 45)), float(rng.uniform(0.3, 0.8))
    picture.pixels = equalised_locally(picture.pixels, width / picture.pitch_mm, share)
    return {"width_mm": width, "share": share}


def _window(picture: Picture, rng: np.random.Generator) -> dict:
    narrow = rng.random() < 0.5
    low, high = (float(rng.uniform(1, 20)), float(rng.uniform(84, 99))) if narrow else (0.0, 100.0)
    gamma = float(np.exp(rng.uniform(-0.8, 0.5)))
    picture.pixels = rewindowed(picture.pixels, low, high, gamma)
    return {"low_percent": low, "high_percent": high, "gamma": gamma}


def _grain(picture: Picture, rng: np.random.Generator) -> dict:
    strength, size = float(np.exp(rng.uniform(np.log(0.008), np.log(0.035)))), float(rng.uniform(0.0, 1.0))
    picture.pixels = grainy(picture.pixels, strength, size, rng)
    return {"strength": strength}


def _light(picture: Picture, rng: np.random.Generator) -> dict:
    """Uneven light: brighter to one side, darker at the corners, and a veil."""
    rows, cols = (np.linspace(-1, 1, n, dtype=np.float32) for n in picture.pixels.shape)
    slope, corners, veil = rng.uniform(-0.25, 0.25, 2), float(rng.uniform(0, 0.25)), float(rng.uniform(0, 0.15))
    light = 1 + slope[0] * rows[:, None] + slope[1] * cols[None] - corners * (rows[:, None] ** 2 + cols[None] ** 2) / 2
    picture.pixels = np.clip((veil + (1 - veil) * picture.pixels) * light, 0, 1).astype(np.float32)
    return {"slope": slope.round(3).tolist(), "corners": corners, "veil": veil}


def _shutter(picture: Picture, rng: np.random.Generator) -> dict:
    """A round, rounded or turned field, beside which the film is black or, seldom, white."""
    rows, cols = picture.pixels.shape
    down, across = np.arange(rows)[:, None] - (rows - 1) / 2, np.arange(cols)[None] - (cols - 1) / 2
    shape = str(rng.choice(["round", "rounded", "turned"]))
    value = 1.0 if rng.random() < 0.15 else 0.0
    off = rng.normal(0, 0.02, 2) * (rows, cols)
    down, across = down - off[0], across - off[1]
    turn = np.radians(rng.uniform(-SHUTTER_TURN_DEGREES, SHUTTER_TURN_DEGREES)) if shape == "turned" else 0.0
    down, across = down * np.cos(turn) + across * np.sin(turn), across * np.cos(turn) - down * np.sin(turn)
    if shape == "round":
        radius = rng.uniform(0.5, 0.62) * max(min(rows, cols), 0.8 * max(rows, cols))
        outside = down**2 + across**2 > radius**2
    else:
        half = np.array([rows, cols]) / 2 * rng.uniform(0.84, 1.0, 2)
        corner = rng.uniform(0.05, 0.3) * half.min() if shape == "rounded" else 0.0
        beyond = [np.maximum(np.abs(place) - h + corner, 0) for place, h in zip((down, across), half, strict=True)]
        outside = beyond[0] ** 2 + beyond[1] ** 2 > corner**2
    picture.covered(outside, value)
    return {"shape": shape, "value": value}


def _bars(picture: Picture, rng: np.random.Generator) -> dict:
    """Bars at the sides that bring a film to a screen's shape."""
    rows, cols = picture.pixels.shape
    sides = BARRED[rng.choice(len(BARRED), p=[0.4, 0.25, 0.1, 0.1, 0.05, 0.1])]
    value = _grey(rng, black=0.6)
    like = float(rng.uniform(*BAR_SHARE))
    area = np.zeros(picture.pixels.shape, dtype=bool)
    widths = {}
    for side in sides:
        share = like if len(sides) == 2 and rng.random() < 0.7 else float(rng.uniform(*BAR_SHARE))
        width = max(round(share * (rows if side in ("top", "bottom") else cols)), 1)
        area[_strip(side, width)] = True
        widths[side] = width * picture.pitch_mm
    picture.covered(area, value)
    return {"mm": widths, "value": value}


def _frame(picture: Picture, rng: np.random.Generator) -> dict:
    """A line around the film or along one side, whole or dotted; beyond it the film may go on or be covered."""
    rows, cols = picture.pixels.shape
    width = float(np.exp(rng.uniform(*np.log(FRAME_MM)))) / picture.pitch_mm
    style = str(rng.choice(["whole", "rounded", "dotted", "one side"], p=[0.55, 0.15, 0.15, 0.15]))
    inset = 0.0 if rng.random() < 0.6 else float(rng.uniform(0, 0.05)) * min(rows, cols)
    value = _grey(rng, black=0.3)
    ink = Ink(picture.pixels.shape)
    corner = float(rng.uniform(0.02, 0.12)) * min(rows, cols) if style == "rounded" else 0.0
    if style in ("whole", "rounded"):
        ink.rectangle(inset, inset, rows - 1 - inset, cols - 1 - inset, width, corner)
        if inset + corner > 0 and rng.random() < 0.6:
            inside = Ink(picture.pixels.shape)
            inside.rectangle(inset, inset, rows - 1 - inset, cols - 1 - inset, None, corner)
            picture.covered(inside.share() < 0.5, float(rng.choice([0.0, value])))
    else:
        sides = ("top", "bottom", "left", "right")
        sides = (str(rng.choice(sides)),) if style == "one side" else sides
        dots = float(rng.uniform(2, 8)) / picture.pitch_mm if style == "dotted" or rng.random() < 0.5 else None
        for side in sides:
            dotted(ink, side, inset + width / 2, width, dots)
    ink.laid_on(picture.pixels, value)
    return {"style": style, "width_mm": width * picture.pitch_mm, "inset_mm": inset * picture.pitch_mm, "value": value}


def _words(picture: Picture, rng: np.random.Generator) -> dict:
    return words(picture.pixels, picture.pitch_mm, rng)


def _drawing(picture: Picture, rng: np.random.Generator) -> dict:
    """What a doctor drew: arrows, lines with what they measure."""
    kinds = [str(kind) for kind in rng.choice(["arrow", "measured"], rng.integers(1, 4))]
    for kind in kinds:
        (arrow if kind == "arrow" else measured)(picture.pixels, picture.pitch_mm, rng)
    return {"kinds": kinds}


def _ruler(picture: Picture, rng: np.random.Generator) -> dict:
    return ruler(picture.pixels, picture.pitch_mm, rng)


def _scale_bar(picture: Picture, rng: np.random.Generator) -> dict:
    return scale_bar(picture.pixels, picture.pitch_mm, rng)


def _watermark(picture: Picture, rng: np.random.Generator) -> dict:
    return watermark(picture.pixels, picture.pitch_mm, rng)


def _saved(picture: Picture, rng: np.random.Generator) -> dict:
    """Made small, stored as JPEG, or both."""
    small, lossy = ((True, True), (True, False), (False, True))[rng.choice(3, p=[0.3, 0.2, 0.5])]
    pixel = float(rng.uniform(*SMALL_MM))
    factor = pixel / picture.pitch_mm if small else 1.0
    quality = int(rng.integers(QUALITY[0], QUALITY[1] + 1)) if lossy else None
    picture.pixels = saved(picture.pixels, max(factor, 1.0), quality, int(rng.integers(3)))
    return {"pixel_mm": pixel if small else None, "quality": quality}


def _grey(rng: np.random.Generator, black: float) -> float:
    """Black in a share of cases, else white or, half as often, some grey."""
    kind = rng.random()
    return 0.0 if kind < black else 1.0 if kind < black + (1 - black) * 2 / 3 else float(rng.uniform(0.15, 0.85))


def _strip(side: str, width: int) -> tuple[slice, slice]:
    """The part of a picture along one side."""
    first, last, everything = slice(0, width), slice(-width, None), slice(None)
    return {
        "top": (first, everything),
        "bottom": (last, everything),
        "left": (everything, first),
        "right": (everything, last),
    }[side]


BARRED = (("left", "right"), ("top", "bottom"), ("left",), ("right",), ("top",), ("bottom",))
CHANGES: dict[str, Callable[[Picture, np.random.Generator], dict]] = {
    "sharpened": _sharpened,
    "rebanded": _rebanded,
    "equalised": _equalised,
    "window": _window,
    "grain": _grain,
    "light": _light,
    "shutter": _shutter,
    "words": _words,
    "drawing": _drawing,
    "bars": _bars,
    "frame": _frame,
    "ruler": _ruler,
    "scale bar": _scale_bar,
    "watermark": _watermark,
    "saved": _saved,
}
