"""Two films of one spine and how they lie to each other, each value with where it came from.

    films = read_spine_films("ap.dcm", "lateral.dcm")
    films.pair.meeting([512, 300], [498, 410]).gap_mm

The angle between the films is a C-arm's, the user's, or 90 degrees where the second is a lateral. A lateral shows the
patient looking to its left or right: by that and by the tube's side, its rays have their place in the patient's frame.
"""

from __future__ import annotations

import filecmp
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from DualFaceReconLib.biplanar import FilmPair, PlacedFilm, placed
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import GIVEN_BY_USER, Known, Overrides, RadiographWarning
from DualFaceReconLib.film.dicom_header import identity, is_called_lateral, source_angle
from DualFaceReconLib.film.dicom_pixels import read_dataset
from DualFaceReconLib.film.orientation import FACING_LEFT, FACING_RIGHT
from DualFaceReconLib.film.radiograph import Radiograph, file_kind, read_film
from DualFaceReconLib.film.subject import SPINE_FRONTAL, SPINE_LATERAL
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance

FILMS = ("AP", "lateral")  # what the two are called, a film from behind and one from an angle among them
SAME_FILM = "Both films are the same picture: give an AP film and a lateral one."
LATERAL_DEGREES = 90.0
# Where columns grow to in films from the side, in the patient's frame: towards the front or the back
FACES = {"left": FACING_LEFT, "right": FACING_RIGHT}
COLUMNS_TO = {"L": (-1.0, 0.0), "R": (1.0, 0.0), "A": (0.0, 1.0), "P": (0.0, -1.0)}  # R and A of a unit vector


@dataclass(frozen=True, kw_only=True)
class SpineFilms:
    """An AP (or PA) film and a second one, as displayed."""

    frontal: Radiograph
    lateral: Radiograph
    source_angles: tuple[Known, Known]  # degrees from in front of the patient to each source, towards the left
    warnings: tuple[RadiographWarning, ...]  # of both films, then of the pair
    in_millimetres: bool = True  # False where the pixels' size is only that of a usual vertebra

    @property
    def radiographs(self) -> tuple[Radiograph, Radiograph]:
        """Both, the frontal one first."""
        return self.frontal, self.lateral

    @cached_property
    def pair(self) -> FilmPair:
        """Both in the patient's frame."""
        films = zip(self.radiographs, self.source_angles, strict=True)
        return FilmPair(*(placed_film(film, angle.value) for film, angle in films))

    def ijk_to_ras(self) -> tuple[np.ndarray, np.ndarray]:
        """(4, 4) each from [column, row, slice] of a film at its detector to the patient's frame."""
        matrices = []
        for film, place in zip(self.radiographs, (self.pair.first, self.pair.second), strict=True):
            to_patient = np.eye(4)
            to_patient[:3, :3] = place.rotation.T
            to_patient[:3, 3] = place.to_patient(np.zeros(3))
            matrices.append(to_patient @ film.geometry.ijk_to_ras())
        return matrices[0], matrices[1]

    @property
    def angle(self) -> Known:
        """Degrees between the two, 0 to 180, as sure as the second one's place is."""
        first, second = self.source_angles
        return Known(abs(_turned(second.value - first.value)), second.provenance)


def placed_film(radiograph: Radiograph, source_degrees: float) -> PlacedFilm:
    """A film whose source is so many degrees from in front of the patient, towards the left."""
    return place_of(radiograph.geometry, source_degrees)


def place_of(geometry: ProjectionGeometry, source_degrees: float) -> PlacedFilm:
    """The same of a film's geometry."""
    behind = geometry.view == "PA"  # shown as from opposite its source
    return placed(geometry, _turned(source_degrees - 180.0) if behind else source_degrees)


def read_spine_films(
    frontal: str | Path,
    lateral: str | Path,
    *,
    overrides: Sequence[Overrides] = (Overrides(), Overrides()),
    angle_degrees: float | None = None,
    lateral_faces: str | None = None,
    same_patient: bool = False,
) -> SpineFilms:
    """Reads both films; what is given wins over their files, and a Refusal says what does not fit.

    `overrides` of the frontal and of the lateral film; `angle_degrees` between them; `lateral_faces`: "left" or
    "right", where the patient looks in the lateral picture; `same_patient`: whatever ids the headers have.
    """
    paths = Path(frontal), Path(lateral)
    if all(path.is_file() for path in paths) and filecmp.cmp(*paths, shallow=False):
        raise Refusal(SAME_FILM, "same-film")  # before its view is found to be the wrong one for either
    if not same_patient:
        _refuse_other_patient(paths)
    films = []
    for path, name, own, subject in zip(paths, FILMS, overrides, (SPINE_FRONTAL, SPINE_LATERAL), strict=True):
        try:
            films.append(read_film(path, own, subject))
        except Refusal as refusal:
            raise Refusal(f"The {name} film: {refusal.text}", refusal.code, **refusal.values) from refusal
    angles = [_header_angle(path) for path in paths]
    lateral_by_name = file_kind(paths[1]) == "DICOM" and is_called_lateral(read_dataset(paths[1], with_pixels=False))
    return paired(
        *films,
        header_angles=(angles[0], angles[1]),
        angle_degrees=angle_degrees,
        lateral_faces=lateral_faces,
        called_lateral=lateral_by_name,
    )


