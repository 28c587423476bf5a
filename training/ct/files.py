"""A CT and its label map from files, on one grid: NIfTI, NRRD, MetaImage, or a folder with a DICOM series.

scan = read_scan(Path("ct.nii.gz"), Path("segmentations"), LABELS)

No message about a file holds its name or a text of its header: they may name the patient.
"""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film import nifti
from training.xray.volume import Volume

# TotalSegmentator 2, task "total" (class_map in its map_to_binary.py); version 1 had 90, 91, 88 and 89.
LABELS = {"hip_left": 77, "hip_right": 78, "femur_left": 75, "femur_right": 76}
NIFTI, OTHERS = (".nii", ".nii.gz"), (".nrrd", ".nhdr", ".mha", ".mhd")
FILES = NIFTI + OTHERS
CHUNK_BYTES = 1 << 24
UNEVEN_SHARE = 0.02  # of the mean gap between slices; positions are often rounded to 0.01 mm
TILT_DEGREES = 0.5
SAME_DIRECTION = 1e-3  # of cosines
SAME_PLACE = 0.05  # of a voxel

sitk.ProcessObject.SetGlobalWarningDisplay(False)  # ITK's warnings name the file


@dataclass(frozen=True)
class Scan:
    """A CT with its bones' labels, columns towards the patient's left, rows backwards, slices upwards."""

    volume: Volume  # HU, int16 or float32
    labels: np.ndarray  # (slices, rows, cols) uint8: 0, or a bone's place in BONES plus 1
    position: str | None  # how the patient lay, as DICOM says it (HFS, FFP ...)


def read_scan(ct: Path, labels: Path, numbers: Mapping[str, int] = LABELS) -> Scan:
    """Reads both; Refusal where they cannot be used. `labels` is one image, or a folder with a mask for each bone.

    `numbers`: the bones' values in an image of labels.
    """
    position = None
    if ct.is_dir():
        image, position = _read_series(ct)
    else:
        image = _read_image(ct, "CT")
    image = sitk.DICOMOrient(image, "LPS")
    hu = sitk.GetArrayFromImage(image)
    if not np.isfinite(hu).all():
        raise Refusal("The CT holds values that are not numbers (NaN or infinite): export it again.")
    if hu.dtype != np.int16:
        narrow = np.issubdtype(hu.dtype, np.integer) and hu.min() >= -(2**15) and hu.max() < 2**15
        hu = hu.astype(np.int16 if narrow else np.float32)
    bones = _read_labels(labels, image, numbers)
    volume = Volume(hu, _ijk_to_ras(image))
    return _without_padding(Scan(volume, bones, position))


def kept_slices(scan: Scan, first: int, last: int) -> Scan:
    """The slices from `first` to `last`, both included."""
    matrix = scan.volume.ijk_to_ras.copy()
    matrix[:3, 3] = scan.volume.to_ras(np.array([0.0, 0, first]))
    kept = slice(first, last + 1)
    return Scan(Volume(scan.volume.values[kept], matrix), scan.labels[kept], scan.position)


def _without_padding(scan: Scan) -> Scan:
    """Slices of one value at either end were never scanned."""
    values = scan.volume.values
    filled = np.flatnonzero([piece.min() < piece.max() for piece in values])
    if len(filled) == 0:
        raise Refusal("The CT holds one value everywhere: export it again.")
    return kept_slices(scan, filled[0], filled[-1])


def _ijk_to_ras(image: sitk.Image) -> np.ndarray:
    """(4, 4); ITK's own axes are left, posterior, superior."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


# Images


def _read_image(path: Path, what: str) -> sitk.Image:
    """One volume of a file; messages call it `what`."""
    name = path.name.lower()
    if not path.is_file():
        raise Refusal(f"There is no {what} at the place that was named: check the path.")
    if not name.endswith(FILES):
        raise Refusal(f"The {what} is of a kind that is not read here: use {', '.join(FILES)} or a DICOM folder.")
    if name.endswith(NIFTI):
        _check_nifti(path, what)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise Refusal(_damaged(what)) from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise Refusal(f"The {what} is not one volume of single values: export one series as a 3D image.")
    return image


def _damaged(what: str) -> str:
    return f"The {what} is damaged, cut short or not of the kind that its name says: export it again."


def _check_nifti(path: Path, what: str) -> None:
    """Refusal where a NIfTI lacks bytes, numbers or axes: ITK would put zeros and the identity in their place."""
    layout = _nifti_layout(path, what)
    width = nifti.FLOATS.get(layout.datatype)
    read, all_numbers = 0, True
    for chunk in _nifti_values(path, layout, what):
        read += len(chunk)
        if width:
            whole = len(chunk) // width * width
            all_numbers &= bool(np.isfinite(np.frombuffer(chunk[:whole], f"{layout.order}f{width}")).all())
    if read < layout.expected_bytes:
        raise Refusal(_damaged(what))
    if not all_numbers:
        raise Refusal(f"The {what} holds values that are not numbers (NaN or infinite): export it again.")
    if layout.axes == (0, 0):
        raise Refusal(f"The {what} does not say where the patient's left is (no qform, no sform): export it again.")


def _nifti_layout(path: Path, what: str) -> nifti.Layout:
    try:
        with nifti.opened(path) as file:
            return nifti.read_layout(file)
    except (OSError, EOFError, zlib.error, struct.error, KeyError, ValueError, OverflowError) as error:
        raise Refusal(_damaged(what)) from error


def _nifti_values(path: Path, layout: nifti.Layout, what: str) -> Iterator[bytes]:
    """The values' bytes, piece by piece, as far as there are any."""
    left = layout.expected_bytes
    try:
        with nifti.opened(path) as file:
            file.seek(layout.first_byte)
            while chunk := file.read(min(CHUNK_BYTES, left)):
                left -= len(chunk)
                yield chunk
    except (OSError, EOFError, zlib.error, ValueError) as error:  # ValueError: a first byte below 0
        raise Refusal(_damaged(what)) from error


