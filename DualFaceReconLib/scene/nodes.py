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
from DualFaceReconLib.pictures.drawing import AMBER, CYAN, DEPTH_COLOURS, ERROR_COLOURS, WHITE, YELLOW, Colour, blended
from DualFaceReconLib.pictures.film import sides_are_doubted
from DualFaceReconLib.pictures.wording import bone_words, measured, words
from DualFaceReconLib.scene.parts import (
    TERMINOLOGY,
    Place,
    TableRow,
    camera_at_source,
    copied,
    entered_first,
    image,
    left_last,
    matrix,
    measurement_lines,
    rig_lines,
    shares,
    table_rows,
    terminology,
)
from DualFaceReconLib.scene.run import Node, SceneRun, display_of, node_of
from DualFaceReconLib.verdicts import Verdict

COLOURS_IN_TABLE = 256
LANDMARK_SCALE, LABEL_SCALE = 2.0, 2.5  # of text, as Slicer counts it
LABEL_GROUND = 0.6  # how dark the plate is on which a measurement stands
SIDES_AT, SIDES_SCALE = (0.12, (0.05, 0.89)), 7.0  # shares of rows, and of columns where R and L begin
# Attributes of bones: how far they can be relied on, and the reasons, a line each
VERDICT, REASONS = "DualFaceRecon.verdict", "DualFaceRecon.reasons"
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
    display, new = display_of(film)
    if new:
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    other_film = film.GetAttribute(FILM) != radiograph.pixel_hash
    shade(display, *radiograph.display_window, anew=new or other_film)
    film.SetAttribute(FILM, radiograph.pixel_hash)

    faces = {"front": entered_first(maps)}
    if maps.back is not None:
        faces["back"] = left_last(maps)
    colours = colour_table(run, "depth_colours", "depth", DEPTH_COLOURS)
    valid = np.concatenate([depth[depth > 0] for depth in faces.values()])
    nearest, farthest = (float(valid.min()), float(valid.max())) if valid.size else (1.0, 2.0)  # 0 is no bone
    written = [film, colours]
    for face, depth in faces.items():
        volume = _volume(run, f"depth_{face}", f"depth of {face} faces", depth, reconstruction)
        volume.SetVoxelValueUnits(millimetre)
        display, new = display_of(volume)
        coloured_by(display, colours, new)
        if shade(display, nearest, farthest, anew=new):
            display.SetAutoThreshold(False)
            display.SetThreshold(nearest, farthest)
        if new:
            display.SetApplyThreshold(True)  # where no bone is, the film shows through
        written.append(volume)
    return written


def bones(run: SceneRun, reconstruction: Reconstruction) -> list[Node]:
    """Completed bones, and what was seen of them as clouds of points, all with their scalars."""
    certainty = colour_table(run, "certainty_colours", "standard deviation", ERROR_COLOURS)
    written = [certainty]
    for name, bone in reconstruction.bones.items():
        observed = _model(run, "observed", name, f"{bone_words(name)} observed", bone.observed)
        display, new = display_of(observed)
        if new:
            display.SetColor(*shares(BONE_COLOURS[name]))
            display.SetRepresentation(display.PointsRepresentation)
            display.SetPointSize(2)
            display.SetVisibility(bone.completed is None)
            display.SetActiveScalarName("face")
        _judge(observed, bone.verdict)
        written.append(observed)
        if bone.completed is None:
            continue
        completed = _model(run, "completed", name, bone_words(name), bone.completed)
        display, new = display_of(completed)
        coloured_by(display, certainty, new)
        if new:
            display.SetColor(*shares(BONE_COLOURS[name]))
            display.SetActiveScalar("std_mm", vtkDataObject.POINT)
            display.SetScalarRangeFlag(display.UseManualScalarRange)
            display.SetScalarRange(0, UNSURE_MM)
            display.SetScalarVisibility(False)  # the bone's own colour, until somebody asks
            display.SetVisibility2D(False)
        _judge(completed, bone.verdict)
        written.append(completed)
    return written


def _judge(node: Node, verdict: Verdict | None) -> None:
    """A bone's verdict, for the panel and, as the node's description, in Slicer's Data module."""
    node.SetAttribute(VERDICT, None if verdict is None else verdict.grade)
    node.SetAttribute(REASONS, None if verdict is None else "\n".join(reason.text for reason in verdict.reasons))
    node.SetDescription("" if verdict is None else str(verdict))


def markups(run: SceneRun, reconstruction: Reconstruction) -> list[Node]:
    """R and L on the film, landmarks of every bone, and lines for the measurements that have two ends."""
    written = [_sides(run, reconstruction)]
    geometry = reconstruction.radiograph.geometry
    for name, bone in reconstruction.bones.items():
        if not bone.landmarks:
            continue
        node = _markup(run, "landmarks", name, "Fiducial", f"{bone_words(name)} landmarks", BONE_COLOURS[name])
        _set_points(node, list(bone.landmarks.values()), [words(landmark) for landmark in bone.landmarks])
        for index, place in enumerate(bone.landmarks.values()):
            beyond = "" if geometry.sees(np.array(place)) else "inferred: beyond the film"
            if node.GetNthControlPointDescription(index) != beyond or not node.GetAttribute(PLACED):
                node.SetNthControlPointVisibility(index, not beyond)  # or a knee would float where the shaft was cut
                node.SetNthControlPointDescription(index, beyond)
        node.SetAttribute(PLACED, "1")
        written.append(node)
    for line in measurement_lines(reconstruction):
        colour = BONE_COLOURS.get(line.bone, YELLOW)
        label = f"{bone_words(line.bone)} " if line.bone else ""
        name = line.name if not line.bone else f"{line.bone}_{line.name}"
        title = label + words(line.name.removeprefix("distance_of_"))
        node = _markup(run, "measurement", name, "Line", title, colour, labelled=not line.bone)  # balls' cover others
        _set_points(node, line.ends, ["", ""])
        node.SetAttribute(MEASURED, measured(line.measured))  # the description is MRML's own: the length alone
        written.append(node)
    return written


