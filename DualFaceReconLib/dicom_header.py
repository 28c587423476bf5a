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
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

from DualFaceReconLib.acquisition import Acquisition, Known
from DualFaceReconLib.dicom_values import (
    from_tag,
    integer,
    items,
    number,
    number_known,
    pair_known,
    printable,
    text,
    values,
)
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.geometry import Provenance

RADIOGRAPH_MODALITIES = {"CR", "DX", "DR", "RG", "RF", "XA", "OT", "SC", "HC", ""}
FLUOROSCOPY = {"RF", "XA"}
SLICE_CLASSES = {
    CTImageStorage,
    EnhancedCTImageStorage,
    MRImageStorage,
    EnhancedMRImageStorage,
    PositronEmissionTomographyImageStorage,
}
# DICOM's Body Part Examined values (and plain spellings) that cannot be a hip film
# fmt: off
OTHER_BODY_PARTS = {
    "CHEST", "THORAX", "LUNG", "RIB", "RIBS", "HEART", "BREAST", "STERNUM", "CLAVICLE", "SCAPULA", "SHOULDER",
    "HUMERUS", "ARM", "ELBOW", "FOREARM", "WRIST", "HAND", "FINGER", "THUMB", "SKULL", "HEAD", "FACE", "JAW",
    "MANDIBLE", "MAXILLA", "TEETH", "NECK", "CSPINE", "TSPINE", "KNEE", "PATELLA", "TIBIA", "FIBULA", "CALF", "ANKLE",
    "FOOT", "TOE", "CALCANEUS", "HEEL",
}
# fmt: on
# Code meanings and view positions of frontal films; SNOMED CT and its older SRT identifiers
FRONTAL_CODES = {"399348003": "AP", "R-10206": "AP", "272479007": "PA", "R-10214": "PA"}
FRONTAL_POSITIONS = {"AP": "AP", "PA": "PA"}
SIDEWAYS_POSITIONS = {"LL", "RL", "RLD", "LLD", "LLO", "RLO", "LAT", "LATERAL", "LAO", "RAO", "LPO", "RPO", "OBLIQUE"}
ANGLES = {
    "ColumnAngulation": "column",
    "TubeAngle": "tube",
    "BeamAngle": "beam",
    "PositionerPrimaryAngle": "positioner's primary",
    "PositionerSecondaryAngle": "positioner's secondary",
    "DetectorPrimaryAngle": "detector's primary",
    "DetectorSecondaryAngle": "detector's secondary",
}
ANGLE_TOLERANCE_DEG = 1.0

# Height of the hips above the table: 0.45 of the body's thickness there in CT (King et al., J Bone Joint Surg Br
# 91:1217, 2009), adults being 180 to 280 mm thick at the hips.
TABLE_TO_BONES_MM = 100.0
TABLE_TO_BONES_SPREAD_MM = 20.0
ISOCENTRE_SPREAD_MM = 40.0


def read_acquisition(ds: Dataset) -> Acquisition:
    """What the header tells; refuses what is not one frontal radiograph of the hips."""
    _refuse_other_images(ds)
    size = (integer(ds, "Rows"), integer(ds, "Columns"))
    if None in size:
        raise Refusal("This DICOM file holds no picture (no Rows and Columns): choose the image object of the study.")
    acquisition = Acquisition(size)
    _body_part(ds, acquisition)
    acquisition.view = _view(ds, acquisition)
    acquisition.orientation = _orientation(ds, acquisition)
    acquisition.sdd_mm = number_known(ds, "DistanceSourceToDetector")
    _pitch(ds, acquisition)
    _object_distance(ds, acquisition)
    acquisition.principal_point_px = _principal_point(ds, acquisition)
    acquisition.collimation_px = _collimation(ds, acquisition)
    _angulation(ds, acquisition)
    if text(ds, "BurnedInAnnotation") == "YES":
        acquisition.warn(
            "burned-in-annotation",
            "The picture has text burned into it, perhaps the patient's name: look before you share any result.",
        )
    return acquisition


def identity(ds: Dataset) -> dict[str, str]:
    """Name, id and birth date, for the one option that shows them."""
    return {key: value for key in ("PatientName", "PatientID", "PatientBirthDate") if (value := text(ds, key))}


# Refusals


def _refuse_other_images(ds: Dataset) -> None:
    modality = text(ds, "Modality")
    sop_class = text(ds, "SOPClassUID")
    if modality not in RADIOGRAPH_MODALITIES or sop_class in SLICE_CLASSES:
        kind = UID(sop_class).name if modality in RADIOGRAPH_MODALITIES else modality
        if not re.fullmatch("[A-Za-z0-9 ]{2,40}", kind):  # a damaged header may hold anything here, a name too
            raise Refusal("The header's Modality is unreadable: export the film again from the archive.")
        raise Refusal(f"This is a {kind} image, not a radiograph: choose a plain film (CR, DX, RF or XA) of the hips.")
    frames = integer(ds, "NumberOfFrames") or 1
    if frames != 1:
        raise Refusal(f"This file holds {frames} pictures, a run or a stack: export one frame as a single image.")


