"""What a DICOM header says about how a film was taken. Pixels are read in `dicom_pixels.py`.

Every value is taken from the tag that means it, never from a neighbour: PixelSpacing is not ImagerPixelSpacing,
the field of view's rotation and flip only locate the central ray, and the orientation is PatientOrientation's alone.
"""

from __future__ import annotations

import re

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Acquisition, Known
from DualFaceReconLib.film.dicom_values import (
    from_tag,
    integer,
    items,
    number,
    number_known,
    numbers,
    pair_known,
    printable,
    text,
    values,
)
from DualFaceReconLib.film.subject import HIPS, SPINE_LATERAL, FilmSubject
from DualFaceReconLib.geometry import Provenance

RADIOGRAPH_MODALITIES = {"CR", "DX", "DR", "RG", "RF", "XA", "OT", "HC", ""}
RADIOGRAPH_CLASSES = {
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
    "",
}
FLUOROSCOPY = {"RF", "XA"}
# ViewPosition names the patient's side that is at the detector
SOURCE_ANGLES = {"AP": 0.0, "PA": 180.0, "LL": -90.0, "LLAT": -90.0, "RL": 90.0, "RLAT": 90.0}
FRONTAL_CODES = {"399348003": "AP", "R-10206": "AP", "272479007": "PA", "R-10214": "PA"}  # SNOMED CT, older SRT
SIDEWAYS = re.compile(r"LAT(ERAL)?|LATER\w*|LL|RL|ML|LM|[LR]LD|X?TABLE|XTAB\w*|CROSS\w*|SAGITTAL|LAT[LR]")
SLANTED = re.compile(r"OBL\w*|[LR][AP]?O|LLO|RLO|JUDET")
TILTED = re.compile(r"AXIAL|INLET|OUTLET|CEPHALAD|CRANIAL|CAUDAL|CAUDAD|ANGLED|TANGENTIAL")
ANGLES = {
    "ColumnAngulation": "column",
    "PositionerPrimaryAngle": "positioner's primary",
    "PositionerSecondaryAngle": "positioner's secondary",
    "DetectorPrimaryAngle": "detector's primary",
    "DetectorSecondaryAngle": "detector's secondary",
}
SAME_PITCH = 0.005  # relative; what rounding in headers leaves of equal pitches
SAME_FIELD = 0.1  # relative; the field of view is given in whole millimetres, some with their margins
ANGLE_TOLERANCE_DEG = 1.0
TILTED_EFFECT = "on an angled film (inlet, outlet) the bones come out tilted by the angle."


def read_acquisition(ds: Dataset, subject: FilmSubject = HIPS) -> Acquisition:
    """What the header tells; refuses what is not one radiograph of the subject, from where that is taken."""
    _refuse_other_images(ds, subject)
    size = (integer(ds, "Rows"), integer(ds, "Columns"))
    if None in size:
        raise Refusal("This DICOM file holds no picture (no Rows and Columns): choose the image object of the study.")
    acquisition = Acquisition(size_px=size)
    _body_part(ds, acquisition, subject)
    if subject.sideways:
        _refuse_frontal(ds)
    else:
        acquisition.view = _view(ds, acquisition)
    acquisition.orientation = _orientation(ds, acquisition, subject)
    acquisition.sdd_mm = number_known(ds, "DistanceSourceToDetector")
    _pitch(ds, acquisition)
    _depth(ds, acquisition)
    acquisition.principal_point_px = _principal_point(ds, acquisition)
    acquisition.collimation_px = _collimation(ds, acquisition)
    _angulation(ds, acquisition, subject)
    if text(ds, "BurnedInAnnotation") == "YES":
        acquisition.warn(
            "burned-in-annotation",
            "The picture has text burned into it, perhaps the patient's name: look before you share any result.",
        )
    return acquisition


def identity(ds: Dataset) -> dict[str, str]:
    """Name, id and birth date as they are written, for the one option that shows them."""
    written = {key: values(ds, key) for key in ("PatientName", "PatientID", "PatientBirthDate")}
    return {key: printable(str(texts[0]), 200) for key, texts in written.items() if texts}


# Refusals


