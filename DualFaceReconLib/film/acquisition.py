"""How a film was taken: what the file says, what the user says, what has to be assumed, and what is refused.

`Acquisition` holds what one file's header tells, each value with its provenance and in the order of the stored
pixels. `settle` joins it with the user's values, turns the picture so that columns grow towards the patient's left
and rows towards the feet, assumes what nobody gave, and warns of every assumption.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance

SIDE_LIMITS_PX = (256, 10_000)
PITCH_LIMITS_MM = (0.02, 2.0)
DISTANCE_LIMITS_MM = (500.0, 3000.0)
FIELD_LIMITS_MM = (80.0, 1300.0)  # the picture's longer side: one hip alone up to a whole-leg film

# Hip films are taken at 1000 to 1200 mm; Clohisy et al., J Bone Joint Surg Am 90 Suppl 4:47 (2008), ask for 1200.
ASSUMED_SDD = Provenance("assumed", "the middle of the usual 1000 to 1200 mm for hip films", spread=60.0)
ASSUMED_SDD_MM = 1100.0

# Magnification of the hip on routine films: 119.8 % (117 to 123.4) in Brew et al., J Arthroplasty 27:643 (2012),
# 121 % in Franken et al., J Bone Joint Surg Br 92:1345 (2010), 114 +- 4 % in Wangjiraphan et al., Lampang Med J
# (2019). At 1150 mm these are 190, 200 and 142 mm from the detector.
POPULATION_OBJECT_DISTANCE_MM = 180.0
POPULATION_OBJECT_DISTANCE = Provenance(
    "assumed",
    "population mean from published hip magnifications of 114 to 121 % (Brew 2012, Franken 2010, Wangjiraphan 2019)",
    spread=35.0,
)
# Height of the hips above the table: 0.45 of the body's thickness there in CT (King et al., J Bone Joint Surg Br
# 91:1217, 2009), adults being 180 to 280 mm thick at the hips.
TABLE_TO_BONES_MM = 100.0
TABLE_TO_BONES_SPREAD_MM = 20.0
ISOCENTRE_SPREAD_MM = 40.0
FACING_VIEWER, SIDES_SWAPPED = "L\\F", "sides swapped"  # an orientation as shown, and one the user turned round
NEAREST_BONES_MM, FARTHEST_BONES_SHARE = 50.0, 0.5  # from the detector; the farther one as a share of sdd


@dataclass(frozen=True)
class RadiographWarning:
    """Something about a film that its reader must see."""

    code: str  # short and stable, for programs
    text: str  # one or two sentences, for people


Warn = Callable[[str, str], None]  # code, text


@dataclass(frozen=True)
class Known:
    """A value and where it came from."""

    value: Any
    provenance: Provenance


@dataclass(kw_only=True)
class Acquisition:
    """What a file tells about its film, in stored pixel order; None where it tells nothing."""

    size_px: tuple[int, int]  # [rows, cols]
    pixel_pitch_mm: Known | None = None  # [row, col] at the detector
    patient_plane_pitch_mm: Known | None = None  # [row, col] calibrated to the patient, when that is all there is
    sdd_mm: Known | None = None
    principal_point_px: Known | None = None  # [row, col]
    view: Known | None = None  # "AP" or "PA"
    orientation: Known | None = None  # where columns and rows grow to, e.g. "L\\F"
    depth_share: Known | None = None  # of the bones: source to bones / source to detector
    source_to_table_mm: Known | None = None  # to the table's or bucky's side that is next to the patient
    source_to_isocentre_mm: Known | None = None  # of a C-arm
    collimation_px: Known | None = None  # first row, last row, first col, last col
    warnings: list[RadiographWarning] = field(default_factory=list)

    def warn(self, code: str, text: str) -> None:
        self.warnings.append(RadiographWarning(code, text))


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the user says; each wins over the file."""

    pixel_pitch_mm: float | tuple[float, float] | None = None  # at the detector, [row, col] or one for both
    sdd_mm: float | None = None
    object_distance_mm: float | None = None  # detector to the bones' centre
    view: str | None = None
    swap_sides: bool = False  # mirror the picture: patient's left and right were exchanged
    invert: bool = False  # bone is dark in the file


