"""Panels of a picture put together: titles, rows, legends; all pictures of results are as wide."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from DualFaceReconLib.pictures import drawing
from DualFaceReconLib.pictures.drawing import Colour
from DualFaceReconLib.pictures.film import LETTERS_PX

WIDTH_PX = 1440
GAP_PX, TITLE_PX, LEGEND_PX = 8, 34, 40


def explained(legend: np.ndarray, col: int, swatch: np.ndarray, meaning: str, colour: Colour = drawing.WHITE) -> int:
    """A swatch and what it means; the column where the next one may begin."""
    top = (LEGEND_PX - swatch.shape[0]) // 2
    legend[top : top + swatch.shape[0], col : col + swatch.shape[1]] = swatch
    col += swatch.shape[1] + 8
    drawing.write(legend, meaning, (LEGEND_PX / 2, col), LETTERS_PX, colour, anchor=(0.5, 0), in_line=True)
    return col + drawing.text_mask(meaning, LETTERS_PX).shape[1] + 24


def over(background: np.ndarray, bones: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Bones (rows, cols, 3), already weighted with their share of every pixel, before a background."""
    background, clear = np.broadcast_to(np.asarray(background, np.float32), bones.shape), 1 - share[..., 0]
    drawn = np.empty(bones.shape, np.uint8)
    for channel in range(3):  # numpy is slow where its innermost axis is as short as this
        drawn[..., channel] = np.rint(background[..., channel] * clear + bones[..., channel])
    return drawn


def titled(panel: np.ndarray, title: str, width_px: int) -> np.ndarray:
    """The panel in the middle of a width, its title above."""
    spare = width_px - panel.shape[1]
    head = np.zeros((TITLE_PX, width_px, 3), np.uint8)
    drawing.write(head, title, (TITLE_PX / 2, 12), 17, anchor=(0.5, 0), in_line=True)
    return np.concatenate([head, np.pad(panel, ((0, 0), (spare // 2, spare - spare // 2), (0, 0)))])


def in_a_row(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Panels of one height in a row, with gaps, as wide as the picture."""
    gap = np.zeros((panels[0].shape[0], GAP_PX, 3), np.uint8)
    row = np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)
    return np.pad(row, ((0, 0), (0, WIDTH_PX - row.shape[1]), (0, 0)))


def strip(height_px: int) -> np.ndarray:
    """(rows, 1440, 3) uint8, black."""
    return np.zeros((height_px, WIDTH_PX, 3), np.uint8)
