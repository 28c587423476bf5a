"""Checks of an image file's own bytes for what ITK's readers would let pass, before they read it."""

from __future__ import annotations

import io
import shutil
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from DualFaceReconLib.errors import NO_SPACE, NOT_NUMBERS, Refusal
from DualFaceReconLib.film import nifti
from DualFaceReconLib.film.codestreams import ends_whole
from DualFaceReconLib.film.limits import SIDE_LIMITS_PX, check_size

HEADER_BYTES = 1 << 16
TIFF_PHOTOMETRIC, TIFF_ORIENTATION, TIFF_SHORT, TIFF_LONG = 262, 274, 3, 4
# What a header may say; everything else is left out of the copy that ITK reads
MHA_FIELDS = set(
    b"NDims DimSize ElementType ElementSpacing TransformMatrix Offset BinaryData BinaryDataByteOrderMSB "
    b"ElementByteOrderMSB CompressedData CompressedDataSize ElementNumberOfChannels".split()
)
NRRD_FIELDS = {
    *(b"type", b"dimension", b"space", b"space dimension", b"sizes", b"spacings", b"space directions"),
    *(b"space origin", b"kinds", b"endian", b"encoding"),
}
NRRD_ELSEWHERE = {b"data file", b"datafile"}
NRRD_SKIPS = {b"byte skip", b"byteskip", b"line skip", b"lineskip"}


def damaged(kind: str) -> Refusal:
    """The refusal of an image file whose bytes are not what they should be."""
    return Refusal(f"The {kind} file is damaged or incomplete: export it again.")


def prepare(path: Path, kind: str, folder: Path) -> tuple[Path, bool]:
    """The file that ITK may read, `path` or a copy in `folder`, and whether its zeros are white.

    Refuses files that name other files, are cut short, hold NaN, or want to be turned, where ITK would not.
    """
    try:
        if kind in ("NRRD", "MHA"):
            with path.open("rb") as file:
                header = clean_nrrd_header(file) if kind == "NRRD" else clean_mha_header(file)
                return _copied(file, folder / f"film.{kind.lower()}", header), False
        if kind == "TIFF":
            return _prepare_tiff(path, folder)
        if kind == "JPEG":
            content = path.read_bytes()
            if not ends_whole(content):
                raise damaged(kind)
            exif = content[:HEADER_BYTES].partition(b"Exif\0\0")[2]
            _refuse_turned(ifd_entries(io.BytesIO(exif), kind))
        elif kind == "NIfTI":
            check_nifti(path)
    except OSError as error:  # a drive that fails while it is read
        raise damaged(kind) from error
    return path, False


def _copied(file: BinaryIO, copy: Path, header: bytes) -> Path:
    """`header` and then what is left of `file`."""
    try:
        with copy.open("wb") as written:
            written.write(header)
            shutil.copyfileobj(file, written, 1 << 20)
    except OSError as error:
        raise Refusal(NO_SPACE) from error
    return copy


# Headers that could name other files of this machine, and make us read them


def clean_mha_header(file: BinaryIO) -> bytes:
    """A MetaImage header of known fields alone; `file` is left at the first pixel."""
    lines = [b"ObjectType = Image"]
    while file.tell() < HEADER_BYTES:
        name, equals, value = (part.strip() for part in file.readline(HEADER_BYTES).partition(b"="))
        if name == b"ElementDataFile":
            if value.upper() != b"LOCAL":
                _refuse_elsewhere("MHA")
            return b"\n".join([*lines, b"ElementDataFile = LOCAL", b""])
        if name in MHA_FIELDS and equals:
            lines.append(name + b" = " + value)
    raise damaged("MHA")


def clean_nrrd_header(file: BinaryIO) -> bytes:
    """A NRRD header of known fields alone; `file` is left at the first pixel."""
    lines = [file.readline(16).strip()]
    while file.tell() < HEADER_BYTES:
        line = file.readline(HEADER_BYTES)
        if not line:
            break
        if not line.strip():
            return b"\n".join([*lines, b"", b""])
        name, _, value = (part.strip() for part in line.partition(b":"))
        name = name.lower()
        if name in NRRD_ELSEWHERE:
            _refuse_elsewhere("NRRD")
        if name in NRRD_SKIPS and value != b"0":
            raise damaged("NRRD")
        if name in NRRD_FIELDS:
            lines.append(name + b": " + value)
    raise damaged("NRRD")


