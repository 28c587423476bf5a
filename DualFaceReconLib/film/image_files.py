"""Radiographs outside DICOM: NRRD, MHA, NIfTI, PNG, JPEG and TIFF, through ITK's readers.

The kind is told by the file's first bytes, never by its name, and its size is known before any pixel is read.
"""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Acquisition, Known
from DualFaceReconLib.film.colour import grey_channel
from DualFaceReconLib.film.decoded import Decoded, polarity_warning
from DualFaceReconLib.film.decoding import DecodingFailed, decode_apart
from DualFaceReconLib.film.image_checks import damaged, prepare
from DualFaceReconLib.film.limits import check_size
from DualFaceReconLib.geometry import Provenance

SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
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
    return "NIfTI" if head[344:348] == b"n+1\0" else None  # version 1, header and pixels in one file


def read_image(path: Path, kind: str) -> tuple[Acquisition, Decoded]:
    """What an image file tells about its film, and its grey values with bone taken to be bright."""
    with tempfile.TemporaryDirectory(prefix="dualface-") as folder:
        readable, white_is_zero = prepare(path, kind, Path(folder))
        try:
            return _read(readable, kind, white_is_zero)
        except DecodingFailed as error:
            raise damaged(kind) from error


def _read(path: Path, kind: str, white_is_zero: bool) -> tuple[Acquisition, Decoded]:
    info, picture = decode_apart("itk", path, ITK_READERS[kind])
    size = info["size"]
    if len(size) < 2 or any(n != 1 for n in size[2:]):
        raise Refusal(
            f"This {kind} file is a volume or stack ({' x '.join(map(str, size))}), not one radiograph: "
            "save a single film."
        )
    cols, rows, channels = size[0], size[1], info["channels"]
    check_size((rows, cols))
    if picture is None:
        raise Refusal(
            f"Each pixel of this file has {channels} values, which no radiograph has: choose the original film."
        )
    picture = (
        picture.reshape(rows, cols, channels).squeeze(axis=2) if channels == 1 else picture.reshape(rows, cols, -1)
    )
    if np.iscomplexobj(picture):
        raise Refusal("The pixels of this file are complex numbers, which no radiograph has: choose the original film.")
    marks = []
    if picture.ndim == 3 and channels == 2:  # the second is transparency, as a fourth is
        picture = picture[..., 0]
    elif picture.ndim == 3:
        picture, marks = grey_channel(picture[..., :3])
    if white_is_zero:
        picture = (np.iinfo(picture.dtype).max if picture.dtype.kind in "iu" else picture.max()) - picture

    acquisition = Acquisition(size_px=(rows, cols))
    if kind in SPATIAL:
        _spacing(info, kind, acquisition)
        acquisition.orientation = _orientation(info, kind)
    polarity = Known("as stored", Provenance("assumed", "bone is taken to be bright"))
    with np.errstate(over="ignore"):  # doubles beyond float32 become infinite, and are refused as such
        pixels = picture.astype(np.float32)
    warnings = [polarity_warning(), *marks]
    return acquisition, Decoded(pixels=pixels, polarity=polarity, display_window=None, warnings=warnings)


def _spacing(info: dict[str, Any], kind: str, acquisition: Acquisition) -> None:
    pitch = (info["spacing"][1], info["spacing"][0])
    if pitch == (1.0, 1.0):
        return  # what readers say when the file says nothing
    acquisition.pixel_pitch_mm = Known(pitch, Provenance("header", f"{kind} spacing"))
    acquisition.warn(
        "pixel_pitch_mm-of-image-file",
        f"The {kind} file's spacing is taken to be the pixel pitch at the detector: if it was calibrated to the "
        "patient, every length comes out too small.",
    )


def _orientation(info: dict[str, Any], kind: str) -> Known | None:
    """Where columns and rows grow to, if the file lays the picture into a coronal plane (ITK's axes are L, P, S)."""
    dimension = len(info["size"])
    if dimension < 3:
        return None
    axes = np.array(info["direction"]).reshape(dimension, dimension)[:3, :2]
    letters = []
    for axis in axes.T:
        if abs(axis[0]) > ALONG_AXIS:
            letters.append("L" if axis[0] > 0 else "R")
        elif abs(axis[2]) > ALONG_AXIS:
            letters.append("H" if axis[2] > 0 else "F")
    if len(letters) != 2 or (letters[0] in "LR") == (letters[1] in "LR"):
        return None
    return Known("\\".join(letters), Provenance("header", f"{kind} directions"))
