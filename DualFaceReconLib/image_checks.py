"""What ITK's readers would let pass in an image file: looked at in the file's own bytes before they read it."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from DualFaceReconLib.acquisition import SIDE_LIMITS_PX, check_size
from DualFaceReconLib.dicom_pixels import ends_whole
from DualFaceReconLib.errors import NOT_NUMBERS, Refusal

HEADER_BYTES = 1 << 16
DAMAGED_IMAGE = "The {} file is damaged or incomplete: export it again."
TIFF_PHOTOMETRIC, TIFF_SHORT = 262, 3
# Of each NIfTI version, by its first four bytes, where the sizes, the data type and the first pixel's place stand
NIFTI_1 = ("8h", 40, 70, "f", 108)
NIFTI_2 = ("8q", 16, 12, "q", 168)
NIFTI_HEADS = {
    b"\x5c\x01\0\0": ("<", *NIFTI_1),
    b"\0\0\x01\x5c": (">", *NIFTI_1),
    b"\x1c\x02\0\0": ("<", *NIFTI_2),
    b"\0\0\x02\x1c": (">", *NIFTI_2),
}
NIFTI_FLOATS = (16, 64)


def check_before_reading(path: Path, kind: str) -> None:
    """Refuses files that name other files, that are cut short, or that hold NaN, where ITK would not."""
    if kind in ("NRRD", "MHA"):
        refuse_pixels_elsewhere(path, kind)
    elif kind == "JPEG" and not ends_whole(path.read_bytes()):
        raise Refusal(DAMAGED_IMAGE.format(kind))
    elif kind == "NIfTI":
        try:
            check_nifti(path)
        except (OSError, EOFError, struct.error, ValueError, OverflowError, KeyError, zlib.error) as error:
            raise Refusal(DAMAGED_IMAGE.format(kind)) from error


def refuse_pixels_elsewhere(path: Path, kind: str) -> None:
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


def white_is_zero_at(path: Path) -> int | None:
    """Where a TIFF says that its zeros are white; None where it says that they are black."""
    with path.open("rb") as file:
        order = {b"II": "<", b"MM": ">"}[file.read(2)]
        file.seek(struct.unpack(f"{order}2xI", file.read(6))[0])
        count = file.read(2)
        entries = file.read(12 * struct.unpack(f"{order}H", count)[0]) if len(count) == 2 else b""
        for at in range(0, len(entries) - 11, 12):
            tag, kind, _, value = struct.unpack(f"{order}HHIH", entries[at : at + 10])
            if tag == TIFF_PHOTOMETRIC and (value == 0 if kind == TIFF_SHORT else not any(entries[at + 8 : at + 12])):
                return file.tell() - len(entries) + at
    return None


def check_nifti(path: Path) -> None:
    """ITK's reader fills up with zeros what is missing, and puts zeros where numbers are not numbers."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        head = file.read(540)
        order, sizes_as, sizes_at, type_at, first_as, first_at = NIFTI_HEADS[head[:4]]
        dimensions, *sizes = struct.unpack_from(f"{order}{sizes_as}", head, sizes_at)
        code, bits = struct.unpack_from(f"{order}2h", head, type_at)
        (first,) = struct.unpack_from(f"{order}{first_as}", head, first_at)
        if min(sizes[:2]) < 1:
            raise ValueError("sizes no picture has")
        check_size((sizes[1], sizes[0]))
        expected = math.prod(sizes[: max(dimensions, 0)]) * bits // 8
        if not (0 < expected <= 32 * SIDE_LIMITS_PX[1] ** 2 and 0 <= first < HEADER_BYTES):
            raise ValueError("sizes no film has")
        file.seek(int(first))
        data = file.read(expected)
    if len(data) < expected:
        raise EOFError
    if code in NIFTI_FLOATS and not np.isfinite(np.frombuffer(data, f"{order}f{bits // 8}")).all():
        raise Refusal(NOT_NUMBERS)