def _refuse_elsewhere(kind: str) -> None:
    raise Refusal(f"This {kind} file keeps its pixels in another file: save it as a single file (.nrrd, .mha, .nii).")


# TIFF, and the part of it that JPEG carries


def ifd_entries(file: BinaryIO, kind: str) -> dict[int, tuple[int, int, int]]:
    """Tags of a TIFF's first directory that hold one number: its value, where it stands, and its bytes.

    `kind` of the file, in whose name a directory that is cut short is refused.
    """

    def read(layout: str) -> tuple[int, ...]:
        content = file.read(struct.calcsize(layout))
        if len(content) < struct.calcsize(layout):
            raise damaged(kind)
        return struct.unpack(layout, content)

    start = file.tell()
    order = {b"II": "<", b"MM": ">"}.get(file.read(2))
    if order is None:
        return {}
    (first,) = read(f"{order}2xI")
    file.seek(start + first)
    (count,) = read(f"{order}H")
    entries = {}
    for _ in range(count):
        tag, value_type, values = read(f"{order}HHI")
        at, content = file.tell(), bytes(read("4B"))
        width = {TIFF_SHORT: 2, TIFF_LONG: 4}.get(value_type)
        if width and values == 1:
            entries[tag] = (int.from_bytes(content[:width], "little" if order == "<" else "big"), at, width)
    return entries


def _prepare_tiff(path: Path, folder: Path) -> tuple[Path, bool]:
    """ITK before 2026 ignores that zeros are white and later inverts, so it gets a copy that says they are black."""
    with path.open("rb") as file:
        entries = ifd_entries(file, "TIFF")
    _refuse_turned(entries)
    photometric, at, width = entries.get(TIFF_PHOTOMETRIC, (1, 0, 0))
    if photometric != 0:
        return path, False
    with path.open("rb") as file:
        until = file.read(at)
        file.seek(width, io.SEEK_CUR)
        black_is_zero = (1).to_bytes(width, "little" if until[:2] == b"II" else "big")
        return _copied(file, folder / "film.tif", until + black_is_zero), True


def _refuse_turned(entries: dict[int, tuple[int, int, int]]) -> None:
    """A tag that turns the picture for viewing changes left and right; some programs follow it and some do not."""
    orientation = entries.get(TIFF_ORIENTATION, (1, 0, 0))[0]
    if orientation != 1:
        raise Refusal(
            f"The file asks to be turned or mirrored for viewing (Orientation {orientation}), so its left and right "
            "are not certain: open it, check the sides, and save it again upright."
        )


def check_nifti(path: Path) -> None:
    """ITK's reader fills up with zeros what is missing, and puts zeros where numbers are not numbers."""
    try:
        with nifti.opened(path) as file:
            layout = nifti.read_layout(file)
            _check_layout(layout)
            file.seek(layout.first_byte)
            data = file.read(layout.expected_bytes)
    except (nifti.NotNifti, OSError, EOFError, zlib.error) as error:  # the last three are gzip's
        raise damaged("NIfTI") from error
    width = nifti.FLOATS.get(layout.datatype)
    if len(data) < layout.expected_bytes:
        raise damaged("NIfTI")
    if width and not np.isfinite(np.frombuffer(data, f"{layout.order}f{width}")).all():
        raise Refusal(NOT_NUMBERS)


def _check_layout(layout: nifti.Layout) -> None:
    """Sizes that a film can have, and values that begin behind the header."""
    if min(layout.sizes[:2]) < 1:
        raise damaged("NIfTI")
    check_size((layout.sizes[1], layout.sizes[0]))
    if not (0 < layout.expected_bytes <= 32 * SIDE_LIMITS_PX[1] ** 2 and 0 <= layout.first_byte < HEADER_BYTES):
        raise damaged("NIfTI")