@dataclass(frozen=True, kw_only=True)
class Turn:
    """How stored pixels become the displayed picture: transposed first, then reversed."""

    transpose: bool = False
    reverse_rows: bool = False
    reverse_cols: bool = False

    def pixels(self, stored: np.ndarray) -> np.ndarray:
        """(rows, cols) turned; a view."""
        turned = stored.T if self.transpose else stored
        return turned[:: -1 if self.reverse_rows else 1, :: -1 if self.reverse_cols else 1]

    def geometry(self, stored: ProjectionGeometry) -> ProjectionGeometry:
        turned = stored.transposed() if self.transpose else stored
        return turned.flipped(rows=self.reverse_rows, cols=self.reverse_cols)

    def box(self, stored: tuple[int, int, int, int], size_px: tuple[int, int]) -> tuple[int, int, int, int]:
        """First row, last row, first col, last col; `size_px` is the turned picture's."""
        first_row, last_row, first_col, last_col = (stored[i] for i in ((2, 3, 0, 1) if self.transpose else range(4)))
        if self.reverse_rows:
            first_row, last_row = size_px[0] - 1 - last_row, size_px[0] - 1 - first_row
        if self.reverse_cols:
            first_col, last_col = size_px[1] - 1 - last_col, size_px[1] - 1 - first_col
        return first_row, last_row, first_col, last_col


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The outcome of `settle`."""

    geometry: ProjectionGeometry
    orientation: Known
    turn: Turn
    collimation_px: Known | None
    warnings: list[RadiographWarning]


def settle(acquisition: Acquisition, overrides: Overrides) -> Settled:
    """File, user and assumptions joined into one geometry of the displayed picture."""
    warnings = list(acquisition.warnings)

    def warn(code: str, text: str) -> None:
        warnings.append(RadiographWarning(code, text))

    check_size(acquisition.size_px)
    sdd = _first(_given(overrides.sdd_mm), acquisition.sdd_mm) or Known(ASSUMED_SDD_MM, ASSUMED_SDD)
    check_source_distance(sdd)
    if sdd.provenance.kind == "assumed":
        warn(
            "sdd_mm-assumed",
            f"The file does not say how far the source was from the detector: {sdd.value:g} mm is assumed. "
            "Give it with --sdd; 100 mm more make the bones about 1.5 % larger.",
        )

    object_distance = _object_distance(acquisition, overrides, sdd, warn)
    pitch = _pixel_pitch(acquisition, overrides, sdd, object_distance, warn)
    _check_field(acquisition.size_px, pitch)

    principal = acquisition.principal_point_px
    if principal is None:
        centre = tuple((n - 1) / 2 for n in acquisition.size_px)
        principal = Known(centre, Provenance("assumed", "the picture's centre"))
        warn(
            "principal_point_px-assumed",
            "The file does not say where the central ray met the detector: the picture's centre is assumed. "
            "If the film was cropped off-centre, the bones stand sheared by the offset.",
        )

    view = _view(acquisition, overrides, warn)
    orientation, turn = _orientation(acquisition, overrides, warn)
    stored = ProjectionGeometry(
        sdd_mm=sdd.value,
        pixel_pitch_mm=pitch.value,
        size_px=acquisition.size_px,
        principal_point_px=principal.value,
        view=view.value,
        object_distance_mm=object_distance.value,
        provenance={
            "sdd_mm": sdd.provenance,
            "pixel_pitch_mm": pitch.provenance,
            "size_px": Provenance("header", "the stored picture"),
            "principal_point_px": principal.provenance,
            "view": view.provenance,
            "object_distance_mm": object_distance.provenance,
        },
    )
    geometry = turn.geometry(stored)
    collimation = acquisition.collimation_px
    if collimation is not None:
        collimation = Known(turn.box(collimation.value, geometry.size_px), collimation.provenance)
    return Settled(geometry=geometry, orientation=orientation, turn=turn, collimation_px=collimation, warnings=warnings)


def check_size(size_px: tuple[int, int]) -> None:
    """Refuses pictures too small to show a hip and too large to be one."""
    low, high = SIDE_LIMITS_PX
    if min(size_px) < low:
        raise Refusal(
            f"The picture is {size_px[0]} x {size_px[1]} pixels, which is too small to measure a bone: "
            f"use the original of at least {low} pixels a side."
        )
    if max(size_px) > high:
        raise Refusal(
            f"The picture is {size_px[0]} x {size_px[1]} pixels, beyond the {high} a side that are read: "
            "scale it down and give the new --pixel-pitch."
        )


def _given(value: Any) -> Known | None:
    return None if value is None else Known(value, Provenance("user", "given by the user"))


def _first(*candidates: Known | None) -> Known | None:
    return next((known for known in candidates if known is not None), None)


def check_source_distance(sdd: Known) -> None:
    """Refuses distances from source to detector at which no hip film is taken."""
    low, high = DISTANCE_LIMITS_MM
    if not (math.isfinite(sdd.value) and low <= sdd.value <= high):
        raise Refusal(
            f"The source-detector distance of {sdd.value:g} mm ({sdd.provenance}) cannot be right: "
            f"give the true one, {low:g} to {high:g} mm, with --sdd."
        )


def check_object_distance(object_distance_mm: float, sdd_mm: float) -> None:
    """Refuses distances from the detector at which no patient can be."""
    if not (math.isfinite(object_distance_mm) and 0 <= object_distance_mm <= 0.6 * sdd_mm):
        raise Refusal(
            f"An object distance of {object_distance_mm:g} mm cannot be right: it is the distance from the detector to "
            f"the bones' centre, 0 to {0.6 * sdd_mm:.0f} mm for this film."
        )


def _object_distance(acquisition: Acquisition, overrides: Overrides, sdd: Known, warn: Warn) -> Known:
    """The ladder of the depth: the user, a calibration, the table or the isocentre, the population."""
    given = _given(overrides.object_distance_mm)
    if given is not None:
        check_object_distance(given.value, sdd.value)
        return given
    known = _header_object_distance(acquisition, sdd.value)
    nearest, farthest = NEAREST_BONES_MM, FARTHEST_BONES_SHARE * sdd.value
    if known is not None and nearest <= known.value <= farthest:
        if acquisition.source_to_isocentre_mm is not None and acquisition.depth_share is None:
            warn(
                "object_distance_mm-isocentre",
                "The bones are taken to be at the C-arm's isocentre, which holds only if the hip was centred there.",
            )
        return known
    if known is not None:
        warn(
            "object_distance_mm-implausible",
            f"The header puts the bones {known.value:.0f} mm from the detector ({known.provenance}), "
            f"outside of {nearest:g} to {farthest:.0f} mm: it is not used.",
        )
    assumed, warning = assumed_object_distance(sdd.value, _lengths_are_calibrated(acquisition, overrides))
    warn(warning.code, warning.text)
    return assumed


def assumed_object_distance(sdd_mm: float, lengths_are_calibrated: bool) -> tuple[Known, RadiographWarning]:
    """The population's distance for a film of which nobody knows it, and the warning that goes with it."""
    spread = POPULATION_OBJECT_DISTANCE.spread
    if lengths_are_calibrated:
        effect = "the bones' lengths follow the calibration, their place in depth is uncertain"
    else:
        effect = f"every length is uncertain by {100 * spread / (sdd_mm - POPULATION_OBJECT_DISTANCE_MM):.1f} %"
    warning = RadiographWarning(
        "object_distance_mm-assumed",
        f"Nothing says how far the bones were from the detector: {POPULATION_OBJECT_DISTANCE_MM:g} +- {spread:g} mm is "
        f"assumed; {effect}. Give it with --object-distance.",
    )
    return Known(POPULATION_OBJECT_DISTANCE_MM, POPULATION_OBJECT_DISTANCE), warning


