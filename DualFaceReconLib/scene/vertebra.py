"""A vertebra of two films as nodes of a Slicer scene: both films where they stood, with the vertebra's outline on each,
volume, surface, measurements.

run = add_vertebra_to_scene(vertebra)
show_vertebra(run)                      # the AP film in a slice view, the vertebra from the front in 3D
show_vertebra_film(run, "film_lateral") # the other film
run.node("vertebra", "L3")              # vtkMRMLModelNode
run.node("volume", "L3")                # vtkMRMLScalarVolumeNode, HU
"""

from __future__ import annotations

import math
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonDataModel import vtkDataObject, vtkImageData

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import arrays
from DualFaceReconLib.pictures.drawing import CYAN, ERROR_COLOURS
from DualFaceReconLib.pictures.vertebra_picture import UNSURE_MM, VERTEBRA_COLOUR, silhouette
from DualFaceReconLib.pictures.wording import UNITS, words
from DualFaceReconLib.scene.folders import file_in, hide_others, new_folder
from DualFaceReconLib.scene.nodes import colour_table, coloured_by, measurements_table, shade
from DualFaceReconLib.scene.parts import TERMINOLOGY, TableRow, copied, image, matrix, shares
from DualFaceReconLib.scene.run import Node, SceneRun, display_of, node_of
from DualFaceReconLib.scene.scene import (
    cameras_of_bare_view,
    labelmap,
    save_new_scene,
    scene_of,
    segment_of,
    show_film,
    show_outlines,
)
from DualFaceReconLib.vertebra.outcome import ReconstructedVertebra

FILM_ROLES = {"film_ap": "AP film", "film_lateral": "lateral film"}
OUTLINES = {"film_ap": "outline_ap", "film_lateral": "outline_lateral"}  # roles, by their films'
WINDOW_HU = (-200.0, 800.0)
GONE = "This vertebra is no longer in the scene: add it again."
EYE_MM = 240.0  # of the 3D view, in front of the vertebra
CODES = "~".join(
    (
        "Segmentation category and type - DICOM master list",
        "SCT^123037004^Anatomical Structure",
        "SCT^51282000^Vertebra",
        "^^",
        "Anatomic codes - DICOM master list",
        "^^",
        "^^",
    )
)


def add_vertebra_to_scene(
    vertebra: ReconstructedVertebra, scene: Any | None = None, name: str | None = None
) -> SceneRun:
    """Nodes for all of a vertebra, in one folder called `name`."""
    scene = scene_of(scene, None)
    run = SceneRun(scene, uuid.uuid4().hex)
    hierarchy = scene.GetSubjectHierarchyNode()
    frontal = vertebra.films.frontal
    folder = new_folder(run, hierarchy, name or f"{vertebra.level} of film {frontal.pixel_hash}")
    _films(run, vertebra)
    _outlines(run, vertebra)
    _volume(run, vertebra)
    _surface(run, vertebra)
    measurements_table(run, _rows(vertebra))
    file_in(hierarchy, folder, run, ())
    return run


def show_vertebra(run: SceneRun) -> None:
    """The AP film in the slice view, and the vertebra from the front in 3D."""
    surface = next((node for (role, _), node in run.nodes.items() if role == "vertebra"), None)
    if surface is None:
        raise Refusal(GONE)
    show_vertebra_film(run, "film_ap")
    bounds = [0.0] * 6
    surface.GetRASBounds(bounds)
    middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    for camera in cameras_of_bare_view(run.scene):
        camera.SetPosition(middle[0], middle[1] + EYE_MM, middle[2])
        camera.SetFocalPoint(*middle)
        camera.SetViewUp(0.0, 0.0, 1.0)
        camera.ResetClippingRange()


def show_vertebra_film(run: SceneRun, role: str) -> None:
    """One of FILM_ROLES in the slice view, with the vertebra's outline on it; the scene's other runs are hidden."""
    film = run.node(role)
    if film is None:
        raise Refusal(GONE)
    hide_others(run)
    for of_film, outline in OUTLINES.items():
        if (node := run.node(outline)) is not None:
            node.GetDisplayNode().SetVisibility(of_film == role)  # the other one stands across this film
    show_film(film)