def _refuse_other_images(ds: Dataset, subject: FilmSubject) -> None:
    modality = text(ds, "Modality")
    sop_class = text(ds, "SOPClassUID")
    if modality not in RADIOGRAPH_MODALITIES or sop_class not in RADIOGRAPH_CLASSES:
        known_class = re.fullmatch("[0-9.]{1,64}", sop_class) and modality in RADIOGRAPH_MODALITIES
        kind = UID(sop_class).name if known_class else modality
        if not re.fullmatch("[A-Za-z0-9 -]{2,80}", kind):  # a damaged header may hold anything here, a name too
            raise Refusal("The header's Modality or SOP Class is unreadable: export the film again from the archive.")
        shows = "hips" if subject is HIPS else subject.name
        raise Refusal(
            f"This is a {kind} image, not a radiograph: choose a plain film (CR, DX, RF or XA) of the {shows}."
        )
    frames = integer(ds, "NumberOfFrames") or 1
    if frames != 1:
        raise Refusal(f"This file holds {frames} pictures, a run or a stack: export one frame as a single image.")


def _body_part(ds: Dataset, acquisition: Acquisition, subject: FilmSubject) -> None:
    named = [text(ds, "BodyPartExamined")]
    named += [text(item, "CodeMeaning") for item in items(ds, "AnatomicRegionSequence")]
    words = {word for part in named for word in _words(part)}
    other = subject.other_parts & words
    if other and not subject.own_words & words:  # a head of a femur is no head
        raise Refusal(
            f"The header says that this film shows the {min(other).lower()}, and only {subject.bones} can be "
            f"reconstructed. If it does show a {subject.name}, correct Body Part Examined (0018,0015)."
        )
    if not words:
        acquisition.warn(
            "body-part-unknown",
            f"The file does not say which body part it shows: make sure that it is a {subject.name}.",
        )


def _view(ds: Dataset, acquisition: Acquisition) -> Known | None:
    """AP or PA from ViewPosition, the view's code or a C-arm's angle; warns where they contradict each other."""
    coded = items(ds, "ViewCodeSequence")
    modifiers = [m for item in [ds, *coded] for m in items(item, "ViewModifierCodeSequence")]
    position = _words(text(ds, "ViewPosition"))
    words = [*position, *(w for item in [*coded, *modifiers] for w in _words(text(item, "CodeMeaning")))]
    for word in words:
        if SIDEWAYS.fullmatch(word) or SLANTED.fullmatch(word):
            _refuse_view(printable(word.lower()))
    tilted = [word for word in words if TILTED.fullmatch(word)]
    if tilted:
        acquisition.warn("angulation", f"The header calls this film {tilted[0].lower()}: {TILTED_EFFECT}")

    views = [Known(word, from_tag(ds, "ViewPosition")) for word in position if word in ("AP", "PA")]
    for item in coded:
        if text(item, "CodeValue") in FRONTAL_CODES:
            views.append(Known(FRONTAL_CODES[text(item, "CodeValue")], from_tag(ds, "ViewCodeSequence")))
    if position and not views:
        acquisition.warn("view-unreadable", "The header's ViewPosition is neither AP nor PA and is not used.")
    if len({known.value for known in views}) > 1:
        acquisition.warn("view-conflict", "The header calls this film both AP and PA: say {view=AP} or {view=PA}.")
    if not views and text(ds, "Modality") in FLUOROSCOPY:
        return _view_of_c_arm(ds)
    return views[0] if views else None


def _view_of_c_arm(ds: Dataset) -> Known | None:
    """At 0 degrees the patient faces the detector, so the source is behind; at 180 in front; at 90 it is beside."""
    angle = number(ds, "PositionerPrimaryAngle")
    if angle is None:
        return None
    from_behind = abs((angle + 180) % 360 - 180)
    if 45 < from_behind < 135:
        _refuse_view(f"from the side, by PositionerPrimaryAngle {angle:g}")
    source = from_tag(ds, "PositionerPrimaryAngle").source
    return Known("PA" if from_behind <= 45 else "AP", Provenance("derived", f"{source} = {angle:g} degrees of a C-arm"))


def _words(phrase: str) -> list[str]:
    """Runs of letters, with the parts of "antero-posterior" kept together."""
    return re.findall("[A-Z]+", phrase.replace("ANTERO-POSTERIOR", "AP").replace("POSTERO-ANTERIOR", "PA"))


def _refuse_view(view: str, subject: FilmSubject = HIPS) -> None:
    if subject.sideways:
        raise Refusal(f"This is not a lateral film ({view}): choose the lateral one of the study.", "not-lateral")
    raise Refusal(f"This is not a frontal film (view {view}): choose the AP or PA film of the study.", "not-frontal")


def _refuse_frontal(ds: Dataset) -> None:
    """Of a film that is to be taken from the side; a tube that goes round the patient is what tells of itself."""
    codes = [FRONTAL_CODES.get(text(item, "CodeValue")) for item in items(ds, "ViewCodeSequence")]
    frontal = [view for view in (*_words(text(ds, "ViewPosition")), *codes) if view in ("AP", "PA")]
    if frontal and _tube_angle(ds) is None:
        _refuse_view(f"view {frontal[0]}", SPINE_LATERAL)