def _sides(run: SceneRun, reconstruction: Reconstruction) -> Node:
    """R and L in the film's plane, at its sides, in the slice view and in 3D; amber and asking where that is unsure."""
    radiograph = reconstruction.radiograph
    geometry, doubted = radiograph.geometry, sides_are_doubted(radiograph)
    node = _markup(run, "sides", "", "Fiducial", "patient's sides", AMBER if doubted else WHITE)
    rows, cols = geometry.size_px
    places = [(SIDES_AT[0] * rows, share * cols) for share in SIDES_AT[1]]
    on_film = geometry.back_project(np.array(places), np.full(2, geometry.sdd_mm))
    _set_points(node, [tuple(place) for place in on_film.tolist()], [side + "?" * doubted for side in "RL"])
    if not node.GetAttribute(PLACED):
        display = node.GetDisplayNode()
        display.SetPointLabelsVisibility(True)
        display.SetTextScale(SIDES_SCALE)
        display.SetGlyphScale(0.1)
        for set_colour in (display.SetSelectedColor, display.SetColor):
            set_colour(*shares(AMBER if doubted else WHITE))
        node.SetAttribute(PLACED, "1")
    return node


def rig(run: SceneRun, reconstruction: Reconstruction) -> list[Node]:
    """How the film was taken: source, central ray, frustum, and a camera that looks as the X-rays went."""
    geometry = reconstruction.radiograph.geometry
    written = []
    for role, drawn in rig_lines(geometry).items():
        node = _model(run, role, "", f"X-ray {words(role)}", drawn)
        display, new = display_of(node)
        if new:
            display.SetColor(*shares(CYAN if role == "frustum" else AMBER))
            display.SetPointSize(12)
            display.SetLineWidth(1 if role == "frustum" else 2)
            display.SetLighting(False)
            display.SetVisibility2D(False)
        written.append(node)
    at_source = camera_at_source(geometry)
    camera, _ = node_of(run, "camera", "", "vtkMRMLCameraNode", "view from the X-ray source")
    camera.SetPosition(*at_source.position)
    camera.SetFocalPoint(*at_source.focal_point)
    camera.SetViewUp(*at_source.view_up)
    camera.SetViewAngle(at_source.view_angle_deg)
    return [*written, camera]


def table(run: SceneRun, reconstruction: Reconstruction) -> Node:
    """All measurements, a row each."""
    return measurements_table(run, table_rows(reconstruction))


def measurements_table(run: SceneRun, rows: Sequence[TableRow]) -> Node:
    """A table that nobody edits."""
    node, _ = node_of(run, "table", "", "vtkMRMLTableNode", "measurements")
    node.RemoveAllColumns()
    node.SetUseColumnTitleAsColumnHeader(True)
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


def shade(display: Node, low: float, high: float, anew: bool) -> bool:
    """A volume's values from black to white, but where somebody has chosen others; `anew`: whoever has."""
    if not anew and display.GetAttribute(SHADED) != _shades(display):
        return False
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(low, high)
    display.SetAttribute(SHADED, _shades(display))
    return True


def _shades(display: Node) -> str:
    return f"{display.GetWindowLevelMin():.6g} {display.GetWindowLevelMax():.6g}"


def coloured_by(display: Node, colours: Node, new: bool) -> None:
    """By a table of the run's, if the display is new or has lost its own."""
    if new or display.GetColorNode() is None:
        display.SetAndObserveColorNodeID(colours.GetID())


def _model(run: SceneRun, role: str, bone: str, name: str, mesh: vtkPolyData) -> Node:
    """A mesh in RAS mm, which the scene gets a copy of: what is done to it there stays there."""
    node, _ = node_of(run, role, bone, "vtkMRMLModelNode", name)
    node.SetAndObservePolyData(copied(mesh))
    if bone:
        node.SetAttribute(TERMINOLOGY, terminology(bone))
    return node


def _markup(run: SceneRun, role: str, bone: str, kind: str, name: str, colour: Colour, labelled: bool = False) -> Node:
    node, new = node_of(run, role, bone, f"vtkMRMLMarkups{kind}Node", name)
    if new:
        node.SetLocked(True)
        if labelled:
            node.SetName(name)  # which is drawn: not "hip centres_1" because another run has them, too
    display, new = display_of(node)
    if new:
        display.SetSelectedColor(*shares(colour))
        display.SetColor(*shares(colour))
        display.SetTextScale(LABEL_SCALE if labelled else LANDMARK_SCALE)
        if labelled:  # on bones of any colour
            display.GetTextProperty().SetBackgroundColor(0, 0, 0)
            display.GetTextProperty().SetBackgroundOpacity(LABEL_GROUND)
        display.SetGlyphScale(1.5)
        display.SetPointLabelsVisibility(False)
        display.SetPropertiesLabelVisibility(labelled)
    return node


def colour_table(run: SceneRun, role: str, name: str, anchors: Sequence[Colour]) -> Node:
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
