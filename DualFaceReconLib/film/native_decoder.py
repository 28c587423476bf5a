"""Decodes one untrusted picture in a process of its own: ITK's and GDCM's decoders can crash on damaged files.

Run by `decoding.py` as `python native_decoder.py itk|dicom FILE FOLDER READER LARGEST_SIDE`, or without arguments: then
it takes them from its input, as a line of JSON for each picture, forks for it, and answers with the fork's exit code.
Loading libraries takes several times as long as decoding a film; a line with the kind alone lets it load them. Imports
nothing of ours. Leaves info.json and, where the picture is within limits, pixels.npy in the folder.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np

NOT_SUPPORTED, OUT_OF_MEMORY, DAMAGED, NO_SPACE = 3, 4, 5, 6  # exit codes
LONGEST_SECONDS = 120
LIBRARIES = {"itk": ("SimpleITK",), "dicom": ("pydicom.pixels", "gdcm")}


class NoSpace(Exception):
    """The folder's disk is full."""


def decode_itk(path: str, folder: Path, reader_name: str, largest_side: int) -> None:
    """An image file; its size is known before a pixel is read."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO(reader_name)
    reader.SetFileName(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if reader_name == "PNGImageIO" and "Unknown PixelType" in str(error):
            return decode_png_with_vtk(path, folder, largest_side)  # grey with transparency
        raise
    size = reader.GetSize()
    info = {
        "size": size,  # fastest first: columns, rows, slices
        "spacing": reader.GetSpacing(),
        "direction": reader.GetDirection(),
        "channels": reader.GetNumberOfComponents(),
    }
    write_info(folder, info)
    if max(size) <= largest_side and np.prod(size[2:], dtype=float) == 1 and info["channels"] <= 4:
        image = reader.Execute()  # held, because the view does not own its memory
        write_pixels(folder, sitk.GetArrayViewFromImage(image))


def decode_png_with_vtk(path: str, folder: Path, largest_side: int) -> None:
    """A PNG of two channels, which SimpleITK has no type for."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOImage import vtkPNGReader

    reader = vtkPNGReader()
    reader.SetFileName(path)
    reader.UpdateInformation()
    first_col, last_col, first_row, last_row, *_ = reader.GetDataExtent()
    cols, rows = last_col - first_col + 1, last_row - first_row + 1
    channels = reader.GetNumberOfScalarComponents()
    write_info(folder, {"size": [cols, rows], "spacing": [1, 1], "direction": [1, 0, 0, 1], "channels": channels})
    if max(cols, rows) <= largest_side:
        reader.Update()
        scalars = vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars())
        write_pixels(folder, scalars.reshape(rows, cols, channels)[::-1])


def decode_dicom(path: str, folder: Path) -> None:
    """The first frame of a DICOM file with compressed pixels: stored grey values, or RGB."""
    import pydicom
    from pydicom.pixels import get_decoder, pixel_array

    ds = pydicom.dcmread(path, force=True)
    if get_decoder(ds.file_meta.TransferSyntaxUID).is_available:
        stored = pixel_array(ds, index=0, raw=ds.SamplesPerPixel == 1)
    else:  # Slicer's Python has no gdcm package for pydicom, but SimpleITK has GDCM inside
        stored = decode_dicom_with_itk(path, float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0)))
    write_pixels(folder, stored)
    write_info(folder, {})


def decode_dicom_with_itk(path: str, slope: float, intercept: float) -> np.ndarray:
    """The same through ITK, which rescales while it reads: that is undone."""
    import SimpleITK as sitk

    image = sitk.ReadImage(path, imageIO="GDCMImageIO")
    values = sitk.GetArrayFromImage(image)[0]
    return np.rint((values - intercept) / slope).astype(np.int32)


def write_info(folder: Path, info: dict) -> None:
    try:
        (folder / "info.json").write_text(json.dumps(info), encoding="utf-8")
    except OSError as error:
        raise NoSpace from error


def write_pixels(folder: Path, pixels: np.ndarray) -> None:
    try:
        np.save(folder / "pixels.npy", pixels, allow_pickle=False)
    except OSError as error:
        raise NoSpace from error


def exit_code(kind: str, path: str, folder: str, reader_name: str, largest_side: str) -> int:
    """Decodes a picture; 0, or what came between."""
    warnings.simplefilter("ignore")  # nobody reads this process's output
    try:
        if kind == "itk":
            decode_itk(path, Path(folder), reader_name, int(largest_side))
        else:
            decode_dicom(path, Path(folder))
    except MemoryError:
        return OUT_OF_MEMORY
    except NoSpace:
        return NO_SPACE
    except NotImplementedError:  # pydicom's word for a compression it has never heard of
        return NOT_SUPPORTED
    except Exception:
        return DAMAGED
    return 0


def serve() -> None:
    """Decodes pictures until nobody asks any more, each in a fork of this process, which no picture touches."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # libraries print there
    for line in sys.stdin:
        arguments = json.loads(line)
        for library in LIBRARIES[arguments[0]]:
            with suppress(ImportError):
                importlib.import_module(library)
        if len(arguments) == 1:  # nothing to decode yet
            continue
        fork = os.fork()
        if fork == 0:
            signal.alarm(LONGEST_SECONDS)  # which ends it
            code = DAMAGED
            try:
                code = exit_code(*arguments)
            finally:
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]), file=answers, flush=True)


if __name__ == "__main__":
    sys.modules["requests"] = None  # by which pydicom would fetch its examples
    if len(sys.argv) == 1:
        serve()
    else:
        sys.exit(exit_code(*sys.argv[1:]))