def source_angle(ds: Dataset) -> Known | None:
    """Degrees from in front of the patient to the X-ray source, towards the patient's left, -180 to 180; None where the
    header does not say. A C-arm's detector is in front of the patient at 0 degrees, and at the left at 90."""
    angle = _tube_angle(ds)
    if angle is not None:
        tag = from_tag(ds, "PositionerPrimaryAngle").source
        return Known((angle + 360) % 360 - 180, Provenance("derived", f"{tag} = {angle:g} degrees of a C-arm"))
    for word in _words(text(ds, "ViewPosition")):
        if word in SOURCE_ANGLES:
            return Known(SOURCE_ANGLES[word], from_tag(ds, "ViewPosition"))
    return None


def is_called_lateral(ds: Dataset) -> bool:
    """Whether the header calls a film lateral, whichever side that is from."""
    coded = items(ds, "ViewCodeSequence")
    named = [text(ds, "ViewPosition"), *(text(item, "CodeMeaning") for item in coded)]
    return any(SIDEWAYS.fullmatch(word) for name in named for word in _words(name))


def _tube_angle(ds: Dataset) -> float | None:
    """The primary angle of a C-arm, in degrees."""
    return number(ds, "PositionerPrimaryAngle") if text(ds, "Modality") in FLUOROSCOPY else None


def _orientation(ds: Dataset, acquisition: Acquisition, subject: FilmSubject) -> Known | None:
    directions = [str(v).strip().upper() for v in values(ds, "PatientOrientation")]
    if len(directions) != 2 or not all(directions):
        return None
    cols_to, rows_to = (d[0] for d in directions)  # "LF" is mainly left: the first letter leads
    across, along = ("LR", "AP") if not subject.sideways else ("AP", "LR")  # the patient, and along the X-rays
    if {cols_to, rows_to} & set(along) and not (subject.around and _tube_angle(ds) is not None):
        _refuse_view(f"with PatientOrientation {cols_to}\\{rows_to}", subject)
    if (cols_to in across) == (rows_to in across) or not {cols_to, rows_to} <= {*across, *"HF"}:
        acquisition.warn("orientation-unreadable", "The header's PatientOrientation makes no sense and is not used.")
        return None
    return Known(f"{cols_to}\\{rows_to}", from_tag(ds, "PatientOrientation"))


# Millimetres


def _pitch(ds: Dataset, acquisition: Acquisition) -> None:
    acquisition.pixel_pitch_mm = pair_known(ds, "ImagerPixelSpacing") or pair_known(ds, "NominalScannedPixelSpacing")
    spacing = pair_known(ds, "PixelSpacing")
    calibration = text(ds, "PixelSpacingCalibrationType")
    if spacing is None:
        return
    if acquisition.pixel_pitch_mm is None:
        if calibration:
            acquisition.patient_plane_pitch_mm = spacing
        else:
            reason = f"{spacing.provenance.source} alone may be calibrated to the patient instead of the detector"
            acquisition.pixel_pitch_mm = Known(spacing.value, Provenance("assumed", reason))
    elif (
        not np.allclose(spacing.value, acquisition.pixel_pitch_mm.value, rtol=SAME_PITCH) and calibration != "FIDUCIAL"
    ):
        acquisition.warn(
            "pixel-spacing-differs",
            f"PixelSpacing ({spacing.value[0]:g} mm) differs from the detector's pitch "
            f"({acquisition.pixel_pitch_mm.value[0]:g} mm) and is not used: other viewers may show other lengths.",
        )


def _depth(ds: Dataset, acquisition: Acquisition) -> None:
    """The header's rungs of the depth ladder: a fiducial's calibration, then the distance to table or isocentre."""
    imager, spacing = pair_known(ds, "ImagerPixelSpacing"), pair_known(ds, "PixelSpacing")
    if imager and spacing and min(imager.value) > 0 and text(ds, "PixelSpacingCalibrationType") == "FIDUCIAL":
        shares = np.divide(spacing.value, imager.value)
        if np.ptp(shares) > SAME_PITCH * shares[0]:
            acquisition.warn(
                "calibration-unreadable",
                "The header's calibration (PixelSpacing, FIDUCIAL) differs between rows and columns and is not used.",
            )
        elif abs(shares[0] - 1) > SAME_PITCH:  # equal means: not calibrated
            source = Provenance("header", "PixelSpacing / ImagerPixelSpacing, calibrated with a FIDUCIAL")
            acquisition.depth_share = Known(float(shares.mean()), source)
    to_patient = number_known(ds, "DistanceSourceToPatient")
    if to_patient is not None and to_patient.value > 0:
        if text(ds, "Modality") in FLUOROSCOPY:
            acquisition.source_to_isocentre_mm = to_patient
        else:
            acquisition.source_to_table_mm = to_patient


