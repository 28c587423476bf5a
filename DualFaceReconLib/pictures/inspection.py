"""What `dualface inspect` shows of a film: a table of values with their provenance, the warnings, and a picture."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from DualFaceReconLib import __version__
from DualFaceReconLib.errors import worded
from DualFaceReconLib.film.letters import SideLetter
from DualFaceReconLib.film.orientation import FACING_VIEWER, SIDES_SWAPPED
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.geometry import Provenance
from DualFaceReconLib.pictures import drawing
from DualFaceReconLib.pictures.film import caption, film_picture, mark_scales, mark_sides
from DualFaceReconLib.pictures.wording import PANEL, TERMINAL

TERMINAL_COLUMNS = 116
PICTURE_SIDE_PX = 1000  # the drawn film's longer side


@dataclass(frozen=True)
class Finding:
    """One row of the table."""

    name: str
    value: Any  # for programs
    text: str  # for people
    provenance: Provenance
    affects: str


def findings(radiograph: Radiograph) -> list[Finding]:
    """Everything that is known of how the film was taken."""
    geometry = radiograph.geometry
    came_from = radiograph.provenance()
    pitch, centre = geometry.pixel_pitch_mm, geometry.principal_point_px
    orientation = radiograph.orientation.value
    facts = [
        ("size_px", geometry.size_px, f"{geometry.size_px[0]} x {geometry.size_px[1]} px", "detail"),
        ("pixel_pitch_mm", pitch, f"{pitch[0]:.4g} x {pitch[1]:.4g} mm", "every length, in proportion"),
        ("sdd_mm", geometry.sdd_mm, f"{geometry.sdd_mm:.5g} mm", "magnification, so every length"),
        (
            "object_distance_mm",
            geometry.object_distance_mm,
            _with_spread(geometry.object_distance_mm, came_from["object_distance_mm"]),
            length_uncertainty(radiograph),
        ),
        ("principal_point_px", centre, f"row {centre[0]:.1f}, col {centre[1]:.1f}", "the direction of the rays"),
        ("view", geometry.view, geometry.view, "front and back"),
        (
            "orientation",
            orientation,
            orientation
            if orientation in (FACING_VIEWER, SIDES_SWAPPED)
            else f"{orientation}, turned to {FACING_VIEWER}",
            "left and right",
        ),
        ("polarity", radiograph.polarity.value, radiograph.polarity.value, "what counts as bone"),
    ]
    table = [Finding(name, value, text, came_from[name], affects) for name, value, text, affects in facts]
    if radiograph.collimation_px is None:
        no_border = Provenance("derived", "no border is seen in the picture")
        table.append(Finding("collimation_px", None, "all of the picture", no_border, "where bones are cut off"))
    else:
        first_row, last_row, first_col, last_col = radiograph.collimation_px.value
        text = f"rows {first_row} to {last_row}, cols {first_col} to {last_col}"
        if radiograph.field_corners_px is not None:
            text += f", within {len(radiograph.field_corners_px)} edges"
        table.append(
            Finding(
                "collimation_px",
                radiograph.collimation_px.value,
                text,
                radiograph.collimation_px.provenance,
                "where bones are cut off",
            )
        )
    table.append(_letters(radiograph))
    return table


def _letters(radiograph: Radiograph) -> Finding:
    """What the film itself says of its sides."""
    letters = radiograph.side_letters
    values = [{name: getattr(letter, name) for name in ("letter", "row", "col", "mirrored")} for letter in letters]
    text = "; ".join(
        f"{letter.letter} at row {letter.row:.0f}, col {letter.col:.0f}{', mirrored' * letter.mirrored}"
        for letter in letters
    )
    source = "read in the picture" if letters else "no R or L that stands alone is read in the picture"
    return Finding("side_letters", values, text or "none", Provenance("derived", source), "left and right")


def as_dict(radiograph: Radiograph) -> dict[str, Any]:
    """The same for programs; warnings name their controls in braces."""
    return {
        "version": __version__,
        "pixel_hash": radiograph.pixel_hash,
        "file_format": radiograph.file_format,
        "values": {
            f.name: {"value": f.value, "text": f.text, **asdict(f.provenance), "affects": f.affects}
            for f in findings(radiograph)
        },
        "warnings": [asdict(warning) for warning in radiograph.warnings],
    }


def as_text(radiograph: Radiograph) -> str:
    """The table and the warnings, for a terminal."""
    table = [(f.name, f.text, f"{f.provenance}  [{f.affects}]") for f in findings(radiograph)]
    table.insert(0, ("value", "is", "came from  [affects]"))
    widths = [max(len(row[i]) for row in table) + 2 for i in range(2)]
    lines = [f"{radiograph.file_format} film {radiograph.pixel_hash}", ""]
    for name, text, source in table:
        wrapped = textwrap.wrap(source, TERMINAL_COLUMNS - sum(widths))
        lines.append(f"{name:<{widths[0]}}{text:<{widths[1]}}{wrapped[0]}")
        lines += [" " * sum(widths) + rest for rest in wrapped[1:]]
    if radiograph.warnings:
        lines.append("")
    for warning in radiograph.warnings:
        lines += textwrap.wrap(
            worded(warning.text, TERMINAL), TERMINAL_COLUMNS, initial_indent="WARNING  ", subsequent_indent="         "
        )
    lines += ["", "Research use only."]
    return "\n".join(lines)


def picture(radiograph: Radiograph) -> np.ndarray:
    """(rows, cols, 3) uint8: the film with scale bars, R and L, the central ray, the collimation and the warnings."""
    film, drawn = film_picture(radiograph, (PICTURE_SIDE_PX, PICTURE_SIDE_PX))
    ratio = np.array(drawn.size_px) / radiograph.geometry.size_px
    if radiograph.collimation_px is not None:
        first_row, last_row, first_col, last_col = radiograph.collimation_px.value
        first, last = ratio * (first_row, first_col), ratio * (last_row + 1, last_col + 1) - 1
        if (corners := radiograph.field_corners_px) is None:
            drawing.box(film, tuple(first), tuple(last), drawing.CYAN, 2)
        for start, end in pairwise(() if corners is None else (*corners, corners[0])):
            drawing.line(film, tuple(ratio * start), tuple(ratio * end), drawing.CYAN, 2)
        drawing.write(film, "exposed field", (first[0] + 8, (first[1] + last[1]) / 2), 16, drawing.CYAN, (0, 0.5))
    for letter in radiograph.side_letters:
        _side_letter(film, letter, ratio)
    _central_ray(film, drawn.principal_point_px)
    mark_sides(film, radiograph)
    mark_scales(film, drawn)
    return np.concatenate([film, caption(_caption_lines(radiograph), film.shape[1])])


def length_uncertainty(radiograph: Radiograph) -> str:
    """What the bones' distance does to lengths."""
    geometry, spread = radiograph.geometry, radiograph.geometry.provenance["object_distance_mm"].spread
    if spread is None or geometry.object_distance_mm is None:
        return "every length"
    if geometry.lengths_are_calibrated:
        return "the bones' place in depth; their lengths follow the calibration"
    return f"every length, {100 * spread / (geometry.sdd_mm - geometry.object_distance_mm):.1f} % uncertain"