def paired(
    frontal: Radiograph,
    lateral: Radiograph,
    *,
    header_angles: tuple[Known | None, Known | None] = (None, None),
    angle_degrees: float | None = None,
    lateral_faces: str | None = None,
    called_lateral: bool = False,
) -> SpineFilms:
    """Two films that are read, as a pair. `header_angles` of the two sources, as `film.dicom_header.source_angle`."""
    if frontal.pixel_hash == lateral.pixel_hash:
        raise Refusal(SAME_FILM, "same-film")
    lateral = _facing(lateral, lateral_faces)
    first = header_angles[0] or Known(0.0 if frontal.geometry.view == "AP" else 180.0, _view_provenance(frontal))
    if (first.value == 0.0) != (frontal.geometry.view == "AP") and abs(first.value) in (0.0, 180.0):
        first = Known(0.0 if frontal.geometry.view == "AP" else 180.0, _view_provenance(frontal))  # the user's view
    second, warnings = _second_angle(first, header_angles[1], angle_degrees, lateral, called_lateral)
    shown_from_source = _shown_from_source(second.value, lateral)
    view = "AP" if shown_from_source else "PA"
    came_from = Provenance("derived", "which way the patient looks in it, and where its tube was")
    geometry = lateral.geometry
    lateral = replace(
        lateral,
        geometry=replace(geometry, view=view, provenance={**geometry.provenance, "view": came_from}),
    )
    named = [
        RadiographWarning(warning.code, f"{name} film: {warning.text}", warning.values)
        for name, film in zip(FILMS, (frontal, lateral), strict=True)
        for warning in film.warnings
    ]
    return SpineFilms(frontal=frontal, lateral=lateral, source_angles=(first, second), warnings=(*named, *warnings))


def _second_angle(
    first: Known, header: Known | None, angle_degrees: float | None, lateral: Radiograph, called_lateral: bool
) -> tuple[Known, list[RadiographWarning]]:
    """Where the second film's source was, in degrees, and what had to be assumed of that."""
    if angle_degrees is not None and not (math.isfinite(angle_degrees) and 0 < angle_degrees < 180):
        raise Refusal(f"An angle of {angle_degrees:g} degrees between the films cannot be: give 0 to 180.")
    between = LATERAL_DEGREES if angle_degrees is None else angle_degrees
    sides = [_turned(first.value + sign * between) for sign in (1.0, -1.0)]
    if header is not None and angle_degrees is None:
        return Known(_turned(header.value), header.provenance), []
    if header is not None:
        nearest = min(sides, key=lambda side: abs(_turned(side - header.value)))
        return Known(nearest, GIVEN_BY_USER), []
    # as if it were shown from the tube, which of two sides does that
    shown = next((side for side in sides if _shown_from_source(side, lateral)), sides[0])
    warnings = [
        RadiographWarning(
            "lateral-side-assumed",
            "Nothing says whether the lateral film's tube was at the patient's left or right: the picture is taken to "
            "be shown as from the tube. Otherwise the vertebra's two sides are magnified the other way, by percents.",
        )
    ]
    if angle_degrees is not None:
        return Known(shown, GIVEN_BY_USER), warnings
    if called_lateral:
        return Known(shown, Provenance("derived", "the header calls the second film lateral: 90 degrees")), warnings
    assumed = RadiographWarning(
        "angle_degrees-assumed",
        "Nothing says at which angle both films were taken: 90 degrees is assumed. Give the true angle if it is known.",
    )
    return Known(shown, Provenance("assumed", "a lateral film is at right angles to an AP")), [assumed, *warnings]


def _shown_from_source(source_degrees: float, lateral: Radiograph) -> bool:
    """Whether a picture is seen as from its source: then its columns grow as the patient's left turns with it."""
    to = COLUMNS_TO.get(lateral.orientation.value[0], COLUMNS_TO["P"])
    turned = math.radians(source_degrees)
    columns = (-math.cos(turned), -math.sin(turned))  # R and A
    return bool(np.dot(columns, to) >= 0)


def _facing(lateral: Radiograph, faces: str | None) -> Radiograph:
    """The film with the patient looking where the user says."""
    if faces is None:
        return lateral
    if faces not in FACES:
        raise Refusal(f"The patient looks to the left or to the right of the lateral film, not {faces!r}.")
    warnings = tuple(warning for warning in lateral.warnings if warning.code != "orientation-assumed")
    return replace(lateral, orientation=Known(FACES[faces], GIVEN_BY_USER), warnings=warnings)


def _refuse_other_patient(paths: Sequence[Path]) -> None:
    """Refusal where both headers have an id, and not the same."""
    ids = []
    for path in paths:
        if file_kind(path) == "DICOM":
            ids.append(identity(read_dataset(path, with_pixels=False)).get("PatientID", "").strip())
    if len(ids) == 2 and all(ids) and ids[0] != ids[1]:
        raise Refusal(
            "The two films have different Patient IDs: choose films of one patient, or say that they are.",
            "other-patient",
        )


def _header_angle(path: Path) -> Known | None:
    return source_angle(read_dataset(path, with_pixels=False)) if file_kind(path) == "DICOM" else None


def _view_provenance(frontal: Radiograph) -> Provenance:
    return frontal.geometry.provenance["view"]


def _turned(degrees: float) -> float:
    """Degrees within -180 to 180."""
    return (degrees + 180.0) % 360.0 - 180.0
