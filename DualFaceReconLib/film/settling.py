"""What a film's header says, what the user says and what has to be assumed, settled into one geometry.

`settle` turns the picture so that columns grow towards the patient's left and rows towards the feet, and warns of every
value that nobody gave.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Acquisition, Known, Overrides, RadiographWarning, Warn, given_by_user
from DualFaceReconLib.film.limits import check_field, check_pitch, check_size, check_source_distance
from DualFaceReconLib.film.object_distance import object_distance
from DualFaceReconLib.film.orientation import FACING_LEFT, FACING_VIEWER, SIDES_SWAPPED, Turn, turn_for
from DualFaceReconLib.film.subject import HIPS, FilmSubject
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The outcome of `settle`."""

    geometry: ProjectionGeometry
    orientation: Known
    turn: Turn
    collimation_px: Known | None
    warnings: list[RadiographWarning]


def settle(acquisition: Acquisition, overrides: Overrides, subject: FilmSubject = HIPS) -> Settled:
    """File, user and assumptions joined into one geometry of the displayed picture."""
    warnings = list(acquisition.warnings)

    def warn(code: str, text: str, **values: Any) -> None:
        warnings.append(RadiographWarning(code, text, values))

    check_size(acquisition.size_px)
    sdd = _first(given_by_user(overrides.sdd_mm), acquisition.sdd_mm) or Known(subject.sdd_mm, subject.sdd)
    check_source_distance(sdd)
    if sdd.provenance.kind == "assumed":
        warn(
            "sdd_mm-assumed",
            f"The file does not say how far the source was from the detector: {sdd.value:g} mm is assumed. "
            "Give it with {sdd_mm}; 100 mm more make the bones about 1.5 % larger.",
            sdd_mm=sdd.value,
        )

    distance = object_distance(acquisition, overrides, sdd, warn, subject)
    pitch = _pixel_pitch(acquisition, overrides, sdd, distance, warn)
    check_field(acquisition.size_px, pitch, subject)

    principal = acquisition.principal_point_px
    if principal is None:
        centre = tuple((n - 1) / 2 for n in acquisition.size_px)
        principal = Known(centre, Provenance("assumed", "the picture's centre"))
        warn(
            "principal_point_px-assumed",
            "The file does not say where the central ray met the detector: the picture's centre is assumed. "
            "If the film was cropped off-centre, the bones stand sheared by the offset.",
        )

    view = _view(acquisition, overrides, warn, subject)
    orientation, turn = _orientation(acquisition, overrides, warn, subject)
    stored = ProjectionGeometry(
        sdd_mm=sdd.value,
        pixel_pitch_mm=pitch.value,
        size_px=acquisition.size_px,
        principal_point_px=principal.value,
        view=view.value,
        object_distance_mm=distance.value,
        provenance={
            "sdd_mm": sdd.provenance,
            "pixel_pitch_mm": pitch.provenance,
            "size_px": Provenance("header", "the stored picture"),
            "principal_point_px": principal.provenance,
            "view": view.provenance,
            "object_distance_mm": distance.provenance,
        },
    )
    geometry = turn.geometry(stored)
    collimation = acquisition.collimation_px
    if collimation is not None:
        collimation = Known(turn.box(collimation.value, geometry.size_px), collimation.provenance)
    return Settled(geometry=geometry, orientation=orientation, turn=turn, collimation_px=collimation, warnings=warnings)


