"""The nodes of a run: film, depth maps, bones, landmarks, measurements, and how the film was taken.

Nothing here imports slicer: a scene makes nodes of the classes that it knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from vtkmodules.vtkCommonCore import vtkDoubleArray, vtkStringArray
from vtkmodules.vtkCommonDataModel import vtkDataObject, vtkPolyData

from DualFaceReconLib.outcome import Reconstruction
from DualFaceReconLib.pictures.bones import BONE_COLOURS, UNSURE_MM
from DualFaceReconLib.pictures.drawing import AMBER, CYAN, DEPTH_COLOURS, ERROR_COLOURS, YELLOW, Colour, blended
from DualFaceReconLib.pictures.wording import bone_words, measured, words
from DualFaceReconLib.scene import parts as scene_parts
from DualFaceReconLib.scene.parts import Place, copied, image, matrix, shares
from DualFaceReconLib.scene.run import Node, SceneRun, displayed, node_of

COLOURS_IN_TABLE = 256
# Attributes: the film's hash, a measurement and its standard deviation, and what was set: what somebody chose stays
FILM, MEASURED, SHADED, PLACED = (f"DualFaceRecon.{name}" for name in ("film", "measured", "shaded", "placed"))


def volumes(run: SceneRun, reconstruction: Reconstruction, millimetre: Any) -> list[Node]:
    """The film, and the depths of both faces.

    One volume a face, as people look at depth maps: where bones lie behind each other, front has what a ray enters
    first and back what it leaves last. The depths of single bones are in the observed surfaces. `millimetre` is a
    vtkCodedEntry.
    """
    radiograph, maps = reconstruction.radiograph, reconstruction.maps
    film = _volume(run, "film", "radiograph", radiograph.pixels, reconstruction)
    shown, new = displayed(film)
    if new:
        shown.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    other_film = film.GetAttribute(FILM) != radiograph.pixel_hash
    _shade(shown, *radiograph.display_window, anew=new or other_film)
    film.SetAttribute(FILM, radiograph.pixel_hash)

    faces = {"front": scene_parts.entered_first(maps)}
    if maps.back is not None:
        faces["back"] = scene_parts.left_last(maps)
    colours = _colour_table(run, "depth_colours", "depth", DEPTH_COLOURS)
    valid = np.concatenate([depth[depth > 0] for depth in faces.values()])
    nearest, farthest = (float(valid.min()), float(valid.max())) if valid.size else (1.0, 2.0)  # 0 is no bone
    written = [film, colours]
    for face, depth in faces.items():
        volume = _volume(run, f"depth_{face}", f"depth of {face} faces", depth, reconstruction)
        volume.SetVoxelValueUnits(millimetre)
        shown, new = displayed(volume)
        _coloured_by(shown, colours, new)
        if _shade(shown, nearest, farthest, anew=new):
            shown.SetAutoThreshold(False)
            shown.SetThreshold(nearest, farthest)
        if new:
            shown.SetApplyThreshold(True)  # where no bone is, the film shows through
        written.append(volume)
    return written


def bones(run: SceneRun, reconstruction: Reconstruction) -> list[Node]:
    """Completed bones, and what was seen of them as clouds of points, all with their scalars."""
    certainty = _colour_table(run, "certainty_colours", "standard deviation", ERROR_COLOURS)
    written = [certainty]
    for bone, one in reconstruction.bones.items():
        observed = _model(run, "observed", bone, f"{bone_words(bone)} observed", one.observed)
        shown, new = displayed(observed)
        if new:
            shown.SetColor(*shares(BONE_COLOURS[bone]))
            shown.SetRepresentation(shown.PointsRepresentation)
            shown.SetPointSize(2)
            shown.SetVisibility(one.completed is None)
            shown.SetActiveScalarName("face")
        written.append(observed)
        if one.completed is None:
            continue
        completed = _model(run, "completed", bone, bone_words(bone), one.completed)
        shown, new = displayed(completed)
        _coloured_by(shown, certainty, new)
        if new:
            shown.SetColor(*shares(BONE_COLOURS[bone]))
            shown.SetActiveScalar("std_mm", vtkDataObject.POINT)
            shown.SetScalarRangeFlag(shown.UseManualScalarRange)
            shown.SetScalarRange(0, UNSURE_MM)
            shown.SetScalarVisibility(False)  # the bone's own colour, until somebody asks
            shown.SetVisibility2D(False)
        written.append(completed)
    return written


def markups(run: SceneRun, reconstruction: Reconstruction) -> list[Node]:
    """Landmarks of every bone, and lines for the measurements that have two ends."""
    written = []
    geometry = reconstruction.radiograph.geometry
    for bone, one in reconstruction.bones.items():
        if not one.landmarks:
            continue
        node = _markup(run, "landmarks", bone, "Fiducial", f"{bone_words(bone)} landmarks", BONE_COLOURS[bone])
        _set_points(node, list(one.landmarks.values()), [words(name) for name in one.landmarks])
        for index, place in enumerate(one.landmarks.values()):
            beyond = "" if geometry.sees(np.array(place)) else "inferred: beyond the film"
            if node.GetNthControlPointDescription(index) != beyond or not node.GetAttribute(PLACED):
                node.SetNthControlPointVisibility(index, not beyond)  # or a knee would float where the shaft was cut
                node.SetNthControlPointDescription(index, beyond)
        node.SetAttribute(PLACED, "1")
        written.append(node)
    for line in scene_parts.lines(reconstruction):
        colour = BONE_COLOURS.get(line.bone, YELLOW)
        label = f"{bone_words(line.bone)} " if line.bone else ""
        name = line.name if not line.bone else f"{line.bone}_{line.name}"
        title = label + words(line.name.removeprefix("distance_of_"))
        node = _markup(run, "measurement", name, "Line", title, colour, labelled=not line.bone)  # balls' cover others
        _set_points(node, line.ends, ["", ""])
        node.SetAttribute(MEASURED, measured(line.measured))  # the description is MRML's own: the length alone
        written.append(node)
    return written


def rig(run: SceneRun, reconstruction: Reconstruction) -> list[Node]:
    """How the film was taken: source, central ray, frustum, and a camera that looks as the X-rays went."""
    geometry = reconstruction.radiograph.geometry
    written = []
    for role, drawn in scene_parts.rig(geometry).items():
        node = _model(run, role, "", f"X-ray {words(role)}", drawn)
        shown, new = displayed(node)
        if new:
            shown.SetColor(*shares(CYAN if role == "frustum" else AMBER))
            shown.SetPointSize(12)
            shown.SetLineWidth(1 if role == "frustum" else 2)
            shown.SetLighting(False)
            shown.SetVisibility2D(False)
        written.append(node)
    at_source = scene_parts.camera_at_source(geometry)
    camera, _ = node_of(run, "camera", "", "vtkMRMLCameraNode", "view from the X-ray source")
    camera.SetPosition(*at_source.position)
    camera.SetFocalPoint(*at_source.focal_point)
    camera.SetViewUp(*at_source.view_up)
    camera.SetViewAngle(at_source.view_angle_deg)
    return [*written, camera]


def table(run: SceneRun, reconstruction: Reconstruction) -> Node:
    node, _ = node_of(run, "table", "", "vtkMRMLTableNode", "measurements")
    node.RemoveAllColumns()
    node.SetUseColumnTitleAsColumnHeader(True)
    rows = scene_parts.rows(reconstruction)
    for title, about, values in (
        ("bone", "", [row.bone for row in rows]),
        ("measurement", "", [row.measurement for row in rows]),
        ("value", "in the row's unit", [row.value for row in rows]),
        (
            "standard deviation",
            "in the row's unit; not a number where nothing is known of it",
            [row.std for row in rows],
        ),
        ("unit", "", [row.unit for row in rows]),
    ):
        numbers = title in ("value", "standard deviation")
        column = vtkDoubleArray() if numbers else vtkStringArray()
        column.SetName(title)
        for value in values:
            column.InsertNextValue(value)
        node.AddColumn(column)
        node.SetColumnType(title, column.GetDataType())
        node.SetColumnDescription(title, about)
    node.SetLocked(True)
    return node


def _volume(run: SceneRun, role: str, name: str, pixels: np.ndarray, reconstruction: Reconstruction) -> Node:
    """Pixels (rows, cols) in the detector's plane."""
    node, _ = node_of(run, role, "", "vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(matrix(reconstruction.radiograph.geometry.ijk_to_ras()))
    node.SetAndObserveImageData(image(pixels.astype(np.float32)))
    return node


def _shade(shown: Node, low: float, high: float, anew: bool) -> bool:
    """A volume's values from black to white, but where somebody has chosen others; `anew`: whoever has."""
    if not anew and shown.GetAttribute(SHADED) != _shades(shown):
        return False
    shown.SetAutoWindowLevel(False)
    shown.SetWindowLevelMinMax(low, high)
    shown.SetAttribute(SHADED, _shades(shown))
    return True


def _shades(shown: Node) -> str:
    return f"{shown.GetWindowLevelMin():.6g} {shown.GetWindowLevelMax():.6g}"


def _coloured_by(shown: Node, colours: Node, new: bool) -> None:
    """By a table of the run's, if the display is new or has lost its own."""
    if new or shown.GetColorNode() is None:
        shown.SetAndObserveColorNodeID(colours.GetID())


def _model(run: SceneRun, role: str, bone: str, name: str, mesh: vtkPolyData) -> Node:
    """A mesh in RAS mm, which the scene gets a copy of: what is done to it there stays there."""
    node, _ = node_of(run, role, bone, "vtkMRMLModelNode", name)
    node.SetAndObservePolyData(copied(mesh))
    if bone:
        node.SetAttribute(scene_parts.TERMINOLOGY, scene_parts.terminology(bone))
    return node


def _markup(run: SceneRun, role: str, bone: str, kind: str, name: str, colour: Colour, labelled: bool = False) -> Node:
    node, new = node_of(run, role, bone, f"vtkMRMLMarkups{kind}Node", name)
    if new:
        node.SetLocked(True)
    shown, new = displayed(node)
    if new:
        shown.SetSelectedColor(*shares(colour))
        shown.SetColor(*shares(colour))
        shown.SetTextScale(2)
        shown.SetGlyphScale(1.5)
        shown.SetPointLabelsVisibility(False)
        shown.SetPropertiesLabelVisibility(labelled)
    return node


def _colour_table(run: SceneRun, role: str, name: str, anchors: Sequence[Colour]) -> Node:
    """Colours of our own pictures: Slicer's named ones are files that slicer-core does not have."""
    node, new = node_of(run, role, "", "vtkMRMLColorTableNode", name)
    if new:
        node.SetTypeToUser()
        node.SetNumberOfColors(COLOURS_IN_TABLE)
        colours = blended(np.linspace(0, 1, COLOURS_IN_TABLE), anchors)
        for index, colour in enumerate(colours):
            node.SetColor(index, *shares(colour), 1.0)  # or nothing shows
        node.SetNamesFromColors()
        node.SetHideFromEditors(False)  # files of hidden nodes get names that no scene file reads again, with an "&"
    return node


def _set_points(node: Node, places: Sequence[Place], labels: Sequence[str]) -> None:
    """Moves a markup's points, which it gets anew where it has others: so they stay as somebody has them shown."""
    if [node.GetNthControlPointLabel(index) for index in range(node.GetNumberOfControlPoints())] != list(labels):
        node.RemoveAllControlPoints()
        node.RemoveAttribute(PLACED)
        for place, label in zip(places, labels, strict=True):
            node.AddControlPoint(*place, label)
        return
    for index, place in enumerate(places):
        node.SetNthControlPointPosition(index, *place)
