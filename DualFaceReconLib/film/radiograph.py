"""A radiograph: a picture in which bone is bright, how it was taken, and what its reader must know.

radiograph = read_radiograph("film.dcm")
radiograph = Radiograph(pixels, ProjectionGeometry(sdd_mm=1150, pixel_pitch_mm=(0.143, 0.143), size_px=pixels.shape))
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from DualFaceReconLib.bonemaps import Window
from DualFaceReconLib.errors import NOT_NUMBERS, Refusal
from DualFaceReconLib.film.acquisition import GIVEN_BY_USER, Acquisition, Known, Overrides, RadiographWarning
from DualFaceReconLib.film.collimation import checked_field, field_of_exposure
from DualFaceReconLib.film.decoded import Decoded, polarity_warning
from DualFaceReconLib.film.dicom_header import read_acquisition
from DualFaceReconLib.film.dicom_pixels import decode, read_dataset
from DualFaceReconLib.film.image_files import image_format, read_image
from DualFaceReconLib.film.lengths import Length, from_length
from DualFaceReconLib.film.letters import SideLetter, side_letters
from DualFaceReconLib.film.limits import check_source_distance
from DualFaceReconLib.film.object_distance import assumed_object_distance, check_object_distance
from DualFaceReconLib.film.orientation import FACING_VIEWER
from DualFaceReconLib.film.settling import Settled, settle
from DualFaceReconLib.film.sides import letter_warnings
from DualFaceReconLib.film.subject import HIPS, FilmSubject
from DualFaceReconLib.geometry import GIVEN_IN_CODE, ProjectionGeometry, Provenance, within_corners

LARGEST_FILE_BYTES = 1 << 30
HEAD_BYTES = 4096  # of a file, which tell its kind
POLARITY_CODES = ("polarity-assumed", "polarity-conflict")  # settled where the user says it
OBJECT_DISTANCE_CODES = "object_distance_mm-"  # how the codes of warnings of the bones' distance begin
AS_SHOWN = Known(FACING_VIEWER, GIVEN_IN_CODE)
BRIGHT_BONE = Known("as stored", GIVEN_IN_CODE)


@dataclass(frozen=True)
class Radiograph:
    """One film as it is displayed: columns grow towards the patient's left, rows towards the feet.

    Where the geometry does not say how far the bones were from the detector, the population's distance is assumed and
    warned of, as for a file that does not say it.
    """

    pixels: np.ndarray = field(repr=False)  # (rows, cols) float32, bone bright
    geometry: ProjectionGeometry
    _: KW_ONLY
    orientation: Known = AS_SHOWN  # as the file stored it
    polarity: Known = BRIGHT_BONE  # whether grey values were inverted to make bone bright
    collimation_px: Known | None = None  # first row, last row, first col, last col of the exposed field
    field_corners_px: tuple[tuple[float, float], ...] | None = None  # [row, col], of a turned or rounded field
    display_window: tuple[float, float] | None = None  # black and white, in grey values
    warnings: tuple[RadiographWarning, ...] = ()
    file_format: str = "array"

    def __post_init__(self) -> None:
        pixels = np.ascontiguousarray(self.pixels, dtype=np.float32)
        if pixels.shape != self.geometry.size_px:
            raise Refusal(
                f"The picture is {pixels.shape} and its geometry says {self.geometry.size_px}: make them agree."
            )
        low, high = float(pixels.min()), float(pixels.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise Refusal(NOT_NUMBERS)
        if low == high:
            raise Refusal("The picture is one grey all over, with nothing to see: choose another film.")
        object.__setattr__(self, "pixels", pixels)
        window = _percentile_window(pixels) if self.display_window is None else self.display_window
        object.__setattr__(self, "display_window", (float(window[0]), float(window[1])))
        if self.geometry.object_distance_mm is None:
            self._assume_object_distance()

    def _assume_object_distance(self) -> None:
        geometry = self.geometry
        check_source_distance(Known(geometry.sdd_mm, geometry.provenance["sdd_mm"]))
        assumed, warning = assumed_object_distance(geometry.sdd_mm, geometry.lengths_are_calibrated)
        others = (w for w in self.warnings if not w.code.startswith(OBJECT_DISTANCE_CODES))
        object.__setattr__(self, "geometry", geometry.at_object_distance(assumed.value, assumed.provenance))
        object.__setattr__(self, "warnings", (*others, warning))

    @cached_property
    def pixel_hash(self) -> str:
        """What identifies the film without naming the patient: 12 hexadecimal digits of its grey values' sha256."""
        return hashlib.sha256(self.pixels.tobytes()).hexdigest()[:12]

    @cached_property
    def side_letters(self) -> tuple[SideLetter, ...]:
        """The letters R and L that are read in it."""
        return side_letters(self.pixels)

    @property
    def exposed_field(self) -> Window:
        """What the collimator left open; the whole film where nothing is known of that."""
        if self.collimation_px is None:
            return slice(0, self.geometry.size_px[0]), slice(0, self.geometry.size_px[1])
        first_row, last_row, first_col, last_col = self.collimation_px.value
        return slice(first_row, last_row + 1), slice(first_col, last_col + 1)

    def lit_part(self, window: Window) -> np.ndarray | bool:
        """The pixels of a window (rows, cols) bool within a turned or rounded field; True where it is upright."""
        if self.field_corners_px is None:
            return True
        rows, cols = window
        return within_corners(
            self.field_corners_px,
            np.arange(rows.start, rows.stop, rows.step)[:, None],
            np.arange(cols.start, cols.stop, cols.step)[None],
        )

    def at_object_distance(self, object_distance_mm: float, provenance: Provenance = GIVEN_BY_USER) -> Radiograph:
        """The same film with its bones' centre so far from the detector, and without warnings of that distance."""
        check_object_distance(object_distance_mm, self.geometry.sdd_mm)
        return replace(
            self,
            geometry=self.geometry.at_object_distance(object_distance_mm, provenance),
            warnings=tuple(w for w in self.warnings if not w.code.startswith(OBJECT_DISTANCE_CODES)),
        )

    def provenance(self) -> Mapping[str, Provenance]:
        """Where each value came from, the picture's own beside the geometry's."""
        own = {"orientation": self.orientation.provenance, "polarity": self.polarity.provenance}
        return {**self.geometry.provenance, **own}


