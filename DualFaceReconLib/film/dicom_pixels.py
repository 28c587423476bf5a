"""DICOM pixels -> a float32 picture in which bone is bright.

Stored values are whole numbers of at most 16 bits, so all that DICOM does to them (modality LUT or rescale, VOI LUT,
polarity) is one table from stored value to grey value, applied once.
"""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Known, RadiographWarning
from DualFaceReconLib.film.codestreams import compressed_size, ends_whole
from DualFaceReconLib.film.colour import grey_channel
from DualFaceReconLib.film.decoded import Decoded, polarity_warning
from DualFaceReconLib.film.decoding import DecodingFailed, decode_apart
from DualFaceReconLib.film.dicom_header import FLUOROSCOPY
from DualFaceReconLib.film.dicom_values import from_tag, integer, items, numbers, text, values
from DualFaceReconLib.film.limits import check_size
from DualFaceReconLib.geometry import Provenance

LARGEST_GREY = 1e30
LARGEST_INFLATED_BYTES = 1 << 30

PARSER_CUT_SHORT = "number of bytes of pixel data is less than expected"  # pydicom's words
CUT_SHORT, CONTRADICTS = "it is cut short", "its content contradicts the header"
DAMAGED = "The DICOM file is damaged or incomplete: export it again from the archive."
UNREADABLE_TABLE = f"The header's grey-value table is unreadable. {DAMAGED}"


def read_dataset(path: Path, with_pixels: bool) -> Dataset:
    """The file's elements; values are not trusted until someone reads them."""
    try:
        _refuse_inflation_bomb(path)
    except (OSError, zlib.error) as error:
        raise Refusal(DAMAGED) from error
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that we judge ourselves
        try:
            ds = pydicom.dcmread(path, stop_before_pixels=not with_pixels, force=True)
        except Exception as error:  # a hostile file can make the parser raise anything, MemoryError for a length
            raise Refusal(DAMAGED) from error
    if "TransferSyntaxUID" not in ds.file_meta:  # old files without a preamble; the parser found out how they are coded
        implicit, little_endian = ds.original_encoding
        plain = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else plain
    return ds


def decode(ds: Dataset, path: Path) -> Decoded:
    """The picture of a dataset that `read_acquisition` accepted, read from `path` with its pixels."""
    stored = _stored_values(ds, path)
    if stored.ndim == 3:
        return _decode_colour(stored)
    return _decode_grey(ds, stored)


def _refuse_inflation_bomb(path: Path) -> None:
    """Deflated files are unpacked whole by the parser, so their size is measured first."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return
        syntax = b""
        while (head := file.read(8))[:2] == b"\x02\x00":  # the file meta group, explicit VR little endian
            length = int.from_bytes(head[6:], "little")
            if head[4:6] in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF"):
                length = int.from_bytes(file.read(4), "little")
            value = file.read(min(length, 1 << 20))
            if head[:4] == b"\x02\x00\x10\x00":
                syntax = value.strip(b"\0 ")
        if syntax != str(DeflatedExplicitVRLittleEndian).encode():
            return
        file.seek(-len(head), 1)
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while chunk := file.read(1 << 16):
            while chunk:
                size += len(inflater.decompress(chunk, 1 << 24))
                if size > LARGEST_INFLATED_BYTES:
                    raise Refusal("The file unpacks to over 1 GB, far beyond a radiograph: it is not read.")
                chunk = inflater.unconsumed_tail


# Decoding


def _stored_values(ds: Dataset, path: Path) -> np.ndarray:
    """(rows, cols) integers, or (rows, cols, 3) for a colour picture."""
    bits = integer(ds, "BitsAllocated")
    samples = integer(ds, "SamplesPerPixel") or 1
    if "PixelData" not in ds:
        raise Refusal("This DICOM file has no pixel data or is incomplete: export the picture again from the archive.")
    if bits not in (8, 16) or samples not in (1, 3) or text(ds, "PhotometricInterpretation") == "PALETTE COLOR":
        raise Refusal(
            f"The pixels are stored in a way no radiograph uses ({samples} x {bits} bits): "
            "export the picture again as an ordinary grey-scale image."
        )
    size = integer(ds, "Rows"), integer(ds, "Columns")
    encapsulated, native = _parsed_pixels(ds, samples)
    if encapsulated is not None:
        _check_frame(encapsulated, size)
    if native is not None:
        stored = native
    else:
        try:
            _, stored = decode_apart("dicom", path)
        except DecodingFailed as error:
            raise _undecodable(CONTRADICTS) from error
    if stored.shape[:2] != size:
        raise _undecodable(CONTRADICTS)
    return stored


def _parsed_pixels(ds: Dataset, samples: int) -> tuple[bytes | None, np.ndarray | None]:
    """The frame's code where the pixels are encapsulated, and its values where they need no native decoder."""
    try:
        syntax = ds.file_meta.TransferSyntaxUID
        frame = get_frame(ds.PixelData, 0, number_of_frames=1) if syntax.is_encapsulated else None
        if syntax.is_encapsulated and syntax != RLELossless:
            return frame, None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities that do no harm
            return frame, pixel_array(ds, index=0, raw=samples == 1)
    except MemoryError:
        raise
    except Exception as error:  # hostile pixel data can make the parser raise anything
        raise _undecodable(CUT_SHORT if PARSER_CUT_SHORT in str(error) else CONTRADICTS) from error


