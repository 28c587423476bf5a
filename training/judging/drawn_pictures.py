"""Pictures that never saw X-rays, or only phantoms: photographs, text, patterns, noise, step wedges.

    pixels = drawn_picture("photograph", number=3)   # (rows, cols) from 0 to 1

Drawn, as no photograph of anybody is kept here: a photograph is a scene of soft light, objects with edges and detail of
every size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

SEED = 317
SIZES_PX = ((512, 410), (410, 512), (480, 480))
WORDS = "the film was taken of a patient who came with pain in the left hip after a fall and was seen at night"


def drawn_picture(kind: str, number: int) -> np.ndarray:
    """Picture `number` of a kind, the same again."""
    rng = np.random.default_rng([SEED, list(PICTURES).index(kind), number])
    pixels = PICTURES[kind](SIZES_PX[rng.integers(len(SIZES_PX))], rng)
    return np.clip((pixels - pixels.min()) / max(float(np.ptp(pixels)), 1e-9), 0, 1).astype(np.float32)


def _spectral(size: tuple[int, int], power: float, rng: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls with frequency to a power: 1 as in photographs, 0 as in none."""
    rows, cols = (np.fft.fftfreq(n)[:, None] for n in size)
    frequency = np.hypot(rows, cols.T)
    frequency[0, 0] = 1.0
    waves = np.fft.fft2(rng.normal(size=size)) / frequency**power
    picture = np.fft.ifft2(waves).real
    return (picture - picture.mean()) / picture.std()


def _photograph(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Sky and ground, objects with shade, detail of every size."""
    down, across = np.mgrid[: size[0], : size[1]] / np.array(size)[:, None, None]
    picture = 0.6 * (down < rng.uniform(0.3, 0.6)) + rng.normal(0, 0.3) * across + 0.25 * _spectral(size, 1.1, rng)
    for _ in range(rng.integers(3, 12)):
        middle, half = rng.uniform(0, 1, 2), rng.uniform(0.03, 0.3, 2)
        turn = rng.uniform(0, np.pi)
        along = (down - middle[0]) * np.cos(turn) + (across - middle[1]) * np.sin(turn)
        beside = (across - middle[1]) * np.cos(turn) - (down - middle[0]) * np.sin(turn)
        shape = (
            (along / half[0]) ** 2 + (beside / half[1]) ** 2
            if rng.random() < 0.5
            else np.maximum(np.abs(along / half[0]), np.abs(beside / half[1]))
        )
        light = rng.uniform(-0.8, 0.8) + 0.6 * along / half[0]
        picture = np.where(shape < 1, light + 0.12 * _spectral(size, 1.0, rng), picture)
    return gaussian_filter(picture, 0.7)


def _face(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    down, across = (np.mgrid[: size[0], : size[1]] - np.array(size)[:, None, None] / 2) / (0.5 * min(size))
    down, across = down - rng.normal(0, 0.08), across - rng.normal(0, 0.08)
    head = (down / 0.85) ** 2 + (across / 0.62) ** 2
    picture = np.where(head < 1, 0.9 - 0.35 * head + 0.1 * across, 0.25 + 0.2 * _spectral(size, 1.2, rng))
    picture = np.where((head < 1.15) & (down < -0.35), 0.15 + 0.05 * _spectral(size, 0.6, rng), picture)
    for side in (-1, 1):
        eye = ((down + 0.12) / 0.06) ** 2 + ((across - 0.24 * side) / 0.12) ** 2
        picture = np.where(eye < 1, 0.95 - 0.9 * (eye < 0.3), picture)
        picture -= 0.3 * np.exp(-(((down + 0.28) / 0.03) ** 2) - ((across - 0.24 * side) / 0.13) ** 2)
    picture -= 0.25 * np.exp(-(((down - 0.08) / 0.2) ** 2) - ((across - 0.06) / 0.04) ** 2)
    picture -= 0.45 * np.exp(-(((down - 0.42) / 0.04) ** 2) - (across / 0.2) ** 2)
    return gaussian_filter(picture, 2.0) + 0.02 * rng.normal(size=size)


def _text(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    page = Image.new("L", size[::-1], 255)
    draw, tall = ImageDraw.Draw(page), int(rng.integers(9, 26))
    for row in range(20, size[0] - 2 * tall, round(1.5 * tall)):
        line = " ".join(str(word) for word in rng.choice(WORDS.split(), max(3, round(1.2 * size[1] / tall / 6))))
        draw.text((20, row), line, 20, ImageFont.load_default(tall))
    picture = np.asarray(page, float)
    return 255 - picture if rng.random() < 0.5 else picture


def _pattern(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Checkerboards, stripes, ramps and rings."""
    down, across = np.mgrid[: size[0], : size[1]].astype(float)
    step = rng.uniform(8, 90)
    turn = rng.uniform(0, np.pi)
    along, beside = down * np.cos(turn) + across * np.sin(turn), across * np.cos(turn) - down * np.sin(turn)
    kind = rng.choice(["checkerboard", "stripes", "ramp", "rings"])
    if kind == "checkerboard":
        return ((along // step + beside // step) % 2) + 0.02 * rng.normal(size=size)
    if kind == "stripes":
        return np.sin(2 * np.pi * along / step) + 0.02 * rng.normal(size=size)
    if kind == "ramp":
        return along + 0.05 * np.ptp(along) * np.sin(beside / step)
    return np.sin(np.hypot(down - size[0] / 2, across - size[1] / 2) * 2 * np.pi / step)


def _noise(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    return np.clip(_spectral(size, float(rng.uniform(0, 2)), rng), -3, 3)


def _phantom(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Blank fields, step wedges and plates with discs of contrast, noisy as films."""
    down, across = np.mgrid[: size[0], : size[1]] / np.array(size)[:, None, None]
    kind = rng.choice(["blank", "wedge", "discs"])
    picture = 0.5 - 0.1 * ((down - 0.5) ** 2 + (across - 0.5) ** 2)
    if kind == "wedge":
        steps = int(rng.integers(5, 14))
        inside = (np.abs(down - 0.5) < 0.4) & (np.abs(across - 0.5) < rng.uniform(0.08, 0.3))
        picture = np.where(inside, np.floor(steps * down) / steps, 0.05)
    elif kind == "discs":
        for number in range(25):
            middle = 0.15 + 0.7 * np.array(divmod(number, 5)) / 4
            disc = np.hypot(down - middle[0], across - middle[1]) < 0.015 + 0.02 * (number % 5) / 4
            picture += disc * (0.04 + 0.3 * number / 25)
    return gaussian_filter(picture, 0.8) + rng.uniform(0.003, 0.03) * rng.normal(size=size)


PICTURES: dict[str, Callable[[tuple[int, int], np.random.Generator], np.ndarray]] = {
    "photograph": _photograph,
    "face": _face,
    "text": _text,
    "pattern": _pattern,
    "noise": _noise,
    "phantom": _phantom,
}