def read_radiograph(
    path: str | Path,
    *,
    pixel_pitch_mm: float | tuple[float, float] | None = None,
    sdd_mm: float | None = None,
    object_distance_mm: float | None = None,
    view: str | None = None,
    swap_sides: bool = False,
    invert: bool = False,
    length: Length | None = None,
    field_px: tuple[int, int, int, int] | None = None,
) -> Radiograph:
    """Reads a film from DICOM, NRRD, MHA, NIfTI, PNG, JPEG or TIFF; what is given here wins over the file.

    `pixel_pitch_mm` is at the detector, [row, col] or one for both; `object_distance_mm` from the detector to the
    bones' centre; `swap_sides` mirrors the picture; `invert` is for a film whose bones are dark; `length` is a scale
    bar or a ruler in it; `field_px` is the exposed field of the displayed picture: first row, last row, first column,
    last column.
    Raises Refusal, with one sentence that says what to do.
    """
    overrides = Overrides(
        pixel_pitch_mm=pixel_pitch_mm,
        sdd_mm=sdd_mm,
        object_distance_mm=object_distance_mm,
        view=view,
        swap_sides=swap_sides,
        invert=invert,
        length=length,
        field_px=field_px,
    )
    return read_film(path, overrides)


def read_film(path: str | Path, overrides: Overrides, subject: FilmSubject = HIPS) -> Radiograph:
    """A film of a subject, as `read_radiograph` reads those of hips."""
    try:
        file_format, settled, decoded = _read(Path(path), overrides, subject)
        return _as_displayed(file_format, settled, decoded, overrides, subject)
    except MemoryError as error:
        raise Refusal(
            "The picture needs more memory than there is: scale it down and give its {pixel_pitch_mm}.", "no-memory"
        ) from error


def radiograph_of(pixels: np.ndarray, overrides: Overrides) -> Radiograph:
    """Bare pixels (rows, cols) as a film; what `overrides` do not say is assumed, with a warning each."""
    if pixels.ndim != 2 or pixels.dtype.kind not in "fiu":
        raise Refusal("These are no grey values of one picture: give an array of rows and columns.")
    polarity = Known("as stored", Provenance("assumed", "bone is taken to be bright"))
    decoded = Decoded(
        pixels=pixels.astype(np.float32), polarity=polarity, display_window=None, warnings=[polarity_warning()]
    )
    return _as_displayed("array", settle(Acquisition(size_px=pixels.shape), overrides), decoded, overrides)