def _check_frame(frame: bytes, size_px: tuple[int | None, int | None]) -> None:
    """A decoder would believe the frame's own size, and fill up with grey what is missing at its end."""
    size = compressed_size(frame)
    if size is None:
        return
    if size != size_px:
        check_size(size)
        raise _undecodable(CONTRADICTS)
    if not ends_whole(frame):
        raise _undecodable(CUT_SHORT)


def _undecodable(reason: str) -> Refusal:
    return Refusal(f"The pixel data cannot be decoded, {reason}. {DAMAGED}")


# Grey values


def _decode_colour(stored: np.ndarray) -> Decoded:
    polarity = Known("as stored", Provenance("assumed", "bone is taken to be bright in a screen picture"))
    note = RadiographWarning(
        "screen-picture", "This is a screen picture with three channels: its grey values are not those of the detector."
    )
    grey, marks = grey_channel(stored)
    return Decoded(
        pixels=grey.astype(np.float32),
        polarity=polarity,
        display_window=None,
        warnings=[note, polarity_warning(), *marks],
    )


def _decode_grey(ds: Dataset, stored: np.ndarray) -> Decoded:
    code_values = _values_of_codes(ds)
    notes: list[RadiographWarning] = []
    greys = _modality_greys(ds, code_values)
    unprocessed = text(ds, "PresentationIntentType") == "FOR PROCESSING" or text(ds, "Modality") in FLUOROSCOPY
    voi = None if unprocessed else _lookup_item(ds, "VOILUTSequence")
    if voi:
        greys = _looked_up(np.rint(greys).astype(np.int64), voi)
    rising = bool(greys[code_values.argmax()] >= greys[code_values.argmin()])
    polarity = _polarity(ds, unprocessed, rising, notes)
    window = None if unprocessed or voi else _window(ds)
    if unprocessed and text(ds, "PixelIntensityRelationship") == "LIN" and polarity.value == "inverted":
        greys = np.log(max(greys.max(), 2.0)) - np.log(np.maximum(greys, 1.0))
        notes.append(
            RadiographWarning("logarithm", "The values are linear in X-ray intensity: their logarithm is used.")
        )
    elif polarity.value == "inverted":
        total = greys.max() + greys.min()
        greys = total - greys
        window = None if window is None else (total - window[1], total - window[0])
    if not (np.abs(greys) < LARGEST_GREY).all() or greys.max() == greys.min():
        raise Refusal(f"The header's grey-value tables make no picture. {DAMAGED}")

    pixels = _looked_up_by_rows(greys.astype(np.float32), stored)
    padding = _padding(ds, code_values)
    if padding.any():
        padded = _looked_up_by_rows(padding.astype(np.float32), stored) > 0
        if padded.any() and not padded.all():
            pixels[padded] = pixels[~padded].min()
        if padded.mean() > 0.02:
            share = 100 * padded.mean()
            notes.append(RadiographWarning("padding", f"{share:.0f} % of the picture is padding without X-rays."))
    return Decoded(pixels=pixels, polarity=polarity, display_window=window, warnings=notes)


def _values_of_codes(ds: Dataset) -> np.ndarray:
    """What each code of BitsStored bits means, (2 ** bits,) integers: itself, or its two's complement."""
    bits = integer(ds, "BitsStored") or integer(ds, "BitsAllocated") or 16
    high = integer(ds, "HighBit")
    if not 1 <= bits <= 16:
        raise Refusal(f"The header says {bits} bits a pixel, which cannot be. {DAMAGED}")
    if high is not None and high != bits - 1:
        raise Refusal(
            f"The pixels' {bits} bits do not start at the lowest one (HighBit {high}), which no current system writes: "
            "export the picture again from the archive."
        )
    codes = np.arange(1 << bits)
    signed = integer(ds, "PixelRepresentation") == 1
    return np.where(signed & (codes >> (bits - 1) == 1), codes - (1 << bits), codes)