def _body_part(ds: Dataset, acquisition: Acquisition) -> None:
    words = [text(ds, "BodyPartExamined")]
    words += [text(item, "CodeMeaning") for item in items(ds, "AnatomicRegionSequence")]
    for word in words:
        other = OTHER_BODY_PARTS.intersection(word.replace("-", "").replace("_", " ").split())
        if other:
            raise Refusal(
                f"The header says that this film shows the {other.pop().lower()}, and only hips can be reconstructed. "
                "If it does show a hip, correct Body Part Examined (0018,0015)."
            )
    if not any(words):
        acquisition.warn(
            "body-part-unknown", "The file does not say which body part it shows: make sure that it is a hip."
        )


def _view(ds: Dataset, acquisition: Acquisition) -> Known | None:
    position = text(ds, "ViewPosition")
    if position:
        known = Known(FRONTAL_POSITIONS.get(position.split()[0]), from_tag(ds, "ViewPosition"))
        sideways = SIDEWAYS_POSITIONS.intersection(position.replace("-", " ").split())
        if sideways:
            _refuse_view(sideways.pop())
        if known.value:
            return known
        acquisition.warn("view-unreadable", "The header's ViewPosition is neither AP nor PA and is not used.")
    for item in items(ds, "ViewCodeSequence"):
        meaning = text(item, "CodeMeaning")
        if "LATERAL" in meaning or "OBLIQUE" in meaning or "SAGITTAL" in meaning:
            _refuse_view(printable(meaning.lower()))
        view = FRONTAL_CODES.get(text(item, "CodeValue"))
        if view:
            return Known(view, from_tag(ds, "ViewCodeSequence"))
    return None


def _refuse_view(view: str) -> None:
    raise Refusal(f"This is not a frontal film (view {view}): choose the AP or PA film of the study.")


def _orientation(ds: Dataset, acquisition: Acquisition) -> Known | None:
    directions = [str(v).strip().upper() for v in values(ds, "PatientOrientation")]
    if len(directions) != 2 or not all(directions):
        return None
    cols_to, rows_to = (d[0] for d in directions)  # "LF" is mainly left: the first letter leads
    if {cols_to, rows_to} & {"A", "P"}:
        _refuse_view(f"with PatientOrientation {cols_to}\\{rows_to}")
    if (cols_to in "LR") == (rows_to in "LR") or cols_to not in "LRHF" or rows_to not in "LRHF":
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
    elif not np.allclose(spacing.value, acquisition.pixel_pitch_mm.value, rtol=1e-3) and calibration != "FIDUCIAL":
        acquisition.warn(
            "pixel-spacing-differs",
            f"PixelSpacing ({spacing.value[0]:g} mm) differs from the detector's pitch "
            f"({acquisition.pixel_pitch_mm.value[0]:g} mm) and is not used: other viewers may show other lengths.",
        )


def _object_distance(ds: Dataset, acquisition: Acquisition) -> None:
    """The header's rungs of the depth ladder: a fiducial's calibration, then the distance to table or isocentre."""
    if acquisition.sdd_mm is None:
        return
    sdd = acquisition.sdd_mm.value
    imager, spacing = pair_known(ds, "ImagerPixelSpacing"), pair_known(ds, "PixelSpacing")
    if imager and spacing and text(ds, "PixelSpacingCalibrationType") == "FIDUCIAL" and imager.value[0] > 0:
        acquisition.object_distance_mm = Known(
            sdd - sdd * spacing.value[0] / imager.value[0],
            Provenance("derived", "sdd - sdd * PixelSpacing / ImagerPixelSpacing, calibrated with a FIDUCIAL"),
        )
        return
    to_patient = number_known(ds, "DistanceSourceToPatient")
    if to_patient is None or to_patient.value <= 0:
        return
    if text(ds, "Modality") in FLUOROSCOPY:
        acquisition.object_distance_mm = Known(
            sdd - to_patient.value,
            Provenance(
                "derived", "sdd - DistanceSourceToPatient (0018,1111), the isocentre in RF and XA", ISOCENTRE_SPREAD_MM
            ),
        )
        acquisition.warn(
            "object_distance_mm-isocentre",
            "The bones are taken to be at the C-arm's isocentre, which holds only if the hip was centred there.",
        )
        return
    acquisition.object_distance_mm = Known(
        sdd - to_patient.value + TABLE_TO_BONES_MM,
        Provenance(
            "derived",
            f"sdd - DistanceSourceToPatient (0018,1111) + {TABLE_TO_BONES_MM:g} mm from table to bones (King 2009)",
            TABLE_TO_BONES_SPREAD_MM,
        ),
    )


def _principal_point(ds: Dataset, acquisition: Acquisition) -> Known | None:
    """The centre of the detector's active area in stored pixels [row, col], where the header locates it.

    The field of view's origin is counted in detector elements before its clockwise rotation and its flip.
    """
    tags = ("FieldOfViewOrigin", "DetectorActiveDimensions", "DetectorElementSpacing")
    origin, active_mm, element = (pair_known(ds, tag) for tag in tags)
    pitch = acquisition.pixel_pitch_mm
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
    source = "the detector's centre from FieldOfViewOrigin (0018,7030), its rotation and flip, and DetectorActive*"
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


def _angulation(ds: Dataset, acquisition: Acquisition) -> None:
    for keyword, name in ANGLES.items():
        angle = number(ds, keyword)
        if angle is not None and abs((angle + 90) % 180 - 90) > ANGLE_TOLERANCE_DEG:
            acquisition.warn(
                "angulation",
                f"The {name} angle is {angle:g} degrees ({from_tag(ds, keyword).source}): on an angled film (inlet, "
                "outlet) the bones come out tilted by it.",
            )
