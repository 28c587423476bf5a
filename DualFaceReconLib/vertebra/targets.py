"""Which vertebra is wanted: its level, and where it was clicked on both films.

The click of a vertebra is its middle: on the AP film in the midline, halfway up the body; on the lateral film at the
body's back wall, halfway up. The body's four corners on both films say the same, and how large it is on each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from DualFaceReconLib.biplanar import Meeting
from DualFaceReconLib.errors import Refusal, meant
from DualFaceReconLib.film.acquisition import RadiographWarning
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.levels import LEVELS
from DualFaceReconLib.vertebra.films import FACES, FILMS, SpineFilms

Pixel = tuple[float, float]  # [row, col] of a film as displayed
MISMATCH_WARNED_MM, MISMATCH_REFUSED_MM = 3.0, 15.0
HEIGHTS_DIFFER = 1.25  # of the body by its corners on both films: more is another scale, or another vertebra
MAX_POINTS_BYTES = 1 << 20
KEYS = ("level", "centre_ap", "centre_lateral", "corners_ap", "corners_lateral")


@dataclass(frozen=True, kw_only=True)
class VertebraTarget:
    """A vertebra and its clicks; centre or corners of each film, or both."""

    level: str
    centre_ap_px: Pixel | None = None
    centre_lateral_px: Pixel | None = None
    corners_ap_px: tuple[Pixel, ...] | None = None  # the body's four, in any order
    corners_lateral_px: tuple[Pixel, ...] | None = None

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise Refusal(f"There is no level {self.level!a}: {meant(self.level, LEVELS)}", "level-unknown")
        for name, centre, corners in (
            ("AP", self.centre_ap_px, self.corners_ap_px),
            ("lateral", self.centre_lateral_px, self.corners_lateral_px),
        ):
            if centre is None and corners is None:
                raise Refusal(f"Nothing was clicked on the {name} film for {self.level}: give its centre.", "no-click")
            if corners is not None and len(corners) != 4:
                raise Refusal(f"A body has four corners on the {name} film, not {len(corners)}.", "corners-unfit")

    @property
    def corners(self) -> tuple[tuple[Pixel, ...] | None, tuple[Pixel, ...] | None]:
        """On both films."""
        return self.corners_ap_px, self.corners_lateral_px

    def centres(self, faces_right: bool) -> tuple[Pixel, Pixel]:
        """Of both films; by its corners where it was not clicked itself. `faces_right`: the patient, in the lateral."""
        ap, lateral = self.centre_ap_px, self.centre_lateral_px
        return (
            centre_of(self.corners_ap_px, 0, faces_right) if ap is None else ap,
            centre_of(self.corners_lateral_px, 1, faces_right) if lateral is None else lateral,
        )


def centre_of(corners: Sequence[Pixel], number: int, faces_right: bool) -> Pixel:
    """Where one would click a body with such corners, on the AP film (0) or the lateral (1)."""
    if number == 0:
        row, col = np.mean(corners, axis=0)
    else:
        edges = edges_of(corners)
        row, col = np.mean(edges[0] if faces_right else edges[1], axis=0)  # the back one
    return float(row), float(col)


def read_targets(path: Path) -> list[VertebraTarget]:
    """Vertebrae of a JSON file: a list of objects with `level`, `centre_ap` and `centre_lateral` [row, col]; instead,
    or as well, `corners_ap` and `corners_lateral`, four such pairs each."""
    name = path.name
    try:
        if path.stat().st_size > MAX_POINTS_BYTES:
            raise Refusal(f"{name} is far too long to hold the points of a spine.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refusal(f"{name} cannot be read ({error.strerror or error}): name a JSON file of points.") from error
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{name} is no JSON file: write it as the README shows.") from error
    if not isinstance(values, list) or not values or not all(isinstance(item, dict) for item in values):
        raise Refusal(f"{name} holds no list of vertebrae: write it as the README shows.")
    targets = [_target(item, name) for item in values]
    levels = [target.level for target in targets]
    if twice := sorted({level for level in levels if levels.count(level) > 1}):
        raise Refusal(f"{name} has {twice[0]} twice: leave one of them out.")
    return targets


def _target(item: Mapping[str, Any], name: str) -> VertebraTarget:
    if strange := sorted(set(item) - set(KEYS)):
        raise Refusal(f"{name} has a value {strange[0]!a}: {meant(strange[0], KEYS)}")
    if not isinstance(item.get("level"), str):
        raise Refusal(f"{name} has a vertebra without a level, such as L3.")
    places = {}
    for key in KEYS[1:]:
        value = item.get(key)
        several = key.startswith("corners")
        pixels = value if several else [value]
        if value is None:
            continue
        if not isinstance(pixels, list) or not all(map(_is_pixel, pixels)):
            raise Refusal(f"{name} has a {key} of {item['level']} that is not {'four times ' * several}[row, col].")
        clicked = tuple((float(row), float(col)) for row, col in pixels)
        places[f"{key}_px"] = clicked if several else clicked[0]
    return VertebraTarget(level=item["level"], **places)


def _is_pixel(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(part) in (int, float) for part in value)


def edges_of(corners: Sequence[Pixel]) -> tuple[np.ndarray, np.ndarray]:
    """A body's left and right edge in a picture, (2, 2) pixels each: the upper and the lower end."""
    by_row = sorted(corners)
    upper, lower = (sorted(pair, key=lambda corner: corner[1]) for pair in (by_row[:2], by_row[2:]))
    return np.array([upper[0], lower[0]]), np.array([upper[1], lower[1]])


