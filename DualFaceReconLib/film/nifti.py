"""What a NIfTI-1 file says of its own layout, for checks before ITK reads it."""

from __future__ import annotations

import gzip
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ORDERS = {struct.pack(f"{order}i", 348): order for order in "<>"}  # by the header's first four bytes
FLOATS = {16: 4, 64: 8}  # datatype -> bytes


@dataclass(frozen=True)
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
    """The layout by the header at the file's place; KeyError or struct.error where it is none."""
    head = file.read(348)
    order = ORDERS[head[:4]]
    dimensions, *sizes = struct.unpack_from(f"{order}8h", head, 40)
    datatype, bits = struct.unpack_from(f"{order}2h", head, 70)
    (first,) = struct.unpack_from(f"{order}f", head, 108)
    expected = math.prod(sizes[: max(dimensions, 0)]) * bits // 8
    return Layout(order, tuple(sizes), datatype, int(first), expected, struct.unpack_from(f"{order}2h", head, 252))
