"""How far the bones were from the detector: the user, a calibration, the table, the isocentre, or the population."""

from __future__ import annotations

import math

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Acquisition, Known, Overrides, RadiographWarning, Warn, given_by_user
from DualFaceReconLib.film.subject import HIPS, FilmSubject
from DualFaceReconLib.geometry import Provenance

ISOCENTRE_SPREAD_MM = 40.0
NEAREST_BONES_MM, FARTHEST_BONES_SHARE = 50.0, 0.5  # from the detector; the farther one as a share of sdd


def object_distance(
    acquisition: Acquisition, overrides: Overrides, sdd: Known, warn: Warn, subject: FilmSubject = HIPS
) -> Known:
    """The ladder of the depth: the user, a calibration, the table or the isocentre, the population."""
    given = given_by_user(overrides.object_distance_mm)
    if given is not None:
        check_object_distance(given.value, sdd.value)
        return given
    known = _header_object_distance(acquisition, sdd.value, subject)
    nearest, farthest = NEAREST_BONES_MM, FARTHEST_BONES_SHARE * sdd.value
    if known is not None and nearest <= known.value <= farthest:
        if acquisition.source_to_isocentre_mm is not None and acquisition.depth_share is None:
            warn(
                "object_distance_mm-isocentre",
                "The bones are taken to be at the C-arm's isocentre, which holds only if the "
                f"{subject.name} was centred there.",
            )
        return known
    if known is not None:
        warn(
            "object_distance_mm-implausible",
            f"The header puts the bones {known.value:.0f} mm from the detector ({known.provenance}), "
            f"outside of {nearest:g} to {farthest:.0f} mm: it is not used.",
            object_distance_mm=known.value,
        )
    assumed, warning = assumed_object_distance(sdd.value, _lengths_are_calibrated(acquisition, overrides), subject)
    warn(warning.code, warning.text, **warning.values)
    return assumed


def assumed_object_distance(
    sdd_mm: float, lengths_are_calibrated: bool, subject: FilmSubject = HIPS
) -> tuple[Known, RadiographWarning]:
    """The population's distance for a film of which nobody knows it, and the warning that goes with it."""
    distance_mm, spread = subject.object_distance_mm, subject.object_distance.spread
    if lengths_are_calibrated:
        effect = "the bones' lengths follow the calibration, their place in depth is uncertain"
    else:
        effect = f"every length is uncertain by {100 * spread / (sdd_mm - distance_mm):.1f} %"
    warning = RadiographWarning(
        "object_distance_mm-assumed",
        f"Nothing says how far the bones were from the detector: {distance_mm:g} +- {spread:g} mm is "
        f"assumed; {effect}. Give it with {{object_distance_mm}}.",
        {"object_distance_mm": distance_mm, "spread_mm": spread},
    )
    return Known(distance_mm, subject.object_distance), warning


def check_object_distance(object_distance_mm: float, sdd_mm: float) -> None:
    """Refuses distances from the detector at which no patient can be."""
    if not (math.isfinite(object_distance_mm) and 0 <= object_distance_mm <= 0.6 * sdd_mm):
        raise Refusal(
            f"An object distance of {object_distance_mm:g} mm cannot be right: it is the distance from the detector to "
            f"the bones' centre, 0 to {0.6 * sdd_mm:.0f} mm for this film.",
            "object_distance_mm-implausible",
            limits_mm=(0.0, 0.6 * sdd_mm),
        )


def _header_object_distance(acquisition: Acquisition, sdd: float, subject: FilmSubject) -> Known | None:
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
        to_bones, source = subject.table_to_bones_mm, subject.table_to_bones
        formula = f"sdd - {table.provenance.source} + {to_bones:g} mm from table to bones ({source.source})"
        return Known(sdd - table.value + to_bones, Provenance("derived", formula, source.spread))
    if table is not None:  # behind the detector: a negative distance, which the caller warns of and does not use
        return Known(sdd - table.value, Provenance("derived", f"sdd - {table.provenance.source}"))
    if isocentre is not None:
        formula = f"sdd - {isocentre.provenance.source}, the isocentre in RF and XA"
        return Known(sdd - isocentre.value, Provenance("derived", formula, ISOCENTRE_SPREAD_MM))
    return None


def _lengths_are_calibrated(acquisition: Acquisition, overrides: Overrides) -> bool:
    """Whether the pitch will come from a calibration at the bones, so that the depth does not scale them."""
    at = None if overrides.length is None else overrides.length.at
    detector_pitch = overrides.pixel_pitch_mm is not None or acquisition.pixel_pitch_mm is not None or at == "detector"
    return (acquisition.patient_plane_pitch_mm is not None or at == "bones") and not detector_pitch