def _principal_point(ds: Dataset, acquisition: Acquisition) -> Known | None:
    """The centre of the detector's active area in stored pixels [row, col], where the header locates it.

    The field of view's origin is counted in detector elements before its clockwise rotation and its flip.
    """
    tags = ("FieldOfViewOrigin", "DetectorActiveDimensions", "DetectorElementSpacing")
    origin, active_mm, element = (pair_known(ds, tag) for tag in tags)
    pitch = pair_known(ds, "ImagerPixelSpacing")
    if None in (origin, active_mm, element, pitch) or min(*element.value, *active_mm.value, *pitch.value) <= 0:
        return None
    active_origin = pair_known(ds, "DetectorActiveOrigin")
    rotation = (number(ds, "FieldOfViewRotation") or 0) % 360
    flipped = text(ds, "FieldOfViewHorizontalFlip") == "YES"
    if rotation not in (0, 90, 180, 270):
        acquisition.warn(
            "field-of-view-unreadable", "The header's FieldOfViewRotation is no right angle and is not used."
        )
        return None
    field_mm = numbers(ds, "FieldOfViewDimensions")
    seen_mm = sorted(n * p for n, p in zip(acquisition.size_px, pitch.value, strict=True))
    if len(field_mm) == 2 and not np.allclose(sorted(field_mm), seen_mm, rtol=SAME_FIELD):
        acquisition.warn(
            "field-of-view-differs",
            f"The header's field of view ({field_mm[0]:g} x {field_mm[1]:g} mm) is not this picture's "
            f"({seen_mm[0]:.0f} x {seen_mm[1]:.0f} mm): it was cropped or scaled, and its centre is not known.",
        )
        return None
    on_detector = np.array(active_origin.value if active_origin else (0.0, 0.0))
    centre = (
        on_detector + np.array(active_mm.value) / element.value / 2 - origin.value
    )  # elements from the field's corner

    rows, cols = acquisition.size_px
    upright = rotation in (0, 180)
    size = np.array((rows, cols) if upright else (cols, rows), float)  # before the rotation
    binning = np.array(pitch.value if upright else pitch.value[::-1]) / element.value
    row, col = centre / binning  # from the field's outer corner, in pixels
    turned = {0: (row, col), 90: (col, size[0] - row), 180: (size[0] - row, size[1] - col), 270: (size[1] - col, row)}
    row, col = turned[int(rotation)]
    if flipped:
        col = cols - col
    row, col = float(row - 0.5), float(col - 0.5)
    if not (-rows <= row <= 2 * rows and -cols <= col <= 2 * cols):
        acquisition.warn(
            "principal_point_px-implausible",
            "The header puts the detector's centre far outside the picture, which cannot be: it is not used.",
        )
        return None
    source = (
        "the detector's centre, where the tube is taken to point, from FieldOfViewOrigin (0018,7030), its rotation and "
        "flip, and DetectorActiveDimensions (0018,7026)"
    )
    return Known((row, col), Provenance("derived", source))


def _collimation(ds: Dataset, acquisition: Acquisition) -> Known | None:
    """Edges of a rectangular collimator or shutter, 1-based in the header."""
    for shape, prefix in (("CollimatorShape", "Collimator"), ("ShutterShape", "Shutter")):
        edges = [integer(ds, f"{prefix}{edge}Edge") for edge in ("UpperHorizontal", "LowerHorizontal")]
        edges += [integer(ds, f"{prefix}{edge}Edge") for edge in ("LeftVertical", "RightVertical")]
        if "RECTANGULAR" not in [str(v).upper() for v in values(ds, shape)] or None in edges:
            continue
        rows, cols = acquisition.size_px
        box = tuple(int(np.clip(e - 1, 0, n - 1)) for e, n in zip(edges, (rows, rows, cols, cols), strict=True))
        if box[0] < box[1] and box[2] < box[3]:
            return Known(box, from_tag(ds, shape))
    return None


def _angulation(ds: Dataset, acquisition: Acquisition, subject: FilmSubject) -> None:
    for keyword, name in ANGLES.items():
        if subject.around and "Primary" in keyword:
            continue
        angle = number(ds, keyword)
        if angle is not None and abs((angle + 90) % 180 - 90) > ANGLE_TOLERANCE_DEG:
            acquisition.warn(
                "angulation",
                f"The {name} angle is {angle:g} degrees ({from_tag(ds, keyword).source}): {TILTED_EFFECT}",
            )