def _header_object_distance(acquisition: Acquisition, sdd: float) -> Known | None:
    """What the file's distances say, with the source-detector distance that holds in the end."""
    share, table, isocentre = (
        acquisition.depth_share,
        acquisition.source_to_table_mm,
        acquisition.source_to_isocentre_mm,
    )
    if share is not None:
        formula = f"sdd * (1 - {share.provenance.source})"
        return Known(sdd * (1 - share.value), Provenance("derived", formula))
    if table is not None and table.value < sdd:
        formula = f"sdd - {table.provenance.source} + {TABLE_TO_BONES_MM:g} mm from table to bones (King 2009)"
        return Known(sdd - table.value + TABLE_TO_BONES_MM, Provenance("derived", formula, TABLE_TO_BONES_SPREAD_MM))
    if table is not None:  # behind the detector: a negative distance, which the caller says and does not use
        return Known(sdd - table.value, Provenance("derived", f"sdd - {table.provenance.source}"))
    if isocentre is not None:
        formula = f"sdd - {isocentre.provenance.source}, the isocentre in RF and XA"
        return Known(sdd - isocentre.value, Provenance("derived", formula, ISOCENTRE_SPREAD_MM))
    return None


def _lengths_are_calibrated(acquisition: Acquisition, overrides: Overrides) -> bool:
    """Whether the pitch will come from a calibration at the bones, so that the depth does not scale them."""
    detector_pitch = overrides.pixel_pitch_mm is not None or acquisition.pixel_pitch_mm is not None
    return acquisition.patient_plane_pitch_mm is not None and not detector_pitch


