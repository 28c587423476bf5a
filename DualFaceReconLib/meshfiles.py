"""Bones as .vtp files that say which way their axes point: Slicer takes files that do not say so for LPS."""

from __future__ import annotations

from pathlib import Path

from vtkmodules.vtkCommonCore import vtkStringArray
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader, vtkXMLPolyDataWriter

SPACE = "SPACE"  # the field by which Slicer knows the axes of a mesh file


def write_vtp(mesh: vtkPolyData, path: Path) -> None:
    """Writes a mesh in RAS mm; the file appears whole or not at all."""
    told = vtkPolyData()
    told.ShallowCopy(mesh)
    axes = vtkStringArray()
    axes.SetName(SPACE)
    axes.InsertNextValue("RAS")
    told.GetFieldData().AddArray(axes)
    beside = path.with_name(f".{path.name}.part")
    writer = vtkXMLPolyDataWriter()
    writer.SetFileName(str(beside))
    writer.SetInputData(told)
    if not writer.Write():
        beside.unlink(missing_ok=True)
        raise OSError(f"{path.name} could not be written: is there room, and may you write there?")
    beside.replace(path)


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