def _pixel_pitch(
    acquisition: Acquisition, overrides: Overrides, sdd: Known, object_distance: Known, warn: Warn
) -> Known:
    given, length = overrides.pixel_pitch_mm, overrides.length
    if given is not None and np.ndim(given) == 0:
        given = (given, given)
    pitch = _first(given_by_user(given), acquisition.pixel_pitch_mm)
    if length is not None and length.at == "detector":
        if given is not None:
            raise Refusal("Both a pixel pitch and a length at the detector are given: leave one of them out.")
        pitch = Known(length.pitch_mm(1.0), Provenance("user", str(length)))
    elif length is not None and pitch is None:
        magnification = sdd.value / (sdd.value - object_distance.value)
        formula = f"{length}: times sdd / (sdd - object distance)"
        pitch = Known(length.pitch_mm(magnification), Provenance("derived", formula))
    calibrated = acquisition.patient_plane_pitch_mm
    if pitch is None and calibrated is not None:
        to_detector = sdd.value / (sdd.value - object_distance.value)
        pitch = Known(
            tuple(p * to_detector for p in calibrated.value),
            Provenance(
                "derived",
                f"{calibrated.provenance.source} is calibrated to the patient: times sdd / (sdd - object distance)",
            ),
        )
        warn(
            "pixel_pitch_mm-calibrated",
            "The file's PixelSpacing is calibrated to the patient's plane, and the detector's own pitch is missing: "
            "it is derived with the object distance. Give it with {pixel_pitch_mm} if you know it.",
            pixel_pitch_mm=pitch.value,
        )
    if pitch is None:
        raise Refusal(
            "The file does not say how large its pixels are: give the detector's pixel pitch in mm with "
            "{pixel_pitch_mm} (dpi is not used, because it describes a print or a screen).",
            "pixel_pitch_mm-missing",
        )
    check_pitch(pitch)
    if pitch.provenance.kind == "assumed":
        warn(
            "pixel_pitch_mm-assumed",
            f"The pixel pitch is uncertain: {pitch.provenance.source}. Check {{pixel_pitch_mm}}.",
            pixel_pitch_mm=pitch.value,
        )
    return pitch


def _view(acquisition: Acquisition, overrides: Overrides, warn: Warn, subject: FilmSubject) -> Known:
    if overrides.view not in (None, "AP", "PA"):
        raise Refusal(f"The view must be AP or PA, not {overrides.view!r}.")
    view = _first(given_by_user(overrides.view), acquisition.view)
    if view is None and subject.sideways:  # settled with the other film
        return Known("AP", Provenance("assumed", "shown as from the X-ray source"))
    if view is None:
        view = Known("AP", Provenance("assumed", f"{subject.name} films are usually AP"))
        warn(
            "view-assumed",
            "The file does not say from which side the film was taken: AP is assumed. If it was PA, front and back "
            "are exchanged; say {view=PA}.",
        )
    return view


def _orientation(
    acquisition: Acquisition, overrides: Overrides, warn: Warn, subject: FilmSubject
) -> tuple[Known, Turn]:
    known = acquisition.orientation
    if overrides.swap_sides:
        turn = turn_for(FACING_VIEWER if known is None else known.value)
        was = "the file does not say" if known is None else f"the file says {known.value}"
        swapped = Known(SIDES_SWAPPED, Provenance("user", f"swapped by the user; {was}"))
        return swapped, replace(turn, reverse_cols=not turn.reverse_cols)
    if known is None and subject.sideways:
        known = Known(FACING_LEFT, Provenance("assumed", "the patient is taken to look to the picture's left"))
        warn(
            "orientation-assumed",
            "The lateral film does not say which way the patient looks: to the left of the picture is assumed. Say it "
            "where that is wrong.",
        )
    if known is None:
        known = Known(FACING_VIEWER, Provenance("assumed", "shown as if facing the patient"))
        warn(
            "orientation-assumed",
            "The file does not say which side is which: the patient's left is taken to be on the right of the picture. "
            "Compare with the film's own R or L marker; say {swap_sides} if it is wrong.",
        )
    turn = turn_for(known.value)
    if turn != Turn():
        upright = "stands upright" if subject.sideways else "faces the viewer (L\\F)"
        warn("orientation-turned", f"The stored picture ({known.value}) was turned so that it {upright}.")
    return known, turn


def _first(*candidates: Known | None) -> Known | None:
    return next((known for known in candidates if known is not None), None)
