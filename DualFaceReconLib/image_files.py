"""Radiographs outside DICOM: NRRD, MHA, NIfTI, PNG, JPEG and TIFF, through ITK's readers.

The kind is told by the file's first bytes, never by its name, and its size is known before any pixel is read.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from DualFaceReconLib.acquisition import Acquisition, Known, check_size
from DualFaceReconLib.dicom_pixels import Decoded, ends_whole, grey_channel, polarity_warning
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.geometry import Provenance

SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"NRRD": "NRRD",
}
ITK_READERS = {
    "PNG": "PNGImageIO",
    "JPEG": "JPEGImageIO",
    "TIFF": "TIFFImageIO",
    "NRRD": "NrrdImageIO",
    "MHA": "MetaImageIO",
    "NIfTI": "NiftiImageIO",
}
SPATIAL = {"NRRD", "MHA", "NIfTI"}  # formats whose spacing is in millimetres; dpi never is
ALONG_AXIS = 0.98  # cosine from which a picture's side counts as lying along the patient's axis
HEADER_BYTES = 1 << 16
DAMAGED_IMAGE = "The {} file is damaged or incomplete: export it again."


def image_format(head: bytes) -> str | None:
    """The format that a file's first bytes (512 or more) tell, or None."""
    for signature, name in SIGNATURES.items():
        if head.startswith(signature):
            return name
    if head.startswith((b"ObjectType", b"NDims", b"Comment")) and b"NDims" in head:
        return "MHA"
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(31).decompress(head, 512)
        except zlib.error:
            return None
    return "NIfTI" if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0" else None  # header and pixels in one file


def read_image(path: Path, kind: str) -> tuple[Acquisition, Decoded]:
    """What an image file tells about its film, and its grey values with bone taken to be bright."""
    if kind in ("NRRD", "MHA"):
        _refuse_pixels_elsewhere(path, kind)
    if kind == "JPEG" and not ends_whole(path.read_bytes()):
        raise Refusal(DAMAGED_IMAGE.format(kind))
    try:
        return _read(path, kind)
    except RuntimeError as error:  # ITK's word for any damage
        raise Refusal(DAMAGED_IMAGE.format(kind)) from error


def _refuse_pixels_elsewhere(path: Path, kind: str) -> None:
    """A header that names other files could make us read any file of this machine."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if kind == "NRRD":
        fields = head.split(b"\n\n")[0].lower()
        elsewhere = b"data file:" in fields or b"datafile:" in fields
    else:
        elsewhere = b"LOCAL" not in head.split(b"ElementDataFile", 1)[-1].split(b"\n", 1)[0]
    if elsewhere:
        raise Refusal(
            f"This {kind} file keeps its pixels in another file: save it as a single file (.nrrd, .mha, .nii)."
        )


def _read(path: Path, kind: str) -> tuple[Acquisition, Decoded]:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(ITK_READERS[kind])
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size = list(reader.GetSize())
    if len(size) < 2 or any(n != 1 for n in size[2:]):
        raise Refusal(
            f"This {kind} file is a volume or stack ({' x '.join(map(str, size))}), not one radiograph: "
            "save a single film."
        )
    rows, cols = size[1], size[0]
    check_size((rows, cols))
    channels = reader.GetNumberOfComponents()
    if channels > 4:
        raise Refusal(
            f"Each pixel of this file has {channels} values, which no radiograph has: choose the original film."
        )

    picture = np.squeeze(sitk.GetArrayFromImage(reader.Execute()), axis=tuple(range(len(size) - 2)))
    if np.iscomplexobj(picture):
        raise Refusal("The pixels of this file are complex numbers, which no radiograph has: choose the original film.")
    if picture.ndim == 3:  # a last channel of two or four is transparency
        picture = picture[..., 0] if channels == 2 else grey_channel(picture[..., :3])

    acquisition = Acquisition((rows, cols))
    if kind in SPATIAL:
        _spacing(reader, kind, acquisition)
        acquisition.orientation = _orientation(reader, kind)
    polarity = Known("as stored", Provenance("assumed", "bone is taken to be bright"))
    return acquisition, Decoded(picture.astype(np.float32), polarity, None, [polarity_warning()])


def _spacing(reader: sitk.ImageFileReader, kind: str, acquisition: Acquisition) -> None:
    pitch = (reader.GetSpacing()[1], reader.GetSpacing()[0])
    if pitch == (1.0, 1.0):
        return  # what readers say when the file says nothing
    acquisition.pixel_pitch_mm = Known(pitch, Provenance("header", f"{kind} spacing"))
    acquisition.warn(
        "pixel_pitch_mm-of-image-file",
        f"The {kind} file's spacing is taken to be the pixel pitch at the detector: if it was calibrated to the "
        "patient, every length comes out too small.",
    )


def _orientation(reader: sitk.ImageFileReader, kind: str) -> Known | None:
    """Where columns and rows grow to, if the file lays the picture into a coronal plane (ITK's axes are L, P, S)."""
    if reader.GetDimension() < 3:
        return None
    axes = np.array(reader.GetDirection()).reshape(reader.GetDimension(), -1)[:3, :2]
    letters = []
    for axis in axes.T:
        if abs(axis[0]) > ALONG_AXIS:
            letters.append("L" if axis[0] > 0 else "R")
        elif abs(axis[2]) > ALONG_AXIS:
            letters.append("H" if axis[2] > 0 else "F")
    if len(letters) != 2 or (letters[0] in "LR") == (letters[1] in "LR"):
        return None
    return Known("\\".join(letters), Provenance("header", f"{kind} directions"))
