"""A vertebra as a person looks at it: drawn back on both films, from all sides, by how sure it is, and in words.

Above, the whole films with the vertebra's outline. Then its surroundings, enlarged: the outline, the click, and where
the other film's click runs. Below, the vertebra from the front, the left and above, and by certainty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import binary_dilation

from DualFaceReconLib.biplanar import FilmPair, PlacedFilm
from DualFaceReconLib.errors import worded
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import arrays, point_data
from DualFaceReconLib.pictures import drawing
from DualFaceReconLib.pictures.bones import Surface, from_afar
from DualFaceReconLib.pictures.drawing import Colour
from DualFaceReconLib.pictures.film import caption, film_picture, mark_sides, scale_bar
from DualFaceReconLib.pictures.panels import (
    GAP_PX,
    LEGEND_PX,
    WIDTH_PX,
    explained,
    in_a_row,
    over,
    strip,
    titled,
)
from DualFaceReconLib.pictures.wording import PANEL, measured, words
from DualFaceReconLib.rasterising import covered_pixels
from DualFaceReconLib.vertebra.films import FILMS
from DualFaceReconLib.vertebra.outcome import SURFACES, ReconstructedVertebra
from DualFaceReconLib.vertebra.targets import Pixel, centres_on

FILM_MOST_PX = (700, 716)  # [rows, cols]
NEAR_PX, NEAR_MM = 560, 120.0  # a side of the enlarged surroundings, at the vertebra
VIEW_PX, VIEW_MM = 350, 110.0
UNSURE_MM = 6.0  # the upper end of the colours of certainty
VERTEBRA_COLOUR: Colour = (240, 200, 140)
FRONT, LEFT, _, _ = drawing.AROUND
VIEWS = (("From the front", FRONT), ("From the patient's left", LEFT))


def picture(vertebra: ReconstructedVertebra) -> np.ndarray:
    """(rows, 1440, 3) uint8."""
    surface = surface_of(vertebra)
    return np.concatenate(
        [_films(vertebra, near=False), _films(vertebra, near=True), _views(vertebra, surface), _text(vertebra)]
    )


def surface_of(vertebra: ReconstructedVertebra) -> Surface:
    """What is drawn of it in 3D."""
    vertices, triangles = arrays(vertebra.surface)
    std_mm = point_data(vertebra.surface, "std_mm")
    return Surface(
        vertices=vertices,
        triangles=triangles,
        closed=True,
        colour=VERTEBRA_COLOUR,
        certainty=certainty_colours(std_mm),
        inferred=np.zeros(len(vertices)),
    )


def certainty_colours(std_mm: np.ndarray) -> np.ndarray:
    """Standard deviations (...) -> colours (..., 3) uint8."""
    return drawing.blended(np.clip(np.asarray(std_mm) / UNSURE_MM, 0, 1), drawing.ERROR_COLOURS)


def silhouette(vertices: np.ndarray, triangles: np.ndarray, place: PlacedFilm) -> np.ndarray:
    """Which pixels of a film a mesh covers, (rows, cols) bool."""
    pixels, _ = place.project(vertices)
    covered = np.zeros(place.geometry.size_px, bool)
    for _, at, _, _ in covered_pixels(pixels[triangles], place.geometry.size_px):
        covered[at[:, 0], at[:, 1]] = True
    return covered


def _films(vertebra: ReconstructedVertebra, near: bool) -> np.ndarray:
    """Both films with the vertebra's outline; `near`: its surroundings alone, with the clicks."""
    vertices, triangles = arrays(vertebra.surface)
    pair, panels = vertebra.films.pair, []
    clicks = centres_on(vertebra.target, vertebra.films)
    lines = pair.line_on_second(clicks[0]), FilmPair(pair.second, pair.first).line_on_second(clicks[1])
    for number, (name, film, place) in enumerate(
        zip(FILMS, vertebra.films.radiographs, (pair.first, pair.second), strict=True)
    ):
        if near:
            depth = float(place.project(np.array(vertebra.centre))[1])
            drawn_film, drawn = _surroundings(film, clicks[number], depth)
        else:
            drawn_film, drawn = film_picture(film, FILM_MOST_PX)
        of_picture = PlacedFilm(drawn, place.rotation, place.translation)
        covered = silhouette(vertices, triangles, of_picture)
        drawn_film[binary_dilation(covered, iterations=2) & ~covered] = drawing.CYAN
        if near:
            _mark_clicks(drawn_film, drawn, film.geometry, clicks[number], lines[1 - number])
            at = drawn.pixel_size_at(float(place.project(np.array(vertebra.centre))[1]))[1]
            scale_bar(drawn_film, at, "at the vertebra" if vertebra.in_millimetres else "of a usual one", NEAR_PX - 24)
        elif number == 0:
            mark_sides(drawn_film, film, 40)
        title = (
            f"{name} film with {vertebra.level} drawn back on it"
            if not near
            else f"{name}: {vertebra.level} and its click"
        )
        panels.append(titled(drawn_film, title, (WIDTH_PX - GAP_PX) // 2))
    height = max(panel.shape[0] for panel in panels)
    return in_a_row([np.pad(panel, ((0, height - panel.shape[0]), (0, 0), (0, 0))) for panel in panels])


def _surroundings(film: Radiograph, click: Pixel, depth: float) -> tuple[np.ndarray, ProjectionGeometry]:
    """The part of a film around a click (rows, cols, 3), and the geometry of its pixels."""
    geometry = film.geometry
    half = [NEAR_MM / 2 / mm for mm in geometry.pixel_size_at(depth)]
    first = [round(middle - reach) for middle, reach in zip(click, half, strict=True)]
    size = [max(2 * round(reach), 2) for reach in half]
    part = np.full(size, film.display_window[0], np.float32)
    rows, cols = (
        slice(max(begin, 0), min(begin + count, whole))
        for begin, count, whole in zip(first, size, geometry.size_px, strict=True)
    )
    part[rows.start - first[0] : rows.stop - first[0], cols.start - first[1] : cols.stop - first[1]] = film.pixels[
        rows, cols
    ]
    low, high = np.percentile(film.pixels[rows, cols], (3, 99.5))
    enlarged = drawing.resized_grey(part, (NEAR_PX, NEAR_PX))
    drawn = replace(geometry.cropped(first, size), opening_px=None).resized((NEAR_PX, NEAR_PX))
    return drawing.grey_picture(enlarged, (float(low), float(high))), drawn


def _mark_clicks(
    drawn_film: np.ndarray, drawn: ProjectionGeometry, geometry: ProjectionGeometry, click: Pixel, line: np.ndarray
) -> None:
    """The click as a cross, and the line on which the other film's click runs."""

    def on_picture(pixel: Sequence[float]) -> tuple[float, float]:
        pitches, middles = zip(geometry.pixel_pitch_mm, drawn.pixel_pitch_mm, strict=True), drawn.principal_point_px
        row, col = (
            middle + (place - principal) * pitch / own
            for place, principal, (pitch, own), middle in zip(
                pixel, geometry.principal_point_px, pitches, middles, strict=True
            )
        )
        return row, col

    ends = np.clip([on_picture(end) for end in line], -4 * NEAR_PX, 5 * NEAR_PX)
    drawing.line(drawn_film, tuple(ends[0]), tuple(ends[1]), drawing.AMBER)
    row, col = on_picture(click)
    drawing.line(drawn_film, (row - 14, col), (row + 14, col), drawing.YELLOW, 3)
    drawing.line(drawn_film, (row, col - 14), (row, col + 14), drawing.YELLOW, 3)


def _views(vertebra: ReconstructedVertebra, surface: Surface) -> np.ndarray:
    """From the front and the left, in one colour and by certainty."""
    middle = (surface.vertices.min(axis=0) + surface.vertices.max(axis=0)) / 2
    width = (WIDTH_PX - 3 * GAP_PX) // 4
    views = [(title, from_afar([surface], eye, middle, VIEW_PX / VIEW_MM, (VIEW_PX, width))) for title, eye in VIEWS]
    background = np.array((24, 24, 24))
    panels = [titled(over(background, view.coloured, view.share), title, width) for title, view in views]
    panels += [
        titled(over(background, view.by_certainty, view.share), f"Certainty, {title[0].lower()}{title[1:]}", width)
        for title, view in views
    ]
    legend = strip(LEGEND_PX)
    col = explained(legend, 12, np.full((4, 24, 3), drawing.CYAN, np.uint8), "outline of the vertebra")
    col = explained(legend, col, np.full((4, 24, 3), drawing.YELLOW, np.uint8), "click")
    explained(legend, col, np.full((4, 24, 3), drawing.AMBER, np.uint8), "where the other film's click runs")
    scale = np.broadcast_to(certainty_colours(np.linspace(0, UNSURE_MM, 120)), (16, 120, 3))
    explained(legend, (WIDTH_PX + GAP_PX) // 2 + 12, scale, f"std. deviation, 0 to {UNSURE_MM:g} mm")
    return np.concatenate([in_a_row(panels), legend])


def _text(vertebra: ReconstructedVertebra) -> np.ndarray:
    """What was measured at the left, all warnings at the right."""
    angle, bundle = vertebra.films.angle, vertebra.bundle
    facts = [
        "Research use only.",
        f"{vertebra.level}, films {angle.value:.0f} degrees apart ({angle.provenance.kind}); "
        f"the clicks miss each other by {vertebra.gap_mm:.1f} mm",
        *(f"{words(name)} {measured(value)}".capitalize() for name, value in vertebra.measurements.items()),
        f"Surface: {SURFACES[vertebra.surface_by]}.",
        f"Made by {bundle.id} {bundle.version} on {vertebra.device}. {vertebra.measured}",
    ]
    warnings = [(f"Warning: {worded(warning.text, PANEL)}", drawing.AMBER) for warning in vertebra.warnings]
    width = (WIDTH_PX - GAP_PX) // 2
    columns = [
        caption(lines, width)
        for lines in ([(fact, drawing.WHITE) for fact in facts], warnings or [("No warnings.", drawing.WHITE)])
    ]
    height = max(column.shape[0] for column in columns)
    return in_a_row([np.pad(column, ((0, height - column.shape[0]), (0, 0), (0, 0))) for column in columns])