def _pixel_pitch(
    acquisition: Acquisition, overrides: Overrides, sdd: Known, object_distance: Known, warn: Warn
) -> Known:
    given = overrides.pixel_pitch_mm
    if given is not None and np.ndim(given) == 0:
        given = (given, given)
    pitch = _first(_given(given), acquisition.pixel_pitch_mm)
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
            "it is derived with the object distance. Give it with --pixel-pitch if you know it.",
        )
    if pitch is None:
        raise Refusal(
            "The file does not say how large its pixels are: give the detector's pixel pitch in mm with --pixel-pitch "
            "(dpi is not used, because it describes a print or a screen)."
        )
    low, high = PITCH_LIMITS_MM
    if not all(math.isfinite(p) and low <= p <= high for p in pitch.value) or max(pitch.value) > 2 * min(pitch.value):
        shown = " x ".join(f"{p:g}" for p in pitch.value)
        raise Refusal(
            f"A pixel pitch of {shown} mm ({pitch.provenance}) cannot be right for a radiograph: "
            f"give the true one, {low:g} to {high:g} mm, with --pixel-pitch."
        )
    if pitch.provenance.kind == "assumed":
        warn("pixel_pitch_mm-assumed", f"The pixel pitch is uncertain: {pitch.provenance.source}. Check --pixel-pitch.")
    return pitch


def _check_field(size_px: tuple[int, int], pitch: Known) -> None:
    longer = max(n * p for n, p in zip(size_px, pitch.value, strict=True))
    low, high = FIELD_LIMITS_MM
    if not low <= longer <= high:
        raise Refusal(
            f"With this pixel pitch ({pitch.provenance}) the picture would be {longer:.0f} mm long, which no hip film "
            "is: was it scaled after it was taken? Give the pitch of these pixels with --pixel-pitch."
        )


def _view(acquisition: Acquisition, overrides: Overrides, warn: Warn) -> Known:
    if overrides.view not in (None, "AP", "PA"):
        raise Refusal(f"The view must be AP or PA, not {overrides.view!r}.")
    view = _first(_given(overrides.view), acquisition.view)
    if view is None:
        view = Known("AP", Provenance("assumed", "hip films are usually AP"))
        warn(
            "view-assumed",
            "The file does not say from which side the film was taken: AP is assumed. If it was PA, front and back "
            "are exchanged; say --view PA.",
        )
    return view


def _orientation(acquisition: Acquisition, overrides: Overrides, warn: Warn) -> tuple[Known, Turn]:
    known = acquisition.orientation
    if overrides.swap_sides:
        turn = turn_for(FACING_VIEWER if known is None else known.value)
        was = "the file does not say" if known is None else f"the file says {known.value}"
        swapped = Known(SIDES_SWAPPED, Provenance("user", f"swapped by the user; {was}"))
        return swapped, replace(turn, reverse_cols=not turn.reverse_cols)
    if known is None:
        known = Known(FACING_VIEWER, Provenance("assumed", "shown as if facing the patient"))
        warn(
            "orientation-assumed",
            "The file does not say which side is which: the patient's left is taken to be on the right of the picture. "
            "Compare with the film's own R or L marker; say --swap-sides if it is wrong.",
        )
    turn = turn_for(known.value)
    if known.value != FACING_VIEWER:
        warn("orientation-turned", f"The stored picture ({known.value}) was turned so that it faces the viewer (L\\F).")
    return known, turn


def turn_for(orientation: str) -> Turn:
    """The turn that brings a picture whose columns and rows grow towards e.g. "R\\F" to "L\\F"."""
    cols_to, rows_to = orientation.split("\\")
    if cols_to in "HF":
        return Turn(transpose=True, reverse_rows=cols_to == "H", reverse_cols=rows_to == "R")
    return Turn(transpose=False, reverse_rows=rows_to == "H", reverse_cols=cols_to == "R")