def file_kind(path: Path) -> str:
    """DICOM or the name of an image format; refuses everything else."""
    try:
        if path.is_dir():
            raise Refusal("This is a folder: name one film.")
        if path.exists() and not path.is_file():
            raise Refusal("This is no ordinary file: name one film.")
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise Refusal("There is no such file: check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        raise Refusal(f"The file cannot be opened ({getattr(error, 'strerror', None) or 'bad path'}).") from error
    if size > LARGEST_FILE_BYTES:
        raise Refusal("The file is larger than 1 GB, far beyond a radiograph: export a single film.")
    kind = kind_by_head(head)
    if kind is None:
        raise Refusal("This is not an image that is read here: choose DICOM, NRRD, MHA, NIfTI, PNG, JPEG or TIFF.")
    return kind


def kind_by_head(head: bytes) -> str | None:
    """DICOM, the name of an image format, or None, by a file's first HEAD_BYTES."""
    if head[128:132] == b"DICM" or head[:4] in (b"\x08\0\x05\0", b"\x08\0\x08\0", b"\x08\0\0\0", b"\x02\0\0\0"):
        return "DICOM"  # the last four: old files without a preamble
    return image_format(head)


def _as_displayed(
    file_format: str, settled: Settled, decoded: Decoded, overrides: Overrides, subject: FilmSubject = HIPS
) -> Radiograph:
    """Stored pixels turned as they are looked at, with bone bright."""
    pixels = settled.turn.pixels(decoded.pixels)
    polarity, window = decoded.polarity, decoded.display_window
    if overrides.invert:
        total = float(pixels.max()) + float(pixels.min())
        pixels = total - pixels
        window = None if window is None else (total - window[1], total - window[0])
        polarity = Known("inverted", Provenance("user", f"inverted by the user; the file gave {polarity.value}"))
    collimation, corners = settled.collimation_px, None
    if overrides.field_px is not None:
        collimation = Known(checked_field(overrides.field_px, pixels.shape), GIVEN_BY_USER)
    elif collimation is None and (field := field_of_exposure(pixels)):
        collimation = Known(field.box_px, Provenance("derived", "flat borders of the picture"))
        corners = field.corners_px
    if overrides.length is not None:
        overrides.length.check_within(pixels.shape)
    radiograph = Radiograph(
        pixels,
        settled.geometry,
        orientation=settled.orientation,
        polarity=polarity,
        collimation_px=collimation,
        field_corners_px=corners,
        display_window=window,
        warnings=(
            *settled.warnings,
            *(w for w in decoded.warnings if not (overrides.invert and w.code in POLARITY_CODES)),
        ),
        file_format=file_format,
    )
    radiograph = _at_length(radiograph, overrides)
    return radiograph if subject.sideways else _with_sides_read(radiograph)


def _with_sides_read(radiograph: Radiograph) -> Radiograph:
    """The film with a warning where a letter in it contradicts its sides."""
    cols, geometry = radiograph.exposed_field[1], radiograph.geometry
    width_mm = (cols.stop - cols.start) * geometry.pixel_size_at(geometry.sdd_mm - geometry.object_distance_mm)[1]
    warnings = letter_warnings(radiograph.side_letters, (cols.start, cols.stop - 1), width_mm)
    return replace(radiograph, warnings=(*radiograph.warnings, *warnings)) if warnings else radiograph


def _at_length(radiograph: Radiograph, overrides: Overrides) -> Radiograph:
    """The film with its bones where a length at them says, if its pitch is known by something else."""
    length, geometry = overrides.length, radiograph.geometry
    if length is None or length.at == "detector" or from_length(geometry.provenance["pixel_pitch_mm"]):
        return radiograph
    if overrides.object_distance_mm is not None:
        raise Refusal("Both a distance and a length at the bones are given: leave one of them out.")
    if geometry.lengths_are_calibrated:
        raise Refusal(
            "This film's pixels are already calibrated at the patient, so that a length there says nothing new: give "
            "the detector's own pitch with {pixel_pitch_mm}, too.",
            "pixel_pitch_mm-calibrated",
        )
    depth = length.depth_mm(geometry.sdd_mm, geometry.pixel_pitch_mm)
    distance = geometry.sdd_mm - depth
    try:
        return radiograph.at_object_distance(distance, length.provenance("sdd - its depth", depth))
    except Refusal as refusal:
        raise Refusal(
            f"By the marked length the bones would be {distance:.0f} mm from the detector: check it, and whether it "
            "lies at the bones or at the detector."
        ) from refusal


def _read(path: Path, overrides: Overrides, subject: FilmSubject) -> tuple[str, Settled, Decoded]:
    kind = file_kind(path)
    if kind == "DICOM":
        # The header is judged before a single pixel is read
        settled = settle(read_acquisition(read_dataset(path, with_pixels=False), subject), overrides, subject)
        decoded = decode(read_dataset(path, with_pixels=True), path)
    else:
        acquisition, decoded = read_image(path, kind)
        settled = settle(acquisition, overrides, subject)
    return kind, settled, decoded


def _percentile_window(pixels: np.ndarray) -> tuple[float, float]:
    step = max(1, max(pixels.shape) // 1024)
    low, high = np.percentile(pixels[::step, ::step], (1, 99))
    return (float(low), float(high)) if high > low else (float(pixels.min()), float(pixels.max()))
