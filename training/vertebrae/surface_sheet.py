"""Reconstructed vertebrae to look at: the truth, and beside it surfaces of rows by their distance from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from DualFaceReconLib.meshes import Mesh
from DualFaceReconLib.pictures import drawing
from DualFaceReconLib.proximity import distances_to_surface
from training.vertebrae.anatomy import PANEL_PX, views

RED_FROM_MM = 6.0  # from the truth


@dataclass(frozen=True, kw_only=True)
class ShownVertebra:
    """A line of the picture."""

    title: str
    true: Mesh
    found: Sequence[Mesh | None]  # by each row; None where it has no surface


def surface_sheet(vertebrae: Sequence[ShownVertebra], path: Path) -> None:
    """Writes a picture: each vertebra from in front and from the left, and so its surfaces."""
    drawing.save_png(np.vstack([_line(vertebra) for vertebra in vertebrae]), path)


def _line(vertebra: ShownVertebra) -> np.ndarray:
    panels = views(vertebra.true, np.zeros(len(vertebra.true[0])), drawing.ERROR_COLOURS)
    for surface in vertebra.found:
        panels += _coloured(surface, vertebra.true)
    line = np.hstack(panels)
    drawing.write(line, vertebra.title, (3, 4), 13)
    return line


def _coloured(surface: Mesh | None, true: Mesh) -> list[np.ndarray]:
    """A surface by its distance from the truth; empty where there is none."""
    if surface is None:
        return [np.zeros((*PANEL_PX, 3), np.uint8)] * 2
    return views(surface, distances_to_surface(surface[0], *true) / RED_FROM_MM, drawing.ERROR_COLOURS)