# DICOM


def _read_series(folder: Path) -> tuple[sitk.Image, str | None]:
    """The one CT series of a folder as HU, and how the patient lay."""
    headers = [(path, ds) for path in sorted(folder.iterdir()) if path.is_file() and (ds := _header(path)) is not None]
    if not headers:
        raise Refusal("The CT's folder holds no DICOM files: name the folder of one series.")
    series = {ds.get("SeriesInstanceUID") for _, ds in headers}
    if len(series) > 1:
        raise Refusal(f"The CT's folder holds {len(series)} DICOM series: keep one in it.")
    modality = str(headers[0][1].get("Modality", ""))
    if modality != "CT":
        raise Refusal(f"The DICOM series is not a CT (its Modality is {modality or 'not given'}): choose another.")
    try:
        across = [np.array(ds.ImageOrientationPatient, dtype=float).reshape(2, 3) for _, ds in headers]
        places = np.array([ds.ImagePositionPatient for _, ds in headers], dtype=float)
    except (AttributeError, TypeError, ValueError) as error:
        raise Refusal(
            "The DICOM series does not say where its slices lie: export the original slices, one a file."
        ) from error
    order = _checked_order(np.array(across), places)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(headers[i][0]) for i in order])
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise Refusal(_damaged("CT")) from error
    position = headers[0][1].get("PatientPosition")
    return image, str(position) if position else None


def _header(path: Path) -> pydicom.Dataset | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's quote the header, where the patient's name is
            return pydicom.dcmread(path, stop_before_pixels=True)
    except (pydicom.errors.InvalidDicomError, EOFError, OSError, ValueError):
        return None


def _checked_order(across: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The slices' order, upwards; Refusal where they are not one even stack. (slices, 2, 3) and (slices, 3)."""
    if len(places) < 2 or np.abs(across - across[0]).max() > SAME_DIRECTION:
        raise Refusal("The DICOM slices are not parallel, or there is only one: keep one axial series in the folder.")
    normal = np.cross(*across[0])
    height = places @ normal
    order = np.argsort(height)
    steps = np.diff(places[order], axis=0)
    gaps = steps @ normal
    if gaps.min() <= 0 or np.ptp(gaps) > 2 * UNEVEN_SHARE * gaps.mean():
        raise Refusal(
            f"The DICOM slices are unevenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm): some are missing or come "
            "twice; export the whole series."
        )
    drift = (places[order[-1]] - places[order[0]]) - (height[order[-1]] - height[order[0]]) * normal
    tilt = math.degrees(math.atan2(float(np.linalg.norm(drift)), float(np.ptp(height))))
    if tilt > TILT_DEGREES:
        raise Refusal(f"The CT was taken with a tilted gantry ({tilt:.1f} degrees): resample it upright first.")
    return order


# Labels


def _read_labels(path: Path, ct: sitk.Image, numbers: Mapping[str, int]) -> np.ndarray:
    """(slices, rows, cols) uint8 on the CT's grid."""
    if not path.is_dir():
        image = _read_image(path, "label map")
        values = _on_grid(image, ct, "label map")
        if np.issubdtype(values.dtype, np.floating) and np.any(values != np.rint(values)):
            raise Refusal("The label map holds values that are no whole numbers: export it without interpolation.")
        table = np.zeros(int(max(values.max(), *numbers.values())) + 1, dtype=np.uint8)
        for place, bone in enumerate(BONES, 1):
            table[numbers[bone]] = place
        if values.min() < 0:
            raise Refusal("The label map holds negative values: it is no label map.")
        return table[values.astype(np.int32)]
    labels = np.zeros(ct.GetSize()[::-1], dtype=np.uint8)
    for place, bone in enumerate(BONES, 1):
        masks = [path / f"{bone}{ending}" for ending in FILES if (path / f"{bone}{ending}").exists()]
        if masks:
            labels[_on_grid(_read_image(masks[0], f"mask of {bone}"), ct, f"mask of {bone}") > 0] = place
    return labels


def _on_grid(image: sitk.Image, ct: sitk.Image, what: str) -> np.ndarray:
    """The values at the CT's voxels: as they are, or the nearest where a coarser or finer grid covers the same box."""
    image = sitk.DICOMOrient(image, "LPS")
    turned = np.abs(np.subtract(image.GetDirection(), ct.GetDirection())).max()
    corners = [_outer_corners(grid) for grid in (image, ct)]
    apart = np.abs(np.subtract(*corners)).max()
    same = image.GetSize() == ct.GetSize()
    allowed = SAME_PLACE * min(ct.GetSpacing()) if same else max(image.GetSpacing())  # grids end within a voxel
    if turned > SAME_DIRECTION or apart > allowed:
        raise Refusal(
            f"The {what} is not on the CT's grid (its corners are up to {apart:.1f} mm from the CT's): label this CT "
            "itself."
        )
    if not same:
        image = sitk.Resample(image, ct, sitk.Transform(), sitk.sitkNearestNeighbor)
    return sitk.GetArrayFromImage(image)


def _outer_corners(image: sitk.Image) -> list[tuple[float, ...]]:
    first, last = (-0.5,) * 3, [n - 0.5 for n in image.GetSize()]
    return [image.TransformContinuousIndexToPhysicalPoint(corner) for corner in (first, last)]
