"""Bones as VTK meshes, and as .vtp files that say RAS: Slicer takes files that do not say so for LPS."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from vtkmodules.vtkCommonCore import vtkStringArray
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader, vtkXMLPolyDataWriter

from DualFaceReconLib.disk.files import write_bytes
from DualFaceReconLib.meshes import arrays

SPACE = "SPACE"  # the field by which Slicer knows the axes of a mesh file


def write_vtp(mesh: vtkPolyData, path: Path, *, swiftly: bool = False) -> None:
    """Writes a mesh in RAS mm; the file appears whole or not at all.

    `swiftly`: in an eighth of the time or less, for a file that is two thirds larger.
    """
    tagged = vtkPolyData()
    tagged.ShallowCopy(mesh)
    axes = vtkStringArray()
    axes.SetName(SPACE)
    axes.InsertNextValue("RAS")
    tagged.GetFieldData().AddArray(axes)
    writer = vtkXMLPolyDataWriter()
    writer.WriteToOutputStringOn()  # a full disk is told by the system, once; VTK would print what it was doing inside
    writer.SetInputData(tagged)
    writer.EncodeAppendedDataOff()  # a quarter less than letters
    if swiftly:
        writer.SetCompressorTypeToLZ4()
    writer.SetCompressionLevel(1)  # about as small as at the usual 5, in half the time
    if not writer.Write():
        raise MemoryError(f"{path.name} could not be made")
    written = writer.GetOutputString()
    write_bytes(path, written.encode() if isinstance(written, str) else written)  # VTK takes some bytes for text


def write_stl(mesh: vtkPolyData, path: Path, comment: str) -> None:
    """Writes a mesh of triangles in RAS mm as binary STL; `comment` fits with the axes into a header of 80 letters."""
    header = f"SPACE=RAS; {comment}"
    if len(header) > 80:
        raise ValueError(f"an STL's header holds 80 letters, not {len(header)}")
    vertices, triangles = arrays(mesh)
    corners = vertices[triangles].astype(np.float32)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    rows = np.zeros(len(corners), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("spare", "<u2")])
    rows["normal"], rows["corners"] = normals, corners
    write_bytes(path, header.encode("ascii").ljust(80) + struct.pack("<I", len(rows)) + rows.tobytes())


def read_vtp(path: Path) -> vtkPolyData:
    """A mesh in RAS mm; ValueError for a file that is no mesh or has other axes."""
    reader = vtkXMLPolyDataReader()
    if not reader.CanReadFile(str(path)):
        raise ValueError(f"{path.name} is no .vtp mesh")
    reader.SetFileName(str(path))
    reader.Update()
    mesh = reader.GetOutput()
    axes = mesh.GetFieldData().GetAbstractArray(SPACE)
    if axes is None or axes.GetValue(0) != "RAS":
        raise ValueError(f"{path.name} does not say that its axes are RAS")
    return mesh
