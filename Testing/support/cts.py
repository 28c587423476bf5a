"""CTs for tests: a virtual patient's bones in flesh on a table, with labels, as images and as DICOM slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.ndimage import binary_erosion
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkImagingStencil import vtkImageStencilToImage, vtkPolyDataToImageStencil

from DualFaceReconLib.meshes import polydata
from support.bones import made_population
from training.ct.files import LABELS
from training.patients.virtual import VirtualPatient, sample_patient

LPS = np.array([-1.0, -1.0, 1.0])
SECRET = "Doe^Jane"


def voxels_of(mesh, origin, spacing, size):
    """(slices, rows, cols) bool of voxels whose centres lie in a closed mesh, all in one frame."""
    stencil, filled = vtkPolyDataToImageStencil(), vtkImageStencilToImage()
    stencil.SetInputData(polydata(*mesh))
    stencil.SetOutputOrigin(*origin)
    stencil.SetOutputSpacing(*spacing)
    stencil.SetOutputWholeExtent(0, size[0] - 1, 0, size[1] - 1, 0, size[2] - 1)
    filled.SetInputConnection(stencil.GetOutputPort())
    filled.SetInsideValue(1)
    filled.SetOutsideValue(0)
    filled.SetOutputScalarTypeToUnsignedChar()
    filled.Update()
    return vtk_to_numpy(filled.GetOutput().GetPointData().GetScalars()).reshape(size[::-1]).astype(bool)


def made_ct(spacing=(2.5, 2.5, 2.5), size=(168, 112, 130), seed=3) -> tuple[sitk.Image, sitk.Image, VirtualPatient]:
    """A CT that cuts the femora, its labels, and the patient; ITK's frame is the patient's, as LPS."""
    patient = sample_patient(made_population(), seed)
    hips = np.concatenate([patient.bones[f"hip_{side}"][0] for side in ("left", "right")])
    middle = (hips.min(axis=0) + hips.max(axis=0)) / 2
    extent = np.array(size) * spacing
    origin = np.array([-middle[0] - extent[0] / 2, -middle[1] - extent[1] / 2, hips[:, 2].max() + 30 - extent[2]])
    rows, cols = np.ogrid[: size[1], : size[0]]
    across, back = origin[0] + cols * spacing[0] + middle[0], origin[1] + rows * spacing[1] + middle[1]
    hu = np.full(size[::-1], -1000, np.int16)
    hu[:, (np.abs(back - 128) < 3) & (np.abs(across) < 190)] = -150  # the table
    hu[:, (across / 180) ** 2 + (back / 115) ** 2 < 1] = -95
    hu[:, (across / 160) ** 2 + (back / 95) ** 2 < 1] = 45
    labels = np.zeros(size[::-1], np.uint8)
    for bone, (vertices, triangles) in patient.bones.items():
        mask = voxels_of((vertices * LPS, triangles), origin, spacing, size)
        hu[mask] = 1100
        hu[binary_erosion(mask)] = 260
        labels[mask] = LABELS.get(bone, 25)
    return image_of(hu, origin, spacing), image_of(labels, origin, spacing), patient


def image_of(values: np.ndarray, origin, spacing, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)) -> sitk.Image:
    """An image with its place."""
    image = sitk.GetImageFromArray(values)
    image.SetOrigin([float(mm) for mm in origin])
    image.SetSpacing([float(mm) for mm in spacing])
    image.SetDirection([float(part) for part in direction])
    return image


def like(image: sitk.Image, values: np.ndarray) -> sitk.Image:
    """Other values at the same place."""
    return image_of(values, image.GetOrigin(), image.GetSpacing(), image.GetDirection())


def write_series(image: sitk.Image, folder: Path, series: str = "1.2.3") -> None:
    """DICOM slices, stored from 0 with an intercept, their files' order not the slices'."""
    folder.mkdir(parents=True, exist_ok=True)
    values = sitk.GetArrayFromImage(image)
    across = np.reshape(image.GetDirection(), (3, 3)).T[:2].ravel()
    for number, pixels in enumerate(values):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=[series, str(number)])
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2", series, "1.2.4"
        ds.Modality, ds.PatientName, ds.PatientID, ds.PatientPosition = "CT", SECRET, SECRET, "HFS"
        ds.ImageOrientationPatient = [round(float(part), 6) for part in across]
        place = image.TransformIndexToPhysicalPoint((0, 0, number))
        ds.ImagePositionPatient = [round(float(mm), 4) for mm in place]
        ds.PixelSpacing = [image.GetSpacing()[1], image.GetSpacing()[0]]
        ds.SliceThickness = image.GetSpacing()[2]
        ds.Rows, ds.Columns = pixels.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        ds.PixelData = (pixels.astype(np.int32) + 1024).astype(np.uint16).tobytes()
        ds.save_as(folder / f"{(number * 37) % len(values):04d}.dcm", enforce_file_format=True)
