"""A simulated film as a DICOM DX file, with every tag that places it in millimetres."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from DualFaceReconLib.disk.files import write_file
from DualFaceReconLib.film.subject import TABLE_TO_BONES_MM
from DualFaceReconLib.geometry import ProjectionGeometry

BITS = 12


def dx_dataset(
    pixels: np.ndarray,
    geometry: ProjectionGeometry,
    *,
    photometric: str = "MONOCHROME2",
    orientation: str = "L\\F",
    bones_above_table_mm: float | None = TABLE_TO_BONES_MM,
) -> Dataset:
    """A DX object of a film as displayed, (rows, cols) float with bone bright, scaled to 12 bits.

    `photometric` and `orientation` ("L\\F" or "R\\F") say how the same film is stored. The header tells where the table
    is, from the bones' distance and how far they lie above it; with None it does not.
    """
    low, high = float(pixels.min()), float(pixels.max())
    stored = np.rint((pixels - low) * ((2**BITS - 1) / max(high - low, 1e-6))).astype(np.uint16)
    if photometric == "MONOCHROME1":
        stored = (2**BITS - 1) - stored
    if orientation == "R\\F":
        stored, geometry = stored[:, ::-1], geometry.flipped(cols=True)

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    identity = hashlib.sha256(stored.tobytes()).hexdigest()  # the same film gives the same file
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[identity, "instance"])
    ds.StudyInstanceUID = generate_uid(entropy_srcs=[identity, "study"])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=[identity, "series"])
    ds.Modality = "DX"
    ds.Manufacturer = "DualFaceRecon simulation"
    ds.PatientName, ds.PatientID = "Virtual^Patient", identity[:12]
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.BodyPartExamined, ds.ViewPosition = "PELVIS", geometry.view
    ds.PatientOrientation = orientation.split("\\")
    ds.PresentationIntentType, ds.BurnedInAnnotation = "FOR PRESENTATION", "NO"
    _place(ds, geometry, bones_above_table_mm)

    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, photometric
    ds.PresentationLUTShape = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
    ds.PixelIntensityRelationship = "LOG"
    ds.PixelIntensityRelationshipSign = 1 if photometric == "MONOCHROME1" else -1
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, 0, "US"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, BITS, BITS - 1, 0
    ds.PixelData = np.ascontiguousarray(stored).tobytes()
    return ds


def write_dx(path: Path, pixels: np.ndarray, geometry: ProjectionGeometry, **stored: Any) -> None:
    """Writes `dx_dataset` to a file."""
    dx_dataset(pixels, geometry, **stored).save_as(path, enforce_file_format=True)


def write_lossless(source: Path, path: Path) -> None:
    """Writes a DICOM film again, as lossless JPEG-LS."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    if not reader.Read():
        raise ValueError(f"{source.name} cannot be read as a DICOM picture")
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLSLossless))
    change.SetInput(reader.GetImage())
    if not change.Change():
        raise ValueError(f"{source.name} cannot be compressed")

    def write(beside: Path) -> None:
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(beside))
        if not writer.Write():
            raise OSError(0, "is there room?")

    write_file(path, write)


def _place(ds: Dataset, geometry: ProjectionGeometry, bones_above_table_mm: float | None) -> None:
    """Distances, pitch, and a detector whose centre lies where the central ray meets the stored picture."""
    ds.DistanceSourceToDetector = _number(geometry.sdd_mm)
    if geometry.object_distance_mm is not None and bones_above_table_mm is not None:
        ds.DistanceSourceToPatient = _number(geometry.sdd_mm - geometry.object_distance_mm + bones_above_table_mm)
    ds.ImagerPixelSpacing = [_number(p) for p in geometry.pixel_pitch_mm]
    ds.DetectorElementSpacing = ds.ImagerPixelSpacing
    from_corner = [p + 0.5 for p in geometry.principal_point_px]
    elements = [n + 2 * math.ceil(abs(c - n / 2)) for n, c in zip(geometry.size_px, from_corner, strict=True)]
    sizes_mm = [n * p for n, p in zip(elements, geometry.pixel_pitch_mm, strict=True)]
    ds.DetectorActiveShape, ds.DetectorActiveDimensions = "RECTANGLE", [_number(mm) for mm in sizes_mm]
    ds.DetectorActiveOrigin = [0, 0]
    ds.FieldOfViewOrigin = [_number(n / 2 - c) for n, c in zip(elements, from_corner, strict=True)]
    ds.FieldOfViewRotation, ds.FieldOfViewHorizontalFlip = 0, "NO"


def _number(value: float) -> DSfloat:
    return DSfloat(float(value), auto_format=True)