def body_height_mm(corners: Sequence[Pixel], geometry: ProjectionGeometry) -> float:
    """The mean of a body's two edges, at the bones."""
    pixel_mm = geometry.pixel_size_at(geometry.sdd_mm - geometry.object_distance_mm)
    return float(np.mean([np.linalg.norm((edge[1] - edge[0]) * pixel_mm) for edge in edges_of(corners)]))


def check_target(target: VertebraTarget, films: SpineFilms) -> None:
    """Refusal where clicks are not on their films, or the films are not of one scale."""
    for name, film, centre, corners in zip(
        FILMS, films.radiographs, centres_on(target, films), target.corners, strict=True
    ):
        for row, col in (centre, *(corners or ())):
            _refuse_outside(name, film, row, col, target.level)
    heights = [
        None if corners is None else body_height_mm(corners, film.geometry)
        for film, corners in zip(films.radiographs, target.corners, strict=True)
    ]
    if None not in heights and max(heights) > HEIGHTS_DIFFER * min(heights):
        raise Refusal(
            f"By its corners the body of {target.level} is {heights[0]:.0f} mm high on the AP film and "
            f"{heights[1]:.0f} mm on the lateral: check the corners, and {{pixel_pitch_mm}} of both films.",
            "scales-differ",
            heights_mm=heights,
        )


def _refuse_outside(name: str, film: Radiograph, row: float, col: float, level: str) -> None:
    rows, cols = film.geometry.size_px
    if not (0 <= row <= rows - 1 and 0 <= col <= cols - 1):
        raise Refusal(
            f"The click of {level} at row {row:g}, column {col:g} is not on the {name} film of {rows} x {cols} pixels.",
            "click-outside",
        )


def centres_on(target: VertebraTarget, films: SpineFilms) -> tuple[Pixel, Pixel]:
    """Of both films."""
    return target.centres(films.lateral.orientation.value == FACES["right"])


def met(target: VertebraTarget, films: SpineFilms) -> tuple[Meeting, tuple[RadiographWarning, ...]]:
    """Where the clicks' rays meet, and what is warned of that; Refusal where they miss each other by far."""
    try:
        meeting = films.pair.meeting(*centres_on(target, films))
    except ValueError as error:
        raise Refusal("Both films were taken from the same side: give an AP film and a lateral one.") from error
    gap = meeting.gap_mm
    words = f"The two clicks of {target.level} miss each other by {gap:.1f} mm in space"
    cure = "check that both are of the same vertebra, and the films' distances and angle"
    if gap > MISMATCH_REFUSED_MM:
        raise Refusal(f"{words}: {cure}.", "clicks-apart", gap_mm=gap)
    if gap <= MISMATCH_WARNED_MM:
        return meeting, ()
    return meeting, (RadiographWarning("clicks-apart", f"{words}: {cure}.", {"gap_mm": gap}),)
