"""Grids of values in RAS millimetres as .nrrd files, in the axes that ITK has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def write_volume(values: np.ndarray, ijk_to_ras: np.ndarray, path: Path) -> None:
    """(slices, rows, cols) of a grid whose [column, row, slice] a matrix (4, 4) takes to RAS mm."""
    image = sitk.GetImageFromArray(values)
    axes = RAS_TO_LPS @ ijk_to_ras[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((axes / spacing).ravel().tolist())
    image.SetOrigin((RAS_TO_LPS @ ijk_to_ras[:3, 3]).tolist())
    try:
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
    except RuntimeError as error:
        raise OSError(0, f"{path.name} could not be written: is there room?") from error


def write_film(pixels: np.ndarray, ijk_to_ras: np.ndarray, path: Path) -> None:
    """(rows, cols) float32, as 16-bit whole numbers where they are that: two thirds of the time and of the bytes."""
    with np.errstate(invalid="ignore"):  # of values that no whole number has
        whole = pixels.astype(np.uint16)
    same = np.array_equal(whole.astype(np.float32).view(np.uint32), pixels.view(np.uint32))  # -0.0 is not 0.0
    write_volume((whole if same else pixels)[None], ijk_to_ras, path)


def read_volume(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """(slices, rows, cols) of a file; ValueError where it holds none of that shape."""
    try:
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise ValueError(f"{path.name} cannot be read") from error
    if image.shape != shape:
        raise ValueError(f"{path.name} has another size")
    return image
