"""What JPEG, JPEG-LS and JPEG 2000 streams say of themselves, read without decoding them."""

from __future__ import annotations

import struct


def ends_whole(jpeg: bytes) -> bool:
    """Whether a JPEG, JPEG-LS or JPEG 2000 stream has its end marker; neither marker can occur inside coded data."""
    data_starts = b"\xff\xda" if jpeg.startswith(b"\xff\xd8") else b"\xff\x93"
    return jpeg.rfind(b"\xff\xd9") > jpeg.rfind(data_starts)


def compressed_size(frame: bytes) -> tuple[int, int] | None:
    """[rows, cols] as a JPEG, JPEG-LS or JPEG 2000 frame states them; None for other codes."""
    start = frame.find(b"\xff\x4f\xff\x51")
    if 0 <= start < 256 and len(frame) >= start + 24:  # JPEG 2000's SIZ, bare or in a JP2 box
        cols, rows, col0, row0 = struct.unpack(">4I", frame[start + 8 : start + 24])
        return rows - row0, cols - col0
    if frame[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker, length = frame[at + 1], struct.unpack(">H", frame[at + 2 : at + 4])[0]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return struct.unpack(">2H", frame[at + 5 : at + 9])
        at += 2 + length
    return None