def _with_spread(value: float | None, provenance: Provenance) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4g} mm" if provenance.spread is None else f"{value:.4g} +- {provenance.spread:g} mm"


def _side_letter(film: np.ndarray, letter: SideLetter, ratio: np.ndarray) -> None:
    """A box around a letter, and what is read."""
    half = letter.height_px * np.array([0.75, 0.65])
    first, last = (ratio * ((letter.row, letter.col) + sign * half) for sign in (-1, 1))
    colour = drawing.AMBER if letter.mirrored else drawing.CYAN
    drawing.box(film, tuple(first), tuple(last), colour, 2)
    words = f"reads {letter.letter}{', mirrored' * letter.mirrored}"
    drawing.write(film, words, (last[0] + 6, (first[1] + last[1]) / 2), 16, colour, (0, 0.5))


def _central_ray(film: np.ndarray, centre: tuple[float, float]) -> None:
    for row, col in ((26, 0), (0, 26)):
        for sign in (-1, 1):
            inner = (centre[0] + sign * min(row, 6), centre[1] + sign * min(col, 6))
            drawing.line(film, inner, (centre[0] + sign * row, centre[1] + sign * col), drawing.YELLOW, 2)
    drawing.write(film, "central ray", (centre[0] + 10, centre[1] + 12), 15, drawing.YELLOW)


def _caption_lines(radiograph: Radiograph) -> list[tuple[str, drawing.Colour]]:
    geometry = radiograph.geometry
    exposure = (
        f"{geometry.view}   source to detector {geometry.sdd_mm:.0f} mm   pixels "
        f"{geometry.pixel_pitch_mm[0]:.3f} x {geometry.pixel_pitch_mm[1]:.3f} mm   film {radiograph.pixel_hash}"
    )
    warnings = [(worded(warning.text, PANEL), drawing.AMBER) for warning in radiograph.warnings]
    return [(exposure, drawing.WHITE), *warnings, ("Research use only", drawing.WHITE)]
