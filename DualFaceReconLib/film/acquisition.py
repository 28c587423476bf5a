"""What a film's header says of how it was taken, and what the user says; each value with where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from DualFaceReconLib.film.lengths import Length
from DualFaceReconLib.geometry import Provenance

GIVEN_BY_USER = Provenance("user", "given by the user")


@dataclass(frozen=True)
class RadiographWarning:
    """Something about a film that its reader must see."""

    code: str  # short and stable, for programs
    text: str  # one or two sentences, for people; what they are to set stands in braces, as `errors.worded` takes it
    values: Mapping[str, Any] = field(default_factory=dict, hash=False)  # plain ones, for programs


class Warn(Protocol):
    """Takes a warning: its code, its text and its values."""

    def __call__(self, code: str, text: str, **values: Any) -> None: ...


@dataclass(frozen=True)
class Known:
    """A value and where it came from."""

    value: Any
    provenance: Provenance


def given_by_user(value: Any) -> Known | None:
    """A value of the user's; None where there is none."""
    return None if value is None else Known(value, GIVEN_BY_USER)


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

    def warn(self, code: str, text: str, **values: Any) -> None:
        self.warnings.append(RadiographWarning(code, text, values))


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the user says; each wins over the file."""

    pixel_pitch_mm: float | tuple[float, float] | None = None  # at the detector, [row, col] or one for both
    sdd_mm: float | None = None
    object_distance_mm: float | None = None  # detector to the bones' centre
    view: str | None = None
    swap_sides: bool = False  # mirror the picture: patient's left and right were exchanged
    invert: bool = False  # bone is dark in the file
    length: Length | None = None  # a scale bar or ruler in the picture
    field_px: tuple[int, int, int, int] | None = None  # exposed: first row, last row, first col, last col as displayed
