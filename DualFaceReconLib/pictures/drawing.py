"""Pictures for people: grey films with lines, boxes and text on them, written as PNG. Needs no display."""

from __future__ import annotations

import struct
import textwrap
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import vtkmodules.vtkRenderingFreeType  # noqa: F401  (registers the text renderer)
from scipy.sparse import csr_array
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkRenderingCore import vtkTextProperty, vtkTextRenderer

from DualFaceReconLib.bonemaps import bounding_window
from DualFaceReconLib.disk.files import write_bytes

Colour = tuple[int, int, int]
DEPTH_COLOURS = [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)]
ERROR_COLOURS = [(240, 230, 205), (244, 165, 80), (190, 20, 40)]
WHITE, BLACK, YELLOW, CYAN, AMBER = (255, 255, 255), (0, 0, 0), (255, 225, 60), (70, 215, 255), (255, 170, 40)
OUTLINE_OF_LETTERS = ((-2, 0), (2, 0), (0, -2), (0, 2), (1, 1), (-1, -1))  # pixels [down, right] of the ink
PNG_SIGNATURE, PNG_RGB, PNG_FILTER_UP = b"\x89PNG\r\n\x1a\n", 2, 2
PNG_LEVEL = 1  # of zlib


def grey_picture(pixels: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """(rows, cols) grey values -> (rows, cols, 3) uint8, black and white at the window's ends."""
    low, high = window
    grey = np.clip((pixels - low) * (255.0 / max(high - low, 1e-12)), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def resized_grey(pixels: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """(rows, cols) averaged or interpolated to another size, its outer borders kept."""
    for axis, count in enumerate(size_px):
        lines = np.moveaxis(pixels, axis, 0)
        averaged = _shares(len(lines), count).astype(pixels.dtype) @ lines.reshape(len(lines), -1)
        pixels = np.moveaxis(averaged.reshape(count, *lines.shape[1:]), 0, axis)
    return pixels


def _shares(old: int, new: int) -> csr_array:
    """(new, old): what each old pixel along a line gives to each new one; every row adds up to 1."""
    cuts = np.union1d(np.arange(old + 1.0), np.linspace(0, old, new + 1))
    middles = (cuts[1:] + cuts[:-1]) / 2
    places = (middles * new / old).astype(int), middles.astype(int)
    return csr_array((np.diff(cuts) * new / old, places), shape=(new, old))


def paint(picture: np.ndarray, rows: np.ndarray, cols: np.ndarray, colour: Colour) -> None:
    """Sets pixels; those outside the picture are left out."""
    rows, cols = np.rint(rows).astype(int), np.rint(cols).astype(int)
    inside = (rows >= 0) & (rows < picture.shape[0]) & (cols >= 0) & (cols < picture.shape[1])
    picture[rows[inside], cols[inside]] = colour


def line(
    picture: np.ndarray, start: tuple[float, float], end: tuple[float, float], colour: Colour, width: int = 1
) -> None:
    """From [row, col] to [row, col], edged in black so that it shows on every grey."""
    steps = int(max(abs(end[0] - start[0]), abs(end[1] - start[1]))) * 2 + 2
    rows, cols = np.linspace(start[0], end[0], steps), np.linspace(start[1], end[1], steps)
    for brush, painted in ((width + 2, BLACK), (width, colour)):
        row, col = np.indices((brush, brush)).reshape(2, -1, 1) - (brush - 1) / 2
        paint(picture, rows + row, cols + col, painted)


def box(
    picture: np.ndarray, first: tuple[float, float], last: tuple[float, float], colour: Colour, width: int = 1
) -> None:
    """The outline between two opposite corners [row, col]."""
    (top, left), (bottom, right) = first, last
    corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        line(picture, start, end, colour, width)


def text_mask(words: str, height_px: int, bold: bool = False, in_line: bool = False) -> np.ndarray:
    """Coverage 0 to 1, (rows, cols), cropped to the letters; `height_px` is the font's size.

    `in_line` keeps the same rows whatever the letters are, so that words beside each other stand on one line.
    """
    font = vtkTextProperty()
    font.SetFontFamilyToArial()
    font.SetFontSize(int(height_px))
    font.SetBold(bold)
    font.SetColor(1, 1, 1)
    image, size = vtkImageData(), [0, 0]
    vtkTextRenderer.GetInstance().RenderString(font, words, image, size, 72)
    if image.GetPointData().GetScalars() is None:  # nothing to draw
        return np.zeros((1, 1))
    cols, rows, _ = image.GetDimensions()
    alpha = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, cols, -1)[::-1, :, 3] / 255.0
    inked = bounding_window(alpha > 0)
    if inked[0].start == inked[0].stop:
        return np.zeros((1, 1))
    if in_line:  # the renderer puts every text of a size on the same row from below
        inked = slice(max(rows - round(1.2 * height_px), 0), rows), inked[1]
    return alpha[inked]


def wrapped(words: str, height_px: int, width_px: int) -> list[str]:
    """The lines in which text of that size fits into a width."""
    per_letter = text_mask(words, height_px).shape[1] / max(len(words), 1)
    letters = max(int(width_px / max(per_letter, 0.3 * height_px) * 0.97), 10)  # lines differ in their letters
    return textwrap.wrap(words, letters) or [""]


def write(
    picture: np.ndarray,
    words: str,
    at: tuple[float, float],
    height_px: int,
    colour: Colour = WHITE,
    anchor: tuple[float, float] = (0.0, 0.0),
    bold: bool = False,
    in_line: bool = False,
) -> None:
    """Text with a dark outline on a dim plate.

    `anchor` is the part of the text [row, col], 0 to 1, that stands at `at` [row, col]; `in_line` as in `text_mask`.
    """
    if not words.strip():
        return
    mask = text_mask(words, height_px, bold, in_line)
    around = np.zeros(np.add(mask.shape, 8))
    around[4:-4, 4:-4] = mask
    ink = around[2:-2, 2:-2]
    halo = np.maximum.reduce(
        [around[2 + down :, 2 + right :][: ink.shape[0], : ink.shape[1]] for down, right in OUTLINE_OF_LETTERS]
    )
    top = round(at[0] - anchor[0] * ink.shape[0])
    left = round(at[1] - anchor[1] * ink.shape[1])
    rows = slice(max(top, 0), min(top + ink.shape[0], picture.shape[0]))
    cols = slice(max(left, 0), min(left + ink.shape[1], picture.shape[1]))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        return
    part = (slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left))
    ink = ink[part]
    kept = (1 - np.maximum(0.35, 0.75 * halo[part])) * (1 - ink)
    for channel, value in enumerate(colour):
        under = picture[rows, cols, channel]
        under[:] = under * kept + ink * value


# Where to look from, as `shaded` takes it: the front, the patient's left, the back, the patient's right.
AROUND = (((-1, 0, 0), (0, 1, 0)), ((0, -1, 0), (-1, 0, 0)), ((1, 0, 0), (0, -1, 0)), ((0, 1, 0), (1, 0, 0)))


def shaded(
    points: np.ndarray,
    normals: np.ndarray,
    colours: np.ndarray,
    across: tuple[float, float, float],
    towards: tuple[float, float, float],
    size_px: tuple[int, int],
    px_per_mm: float,
    background: int = 24,
) -> np.ndarray:
    """Dense points of surfaces (N, 3) mm painted from far to near, lit from the eye; (rows, cols, 3) uint8.

    `across` is right in the picture, `towards` points to the eye, superior is up; all in RAS. Colours are 0 to 255.
    """
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    place = (points - middle) * px_per_mm
    row = np.rint(size_px[0] / 2 - place[:, 2]).astype(int)
    col = np.rint(place @ np.array(across) + size_px[1] / 2).astype(int)
    eye = np.array(towards)
    light = 0.35 + 0.65 * np.clip(normals @ eye, 0, 1)
    order = np.argsort(place @ eye)
    order = order[((row >= 0) & (row < size_px[0]) & (col >= 0) & (col < size_px[1]))[order]]
    picture = np.full((*size_px, 3), background, np.uint8)
    picture[row[order], col[order]] = (colours * light[:, None])[order].astype(np.uint8)
    return picture


def blended(share: np.ndarray, anchors: Sequence[Colour]) -> np.ndarray:
    """0 to 1 -> colours (..., 3) uint8, linear between the anchors."""
    stops = np.linspace(0, 1, len(anchors))
    return np.stack([np.interp(share, stops, channel) for channel in zip(*anchors, strict=True)], axis=-1).astype(
        np.uint8
    )


def save_png(picture: np.ndarray, path: Path) -> None:
    """Writes (rows, cols, 3) uint8; the file appears whole or not at all.

    Every row is kept as its difference from the one above, and little is tried to make the file smaller: it takes less
    than half the time of VTK's writer, for as many bytes.
    """
    rows = np.ascontiguousarray(picture).reshape(len(picture), -1)
    filtered = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = PNG_FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", picture.shape[1], picture.shape[0], 8, PNG_RGB, 0, 0, 0)),
        (b"IDAT", zlib.compress(filtered, PNG_LEVEL)),
        (b"IEND", b""),
    )
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    write_bytes(path, PNG_SIGNATURE + b"".join(chunks))