def _looked_up_by_rows(table: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """`table` at every stored code, in bands of rows: looked up at once, the indices would need eight bytes each."""
    pixels = np.empty(stored.shape, np.float32)
    for first in range(0, len(stored), 256):
        band = slice(first, first + 256)
        pixels[band] = table[stored[band].astype(np.int32) & (len(table) - 1)]
    return pixels


def _modality_greys(ds: Dataset, code_values: np.ndarray) -> np.ndarray:
    """What the modality LUT or the rescale make of every stored value, float64."""
    item = _lookup_item(ds, "ModalityLUTSequence")
    if item:
        return _looked_up(code_values, item)
    slope, intercept = numbers(ds, "RescaleSlope"), numbers(ds, "RescaleIntercept")
    return code_values * (slope[0] if slope else 1.0) + (intercept[0] if intercept else 0.0)


def _lookup_item(ds: Dataset, keyword: str) -> Dataset | None:
    return next((item for item in items(ds, keyword) if "LUTDescriptor" in item and "LUTData" in item), None)


def _looked_up(stored: np.ndarray, item: Dataset) -> np.ndarray:
    """Values below the table's first take its first entry, values above its last take the last; float64."""
    descriptor, data = numbers(item, "LUTDescriptor"), values(item, "LUTData")
    if len(descriptor) != 3 or not data:
        raise Refusal(UNREADABLE_TABLE)
    entries, first = int(descriptor[0]) % (1 << 16) or 1 << 16, int(descriptor[1])
    if isinstance(data[0], bytes):
        packed = data[0] if len(data[0]) < 2 * entries else data[0][: 2 * entries]
        table = np.frombuffer(packed, np.uint8 if len(packed) < 2 * entries else "<u2")
    else:
        table = np.array(numbers(item, "LUTData"))
    table = table[:entries].astype(np.float64)
    if not len(table):
        raise Refusal(UNREADABLE_TABLE)
    if first > 0x7FFF and stored.min() < 0:
        first -= 1 << 16  # a signed first value read as unsigned
    return table[np.clip(stored - first, 0, len(table) - 1)]


def _polarity(ds: Dataset, unprocessed: bool, rising: bool, notes: list[RadiographWarning]) -> Known:
    """Whether the grey values have to be inverted for bone to be bright.

    A film for presentation is shown with bone bright, so its photometric interpretation decides. Unprocessed values and
    fluoroscopy have no such look; there the sign tells whether high values mean much X-ray (air) or little (bone).
    """
    bone_is_high, tag = _bone_by_intensity(ds, rising)
    if unprocessed and bone_is_high is not None:
        return Known("as stored" if bone_is_high else "inverted", tag)
    photometric, shape = text(ds, "PhotometricInterpretation"), text(ds, "PresentationLUTShape")
    inverse = photometric == "MONOCHROME1"
    polarity = "inverted" if inverse else "as stored"
    if unprocessed or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        notes.append(polarity_warning())
        why = "nothing relates the values to X-ray intensity" if unprocessed else "unusual photometric interpretation"
        return Known(polarity, Provenance("assumed", why))
    if (bone_is_high is not None and bone_is_high == inverse) or shape == ("IDENTITY" if inverse else "INVERSE"):
        notes.append(
            RadiographWarning(
                "polarity-conflict",
                "The header contradicts itself on whether bone is bright: look at the picture; say {invert} if bone is "
                "dark.",
            )
        )
    return Known(polarity, from_tag(ds, "PhotometricInterpretation"))


def _bone_by_intensity(ds: Dataset, rising: bool) -> tuple[bool | None, Provenance | None]:
    """Whether bone has high grey values, as far as the header relates stored values to X-ray intensity."""
    sign = numbers(ds, "PixelIntensityRelationshipSign")
    if sign and sign[0] in (-1, 1):
        return (sign[0] < 0) == rising, from_tag(ds, "PixelIntensityRelationshipSign")
    if text(ds, "Modality") in FLUOROSCOPY and text(ds, "PixelIntensityRelationship") in ("LIN", "LOG"):
        return not rising, from_tag(ds, "PixelIntensityRelationship")  # both grow with the intensity
    return None, None


def _window(ds: Dataset) -> tuple[float, float] | None:
    centre, width = numbers(ds, "WindowCenter"), numbers(ds, "WindowWidth")
    if not centre or not width or width[0] <= 0:
        return None
    return centre[0] - width[0] / 2, centre[0] + width[0] / 2


def _padding(ds: Dataset, code_values: np.ndarray) -> np.ndarray:
    """Which codes are padding, (2 ** bits,) bool; writers give the value signed or unsigned as they like."""
    ends = [numbers(ds, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    meant = [code_values[int(end[0]) % len(code_values)] for end in ends if end]
    return (code_values >= min(meant)) & (code_values <= max(meant)) if ends[0] else np.zeros(len(code_values), bool)
