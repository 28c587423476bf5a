"""Films that do not say how large their pixels are, by the corners of a vertebra's body.

Where one film says it, the body's height on that one gives the other's pixels. Where neither does, the body is taken to
be as high as a usual one of its level: the shape then has proportions and angles, and no millimetres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Overrides, RadiographWarning
from DualFaceReconLib.film.radiograph import read_film
from DualFaceReconLib.film.subject import SPINE_FRONTAL, SPINE_LATERAL, FilmSubject
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance
from DualFaceReconLib.vertebra.films import FILMS, SpineFilms, read_spine_films
from DualFaceReconLib.vertebra.sizes import published_mm
from DualFaceReconLib.vertebra.targets import Pixel, VertebraTarget, body_height_mm

MISSING, IMPLAUSIBLE = "pixel_pitch_mm-missing", "pixel_pitch_mm-implausible"
ANY_PITCHES_MM = (0.15, 0.5)  # until it is known; one of them makes a film of any picture that is read
NO_MILLIMETRES = (
    "Nothing says how large the pixels are: the shape is without millimetres, as large as a usual {level}. Only its "
    "proportions and angles can be used. Give {{pixel_pitch_mm}} for more."
)
NO_SCALE = (
    "Nothing says how large the pixels of the {name} film are: click the body's four corners on both films, or give "
    "{{pixel_pitch_mm}}."
)
BY_OTHER_FILM = (
    "The {name} film does not say how large its pixels are: by its corners {level} is as high there as on the other "
    "film. Give {{pixel_pitch_mm}} if you know it."
)


def read_films_of(
    frontal: str | Path,
    lateral: str | Path,
    targets: Sequence[VertebraTarget],
    overrides: Sequence[Overrides] = (Overrides(), Overrides()),
    **pair: Any,
) -> SpineFilms:
    """As `read_spine_films`; films without a scale by the first target's corners, where it has those of both films."""
    try:
        return read_spine_films(frontal, lateral, overrides=overrides, **pair)
    except Refusal as refusal:
        if refusal.code != MISSING:
            raise
        if not targets or None in targets[0].corners:
            text = f"{refusal.text} With the body's corners on both films the shape comes without millimetres."
            raise Refusal(text, refusal.code) from refusal
    level, corners = targets[0].level, targets[0].corners
    read_as = list(zip((frontal, lateral), overrides, (SPINE_FRONTAL, SPINE_LATERAL), corners, strict=True))
    heights = [_height_mm(*film) for film in read_as]
    known = next((height for height in heights if height is not None), None)
    height_mm = published_mm("body_height_posterior_mm", level) if known is None else known
    scaled = [
        own if height is not None else replace(own, pixel_pitch_mm=_pitch_mm(path, own, subject, four, height_mm))
        for (path, own, subject, four), height in zip(read_as, heights, strict=True)
    ]
    films = read_spine_films(frontal, lateral, overrides=scaled, **pair)
    if known is None:
        source = Provenance("assumed", f"the body between its corners is taken to be as high as a usual {level}")
        warning = RadiographWarning("no-millimetres", NO_MILLIMETRES.format(level=level))
    else:
        source = Provenance("derived", f"the body of {level} between its corners is as high as on the other film")
        name = next(name for name, height in zip(FILMS, heights, strict=True) if height is None)
        warning = RadiographWarning("pixel_pitch_mm-derived", BY_OTHER_FILM.format(name=name, level=level))
    frontal_film, lateral_film = (
        film if height is not None else replace(film, geometry=_with_pitch_from(film.geometry, source))
        for film, height in zip(films.radiographs, heights, strict=True)
    )
    return replace(
        films,
        frontal=frontal_film,
        lateral=lateral_film,
        warnings=(warning, *films.warnings),
        in_millimetres=known is not None,
    )


def read_films_to_click(
    frontal: str | Path,
    lateral: str | Path,
    overrides: Sequence[Overrides] = (Overrides(), Overrides()),
    **pair: Any,
) -> SpineFilms:
    """As `read_spine_films`; where a film has no scale, not in millimetres: they are to be looked at and clicked."""
    try:
        return read_spine_films(frontal, lateral, overrides=overrides, **pair)
    except Refusal as refusal:
        if refusal.code != MISSING:
            raise
    scaled, warnings = [], []
    for path, own, subject, name in zip(
        (frontal, lateral), overrides, (SPINE_FRONTAL, SPINE_LATERAL), FILMS, strict=True
    ):
        try:
            read_film(path, own, subject)
        except Refusal as refusal:
            if refusal.code != MISSING:
                raise
            any_mm, _ = _any_pitch(path, own, subject)
            scaled.append(replace(own, pixel_pitch_mm=any_mm))
            warnings.append(RadiographWarning("no-scale", NO_SCALE.format(name=name)))
        else:
            scaled.append(own)
    films = read_spine_films(frontal, lateral, overrides=scaled, **pair)
    return replace(films, warnings=(*warnings, *films.warnings), in_millimetres=False)


def _height_mm(path: str | Path, own: Overrides, subject: FilmSubject, corners: Sequence[Pixel]) -> float | None:
    """Of the body on a film; None where that does not say how large its pixels are."""
    try:
        return body_height_mm(corners, read_film(path, own, subject).geometry)
    except Refusal as refusal:
        if refusal.code == MISSING:
            return None
        raise


def _pitch_mm(
    path: str | Path, own: Overrides, subject: FilmSubject, corners: Sequence[Pixel], height_mm: float
) -> float:
    """At the detector, of pixels with which the body would be so high."""
    any_mm, geometry = _any_pitch(path, own, subject)
    return any_mm * height_mm / body_height_mm(corners, geometry)


def _any_pitch(path: str | Path, own: Overrides, subject: FilmSubject) -> tuple[float, ProjectionGeometry]:
    """One with which a film without a scale can be read, mm, and its geometry then."""
    first_mm, second_mm = ANY_PITCHES_MM
    try:
        return first_mm, read_film(path, replace(own, pixel_pitch_mm=first_mm), subject).geometry
    except Refusal as refusal:
        if refusal.code != IMPLAUSIBLE:
            raise
    return second_mm, read_film(path, replace(own, pixel_pitch_mm=second_mm), subject).geometry


def _with_pitch_from(geometry: ProjectionGeometry, source: Provenance) -> ProjectionGeometry:
    return replace(geometry, provenance={**geometry.provenance, "pixel_pitch_mm": source})
