"""What a NIfTI-1 file says of its own layout, for checks before ITK reads it."""

from __future__ import annotations

import gzip
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

HEADER_BYTES = 348
ORDERS = {struct.pack(f"{order}i", HEADER_BYTES): order for order in "<>"}  # by the header's first four bytes
FLOATS = {16: 4, 64: 8}  # datatype -> bytes a value
# Of whole numbers, complex ones and colours: readers go by the datatype, whatever the header says of bits a value
SIZES = {**FLOATS, 2: 1, 4: 2, 8: 4, 32: 8, 128: 3, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8, 1792: 16, 2304: 4}


class NotNifti(ValueError):
    """The bytes are no NIfTI-1 header."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A header's numbers as they stand; nothing is checked."""

    order: str  # "<" or ">"
    sizes: tuple[int, ...]  # seven, of which the first `dimensions` count
    datatype: int
    first_byte: int  # of the values
    expected_bytes: int
    axes: tuple[int, int]  # qform and sform codes; 0 where one says nothing


def opened(path: Path) -> BinaryIO:
    """The file's bytes, unpacked where they are gzip's."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def read_layout(file: BinaryIO) -> Layout:
    """The layout by the header at the file's place; NotNifti where it is none."""
    head = file.read(HEADER_BYTES)
    order = ORDERS.get(head[:4])
    if order is None or len(head) < HEADER_BYTES:
        raise NotNifti("this is no NIfTI-1 header")
    dimensions, *sizes = struct.unpack_from(f"{order}8h", head, 40)
    datatype, bits = struct.unpack_from(f"{order}2h", head, 70)
    (first,) = struct.unpack_from(f"{order}f", head, 108)
    if not math.isfinite(first):
        raise NotNifti("the values begin nowhere")
    expected = math.prod(sizes[: max(dimensions, 0)]) * SIZES.get(datatype, bits // 8)
    return Layout(
        order=order,
        sizes=tuple(sizes),
        datatype=datatype,
        first_byte=int(first),
        expected_bytes=expected,
        axes=struct.unpack_from(f"{order}2h", head, 252),
    )