def save_vertebra_scene(vertebra: ReconstructedVertebra, path: str | Path) -> None:
    """Writes a scene of its own as .mrb: opened in Slicer, it looks as `show_vertebra` leaves it."""
    save_new_scene(path, lambda scene: show_vertebra(add_vertebra_to_scene(vertebra, scene)))


def _films(run: SceneRun, vertebra: ReconstructedVertebra) -> None:
    """Each at its detector, as it stood to the patient."""
    films = vertebra.films
    for (role, name), film, place in zip(FILM_ROLES.items(), films.radiographs, films.ijk_to_ras(), strict=True):
        node, _ = node_of(run, role, "", "vtkMRMLScalarVolumeNode", name)
        node.SetIJKToRASMatrix(matrix(place))
        node.SetAndObserveImageData(image(film.pixels))
        display, _ = display_of(node)
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
        shade(display, *film.display_window, anew=True)


def _outlines(run: SceneRun, vertebra: ReconstructedVertebra) -> None:
    """What the surface covers on each film, as it would be seen from that film's source."""
    vertices, triangles = arrays(vertebra.surface)
    places = vertebra.films.pair.first, vertebra.films.pair.second
    for role, place, to_ras in zip(FILM_ROLES, places, vertebra.films.ijk_to_ras(), strict=True):
        covered = silhouette(vertices, triangles, place)
        if not covered.any():
            continue
        name = f"{vertebra.level} on the {FILM_ROLES[role]}"
        node, _ = node_of(run, OUTLINES[role], "", "vtkMRMLSegmentationNode", name)
        node.SetReferenceImageGeometryParameterFromVolumeNode(run.node(role))
        segmentation = node.GetSegmentation()
        segmentation.SetSourceRepresentationName("Binary labelmap")
        labels = labelmap(covered, matrix(to_ras))
        segmentation.AddSegment(segment_of(labels, vertebra.level, CYAN, CODES), vertebra.level)
        show_outlines(node)


def _volume(run: SceneRun, vertebra: ReconstructedVertebra) -> Node:
    node, _ = node_of(run, "volume", vertebra.level, "vtkMRMLScalarVolumeNode", f"{vertebra.level} volume")
    values = np.ascontiguousarray(vertebra.volume_hu.transpose(2, 1, 0))
    voxels = vtkImageData()
    voxels.SetDimensions(*vertebra.volume_hu.shape)
    voxels.GetPointData().SetScalars(numpy_to_vtk(values.ravel(), deep=True))
    node.SetIJKToRASMatrix(matrix(vertebra.ijk_to_ras()))
    node.SetAndObserveImageData(voxels)
    display, _ = display_of(node)
    shade(display, *WINDOW_HU, anew=True)
    return node


def _surface(run: SceneRun, vertebra: ReconstructedVertebra) -> Node:
    """In one colour, until somebody asks for its certainty."""
    certainty = colour_table(run, "certainty_colours", "standard deviation", ERROR_COLOURS)
    node, _ = node_of(run, "vertebra", vertebra.level, "vtkMRMLModelNode", vertebra.level)
    node.SetAndObservePolyData(copied(vertebra.surface))
    node.SetAttribute(TERMINOLOGY, CODES)
    size = "" if vertebra.in_millimetres else "; without millimetres, as large as a usual one"
    node.SetDescription(f"{vertebra.level} of two films{size}. Research use only.")
    display, _ = display_of(node)
    coloured_by(display, certainty, True)
    display.SetColor(*shares(VERTEBRA_COLOUR))
    display.SetActiveScalar("std_mm", vtkDataObject.POINT)
    display.SetScalarRangeFlag(display.UseManualScalarRange)
    display.SetScalarRange(0, UNSURE_MM)
    display.SetScalarVisibility(False)
    display.SetVisibility2D(True)
    return node


def _rows(vertebra: ReconstructedVertebra) -> list[TableRow]:
    return [
        TableRow(
            bone=vertebra.level,
            measurement=words(name),
            value=value.value,
            std=math.nan if value.std is None else value.std,
            unit=UNITS.get(value.unit, value.unit),
        )
        for name, value in vertebra.measurements.items()
    ]
