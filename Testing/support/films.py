"""Small valid films of every kind that is read, for tests: a bright disc on the patient's right, a ring on the left."""

from __future__ import annotations

import struct
from pathlib import Path

import gdcm
import numpy as np
import SimpleITK as sitk
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from DualFaceReconLib.geometry import ProjectionGeometry
from training.xray.dicom_film import dx_dataset

ROWS, COLS = 300, 280
GEOMETRY = ProjectionGeometry(
    sdd_mm=1150,
    pixel_pitch_mm=(1.2, 1.25),
    size_px=(ROWS, COLS),
    principal_point_px=(140.25, 150.5),
    object_distance_mm=190,
)

COMPRESSIONS = {
    "jpeg-baseline": gdcm.TransferSyntax.JPEGBaselineProcess1,
    "jpeg-lossless": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "jpeg-ls": gdcm.TransferSyntax.JPEGLSLossless,
    "jpeg-2000": gdcm.TransferSyntax.JPEG2000Lossless,
}


def film(rows: int = ROWS, cols: int = COLS, seed: int = 0) -> np.ndarray:
    """(rows, cols) float32 in 0..1, bone bright: a disc at the left of the picture (the patient's right), a ring."""
    row, col = np.mgrid[:rows, :cols].astype(np.float32)
    disc = (row - 0.5 * rows) ** 2 + (col - 0.25 * cols) ** 2 < (0.13 * rows) ** 2
    radius = np.hypot(row - 0.45 * rows, col - 0.7 * cols)
    ring = np.abs(radius - 0.15 * rows) < 0.04 * rows
    noise = np.random.default_rng(seed).normal(0, 0.02, (rows, cols))
    return (0.2 + 0.15 * col / cols + 0.5 * disc + 0.3 * ring + noise).clip(0, 1).astype(np.float32)


def dataset(**tags: object) -> Dataset:
    """A valid DX object; each tag given is set, or removed where it is None."""
    ds = dx_dataset(film(), GEOMETRY)
    with disable_value_validation():  # some tests need values that vendors write and the standard forbids
        for keyword, value in tags.items():
            ds.pop(keyword, None)
            if value is not None:
                setattr(ds, keyword, value)
    return ds


def save(ds: Dataset, path: Path, syntax: str = "explicit") -> Path:
    """Writes a DICOM file in one of `SYNTAXES`."""
    if syntax in COMPRESSIONS:
        plain = path.with_name(path.name + ".plain")
        _save_compressed(save(ds, plain), path, COMPRESSIONS[syntax])
        plain.unlink()
        return path
    if syntax == "rle":
        ds.compress(RLELossless, generate_instance_uid=False)
    else:
        ds.file_meta.TransferSyntaxUID = {
            "explicit": ExplicitVRLittleEndian,
            "implicit": ImplicitVRLittleEndian,
            "deflated": DeflatedExplicitVRLittleEndian,
            "big-endian": ExplicitVRBigEndian,
        }[syntax]
        if syntax == "big-endian":
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    with disable_value_validation():
        ds.save_as(path, enforce_file_format=True)
    return path


SYNTAXES = ("explicit", "implicit", "deflated", "big-endian", "rle", *COMPRESSIONS)


def _save_compressed(plain: Path, target: Path, syntax: int) -> None:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


IMAGE_SUFFIXES = (".png", ".jpg", ".tif", ".nrrd", ".mha", ".nii", ".nii.gz")


def save_image(path: Path, bits: int = 16, spacing: tuple[float, float] = (1.25, 1.2)) -> Path:
    """The film as an image file; the name's ending chooses the kind. `spacing` is [col, row] as ITK has it."""
    image = sitk.GetImageFromArray((film() * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16))
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return path


def save_tiff(path: Path, stored: np.ndarray, white_is_zero: bool, orientation: int = 1) -> Path:
    """A minimal 8-bit TIFF with the photometric interpretation asked for."""
    rows, cols = stored.shape
    tags = [(256, cols), (257, rows), (258, 8), (259, 1), (262, 0 if white_is_zero else 1), (273, 8), (277, 1)]
    tags = sorted([*tags, (274, orientation), (278, rows), (279, stored.size)])
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    header = b"II*\0" + struct.pack("<I", 8 + stored.size)
    path.write_bytes(header + stored.astype(np.uint8).tobytes() + struct.pack("<H", len(tags)) + entries + b"\0" * 4)
    return path
