"""A film as a person looks at it, grey with R and L, scale bars and a caption: what all pictures of a film share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.film.sides import sides_are_contradicted
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.pictures import drawing
from DualFaceReconLib.pictures.drawing import Colour

SCALE_BARS_MM = (200, 100, 50, 20, 10)
LETTERS_PX, LINE_PX = 15, 22


def film_picture(radiograph: Radiograph, most_px: tuple[int, int]) -> tuple[np.ndarray, ProjectionGeometry]:
    """The film in true proportion, as large as fits into `most_px` [rows, cols], and the geometry of its pixels."""
    geometry = radiograph.geometry
    size_mm = [n * p for n, p in zip(geometry.size_px, geometry.pixel_pitch_mm, strict=True)]
    scale = min(most / mm for most, mm in zip(most_px, size_mm, strict=True))
    size = tuple(max(1, round(mm * scale)) for mm in size_mm)
    grey = drawing.grey_picture(drawing.resized_grey(radiograph.pixels, size), radiograph.display_window)
    return grey, geometry.resized(size)


def mark_sides(picture: np.ndarray, radiograph: Radiograph, height_px: int = 60) -> None:
    """R and L as they follow from the orientation; amber where it was only assumed, or the film itself says other."""
    colour = drawing.AMBER if sides_are_doubted(radiograph) else drawing.WHITE
    mark = "?" if colour == drawing.AMBER else ""
    mark_corners(picture, "R" + mark, "L" + mark, height_px, colour)


def sides_are_doubted(radiograph: Radiograph) -> bool:
    """Whether left and right were only assumed, or a letter in the film says other."""
    assumed = radiograph.orientation.provenance.kind == "assumed"
    return assumed or sides_are_contradicted(radiograph.warnings)


def mark_corners(picture: np.ndarray, left: str, right: str, height_px: int, colour: Colour = drawing.WHITE) -> None:
    """Large letters in the upper corners."""
    edge = round(0.4 * height_px)
    drawing.write(picture, left, (edge, edge), height_px, colour, bold=True)
    drawing.write(picture, right, (edge, picture.shape[1] - edge), height_px, colour, (0, 1), bold=True)


def mark_scales(film: np.ndarray, drawn: ProjectionGeometry) -> None:
    """One length at the detector and at the bones' depth, where it covers fewer millimetres."""
    depths = [("at the detector", drawn.sdd_mm)]
    if drawn.object_distance_mm is not None:
        depths.append(("at the bones", drawn.sdd_mm - drawn.object_distance_mm))
    for i, (where, depth) in enumerate(depths):
        scale_bar(film, drawn.pixel_size_at(depth)[1], where, film.shape[0] - 30 - 46 * i)


def scale_bar(picture: np.ndarray, mm_per_px: float, where: str, row: int, height_px: int = 18) -> None:
    """The longest round length that covers at most a third of the picture, at its left."""
    length = next((mm for mm in SCALE_BARS_MM if mm / mm_per_px < 0.35 * picture.shape[1]), SCALE_BARS_MM[-1])
    left, right = 30.0, 30.0 + length / mm_per_px
    drawing.line(picture, (row, left), (row, right), drawing.WHITE, 3)
    for col in (left, right):
        drawing.line(picture, (row - 6, col), (row + 6, col), drawing.WHITE, 3)
    drawing.write(picture, f"{length} mm {where}".strip(), (row - 8, left), height_px, drawing.WHITE, (1, 0))


def caption(lines: Iterable[tuple[str, Colour]], width_px: int) -> np.ndarray:
    """(rows, width, 3) uint8: lines of text on black, wrapped."""
    wrapped = [(line, colour) for words, colour in lines for line in drawing.wrapped(words, LETTERS_PX, width_px - 24)]
    block = np.zeros((20 + LINE_PX * len(wrapped), width_px, 3), np.uint8)
    for i, (words, colour) in enumerate(wrapped):
        drawing.write(block, words, (22 + LINE_PX * i, 12), LETTERS_PX, colour, (0.5, 0), in_line=True)
    return block
