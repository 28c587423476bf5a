"""A reconstruction as nodes of a Slicer scene, the same in desktop Slicer and on slicer-core.

    run = add_to_scene(reconstruction)                      # in Slicer's own scene, or in one that is given
    show(run)                                               # film and outlines in a slice view, 3D from the source
    run = add_to_scene(other, replacing=run)                # updates the nodes in place
    run.node("completed", "hip_left")                       # vtkMRMLModelNode
    remove_from_scene(run)                                  # and nothing of it remains
    [run] = runs_in(slicer.mrmlScene)                       # after a scene was opened again

Importing this file is refused where there is no Slicer; nothing else of the engine needs one.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkDoubleArray, vtkIdList, vtkStringArray
from vtkmodules.vtkCommonDataModel import vtkDataObject, vtkImageData, vtkPolyData
from vtkmodules.vtkCommonMath import vtkMatrix4x4
from vtkmodules.vtkFiltersCore import vtkPolyDataNormals

from DualFaceReconLib import scene_parts
from DualFaceReconLib.bone_views import BONE_COLOURS, UNSURE_MM
from DualFaceReconLib.bonemaps import bounding_window
from DualFaceReconLib.drawing import AMBER, CYAN, DEPTH_COLOURS, ERROR_COLOURS, YELLOW, Colour, blended
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.reconstruction import Reconstruction
from DualFaceReconLib.scene_parts import Place
from DualFaceReconLib.wording import bone_words, measured, words

try:
    import slicer
except ImportError:
    slicer = None
if not hasattr(slicer, "vtkMRMLScene"):  # PyPI's `slicer` is something else
    raise Refusal('Scenes need slicer-core: pip install "dualfacerecon[slicer]", or run this inside 3D Slicer.')

Node = Any  # vtkMRMLNode
Key = tuple[str, str]  # a node's role and its bone, "" for nodes of no bone

RUN, ROLE, BONE = (f"DualFaceRecon.{name}" for name in ("run", "role", "bone"))  # attributes of every node of a run
MILLIMETRE = ("mm", "UCUM", "millimeter")
SLICE_VIEW, VIEW_3D = "Red", "1"  # layout names, as desktop Slicer has them
COLOURS_IN_TABLE = 256
FOLDERS = {  # below the run's own; roles that are not here stand in that one
    "observed": "observed",
    "landmarks": "landmarks and measurements",
    "measurement": "landmarks and measurements",
    "source": "X-ray geometry",
    "central_ray": "X-ray geometry",
    "frustum": "X-ray geometry",
    "camera": "X-ray geometry",
}


@dataclass(frozen=True)
class SceneRun:
    """What a scene has of one reconstruction; it holds nothing itself, so that a reopened scene has it again."""

    scene: Any = field(repr=False)  # vtkMRMLScene
    id: str

    @property
    def nodes(self) -> dict[Key, Node]:
        """The run's nodes by role and bone: film, segmentation, depth_front, depth_back, depth_colours,
        certainty_colours, observed, completed, landmarks, measurement (by its name), table, source, central_ray,
        frustum, camera."""
        found = (self.scene.GetNthNode(index) for index in range(self.scene.GetNumberOfNodes()))
        return {(node.GetAttribute(ROLE), node.GetAttribute(BONE) or ""): node for node in found if self._has(node)}

    def node(self, role: str, bone: str = "") -> Node | None:
        """One of them, None where the reconstruction had no such thing."""
        return self.nodes.get((role, bone))

    @property
    def folder(self) -> int:
        """The run's item in the subject hierarchy; 0 when the run was removed."""
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        return next((item for item, run in _folders(hierarchy) if run == self.id), 0)

    @property
    def name(self) -> str:
        """The folder's name."""
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene).GetItemName(self.folder)

    def _has(self, node: Node) -> bool:
        return node.GetAttribute(RUN) == self.id


def add_to_scene(
    reconstruction: Reconstruction,
    scene: Any | None = None,
    name: str | None = None,
    *,
    replacing: SceneRun | None = None,
) -> SceneRun:
    """Nodes for all of a reconstruction, in one folder called `name`.

    `replacing` updates that run instead: its nodes stay, with the display that somebody chose for them, and what the
    new reconstruction does not have goes.
    """
    scene = _scene(scene, replacing)
    run = replacing or SceneRun(scene, uuid.uuid4().hex)
    before = run.nodes
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = run.folder or _new_folder(run, hierarchy, name or f"film {reconstruction.radiograph.pixel_hash}")
    if replacing and name:
        hierarchy.SetItemName(folder, name)
    written = [
        *_volumes(run, reconstruction),
        _segmentation(run, reconstruction),
        *_bones(run, reconstruction),
        *_markups(run, reconstruction),
        *_rig(run, reconstruction),
        _table(run, reconstruction),
    ]
    now = {node.GetID() for node in written}
    _remove(scene, [node for node in before.values() if node.GetID() not in now])
    _file_in(hierarchy, folder, run)
    return run


def remove_from_scene(run: SceneRun) -> None:
    """All of a run: nodes, what displays and stores them, and its folder."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(run.scene)
    folder = run.folder
    _remove(run.scene, list(run.nodes.values()))
    if folder:
        hierarchy.RemoveItem(folder, False, True)


def runs_in(scene: Any | None = None) -> list[SceneRun]:
    """The runs of a scene, in the order of the subject hierarchy."""
    scene = _scene(scene, None)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    return [SceneRun(scene, run) for _, run in _folders(hierarchy)]


def show(run: SceneRun) -> None:
    """The film with its outlines in a slice view; in 3D it stands behind the bones, and the camera is at the source."""
    film, at_source = run.node("film"), run.node("camera")
    if film is None or at_source is None:
        raise Refusal("This run is no longer in the scene: add the reconstruction again.")
    for composite in slicer_nodes(run.scene, "vtkMRMLSliceCompositeNode"):
        if composite.GetLayoutName() == SLICE_VIEW:
            composite.SetBackgroundVolumeID(film.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(None)
    for view in slicer_nodes(run.scene, "vtkMRMLSliceNode"):
        if view.GetLayoutName() == SLICE_VIEW:
            _lay_onto(view, film)
            view.SetSliceVisible(True)
    views = {view.GetLayoutName(): view for view in slicer_nodes(run.scene, "vtkMRMLViewNode")}
    for view in views.values():
        view.SetBoxVisible(False)
        view.SetAxisLabelsVisible(False)
    for camera in slicer_nodes(run.scene, "vtkMRMLCameraNode"):
        if camera.GetLayoutName() in views:
            look(camera, at_source)


def look(camera: Node, as_camera: Node) -> None:
    """Puts a view's camera where another one is."""
    camera.SetViewAngle(as_camera.GetViewAngle())
    camera.SetPosition(*as_camera.GetPosition())
    camera.SetFocalPoint(*as_camera.GetFocalPoint())
    camera.SetViewUp(*as_camera.GetViewUp())
    camera.ResetClippingRange()


def save_scene(reconstruction: Reconstruction, path: Path) -> None:
    """Writes a scene of its own as .mrb: opened in Slicer, it looks as `show` leaves it."""
    scene = new_scene()
    try:
        _add_views(scene)
        show(add_to_scene(reconstruction, scene))
        # Slicer works beside the file that it writes, and leaves what it began where the disk is full
        with tempfile.TemporaryDirectory(prefix=".scene-", dir=path.absolute().parent) as beside:
            written = Path(beside) / path.name
            if not scene.WriteToMRB(str(written), None):
                raise OSError(0, f"{path.name} could not be written: is there room?")
            written.replace(path)
    finally:
        scene.Clear(True)


def new_scene() -> Any:
    """An empty vtkMRMLScene that knows the classes which Slicer's modules bring; clear it when done."""
    scene = slicer.vtkMRMLScene()
    scene.AddNode(slicer.vtkMRMLSelectionNode())  # holds the units
    for kind in (
        "vtkSlicerUnitsLogic",
        "vtkSlicerMarkupsLogic",
        "vtkSlicerSegmentationsModuleLogic",
    ):
        logic = getattr(slicer, kind)()
        logic.SetMRMLScene(scene)
        logic.SetMRMLScene(None)  # classes stay registered
    return scene


def _add_views(scene: Any) -> None:
    """The views that desktop Slicer begins with: those of an opened scene take their place, by name."""
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    for kind, layout in (("SliceComposite", SLICE_VIEW), ("Slice", SLICE_VIEW), ("View", VIEW_3D), ("Camera", VIEW_3D)):
        node = getattr(slicer, f"vtkMRML{kind}Node")()
        node.SetName(layout)
        node.SetLayoutName(layout)
        node.SetSingletonTag(layout)
        scene.AddNode(node)


# The parts of a run


def _volumes(run: SceneRun, reconstruction: Reconstruction) -> list[Node]:
    """The film, and the depths of both faces.

    One volume a face, as people look at depth maps: where bones lie behind each other, front has what a ray enters
    first and back what it leaves last. The depths of single bones are in the observed surfaces.
    """
    radiograph, maps = reconstruction.radiograph, reconstruction.maps
    film = _volume(run, "film", "radiograph", radiograph.pixels, reconstruction)
    low, high = radiograph.display_window
    shown = film.GetDisplayNode()
    shown.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    shown.SetAutoWindowLevel(False)
    shown.SetWindowLevelMinMax(low, high)

    faces = {"front": scene_parts.entered_first(maps)}
    if maps.back is not None:
        faces["back"] = scene_parts.left_last(maps)
    colours = _colour_table(run, "depth_colours", "depth", DEPTH_COLOURS)
    valid = np.concatenate([depth[depth > 0] for depth in faces.values()])
    nearest, farthest = (float(valid.min()), float(valid.max())) if valid.size else (0.0, 1.0)
    written = [film, colours]
    for face, depth in faces.items():
        volume = _volume(run, f"depth_{face}", f"depth of {face} faces", depth, reconstruction)
        volume.SetVoxelValueUnits(_coded(*MILLIMETRE))
        shown = volume.GetDisplayNode()
        shown.SetAndObserveColorNodeID(colours.GetID())
        shown.SetAutoWindowLevel(False)
        shown.SetWindowLevelMinMax(nearest, farthest)
        shown.SetAutoThreshold(False)
        shown.SetThreshold(nearest, farthest)
        shown.SetApplyThreshold(True)  # where no bone is, the film shows through
        written.append(volume)
    return written


def _segmentation(run: SceneRun, reconstruction: Reconstruction) -> Node:
    """Every bone as a segment in a layer of its own: bones overlap at the joint."""
    node, new = _node(run, "segmentation", "", "vtkMRMLSegmentationNode", "bones")
    node.SetReferenceImageGeometryParameterFromVolumeNode(run.node("film"))
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName("Binary labelmap")
    segmentation.RemoveAllSegments()
    matrix = _matrix(reconstruction.radiograph.geometry.ijk_to_ras())
    for bone, mask in zip(reconstruction.maps.bones, reconstruction.maps.mask, strict=True):
        if not mask.any():
            continue
        top_left = bounding_window(mask)
        segment = slicer.vtkSegment()
        segment.SetName(bone_words(bone))
        segment.SetColor(*_shares(BONE_COLOURS[bone]))
        segment.SetTag(segment.GetTerminologyEntryTagName(), scene_parts.terminology(bone))
        labels = slicer.vtkOrientedImageData()
        labels.DeepCopy(_image(mask[top_left].astype(np.uint8)))
        rows, cols = top_left
        labels.SetExtent(cols.start, cols.stop - 1, rows.start, rows.stop - 1, 0, 0)
        labels.SetImageToWorldMatrix(matrix)
        segment.AddRepresentation("Binary labelmap", labels)
        segmentation.AddSegment(segment, bone)
    if new:
        shown = _displayed(node)
        shown.SetVisibility3D(False)  # a flat sheet in the film's plane; the bones are there as models
        shown.SetVisibility2DFill(False)
        shown.SetOpacity2DOutline(1.0)
    return node


def _bones(run: SceneRun, reconstruction: Reconstruction) -> list[Node]:
    """Completed bones, and what was seen of them as clouds of points, all with their scalars."""
    certainty = _colour_table(run, "certainty_colours", "standard deviation", ERROR_COLOURS)
    written = [certainty]
    for bone, one in reconstruction.bones.items():
        observed, new = _model(run, "observed", bone, f"{bone_words(bone)} observed", one.observed)
        if new:
            shown = observed.GetDisplayNode()
            shown.SetRepresentation(shown.PointsRepresentation)
            shown.SetPointSize(2)
            shown.SetVisibility(one.completed is None)
            shown.SetActiveScalarName("face")
        written.append(observed)
        if one.completed is None:
            continue
        completed, new = _model(run, "completed", bone, bone_words(bone), one.completed)
        if new:
            shown = completed.GetDisplayNode()
            shown.SetActiveScalar("std_mm", vtkDataObject.POINT)
            shown.SetAndObserveColorNodeID(certainty.GetID())
            shown.SetScalarRangeFlag(shown.UseManualScalarRange)
            shown.SetScalarRange(0, UNSURE_MM)
            shown.SetScalarVisibility(False)  # the bone's own colour, until somebody asks
            shown.SetVisibility2D(False)
        written.append(completed)
    return written


def _markups(run: SceneRun, reconstruction: Reconstruction) -> list[Node]:
    """Landmarks of every bone, and lines for the measurements that have two ends."""
    written = []
    geometry = reconstruction.radiograph.geometry
    for bone, one in reconstruction.bones.items():
        if not one.landmarks:
            continue
        node, new = _markup(run, "landmarks", bone, "Fiducial", f"{bone_words(bone)} landmarks", BONE_COLOURS[bone])
        node.RemoveAllControlPoints()
        for name, place in one.landmarks.items():
            index = node.AddControlPoint(*place, words(name))
            on_film = bool(geometry.sees(np.array(place)))
            node.SetNthControlPointVisibility(index, on_film)  # or a knee would float where the shaft was cut off
            node.SetNthControlPointDescription(index, "" if on_film else "inferred: beyond the film")
        if new:
            node.GetDisplayNode().SetPointLabelsVisibility(False)
        node.SetLocked(True)
        written.append(node)
    for line in scene_parts.lines(reconstruction):
        colour = BONE_COLOURS.get(line.bone, YELLOW)
        label = f"{bone_words(line.bone)} " if line.bone else ""
        name = line.name if not line.bone else f"{line.bone}_{line.name}"
        node, new = _markup(run, "measurement", name, "Line", label + words(line.name), colour)
        if new:
            node.GetDisplayNode().SetPropertiesLabelVisibility(not line.bone)  # balls' would cover one another
        _set_points(node, line.ends)
        node.SetDescription(measured(line.measured))
        node.SetLocked(True)
        written.append(node)
    return written


def _rig(run: SceneRun, reconstruction: Reconstruction) -> list[Node]:
    """How the film was taken: source, central ray, frustum, and a camera that looks as the X-rays went."""
    geometry = reconstruction.radiograph.geometry
    written = []
    for role, drawn in scene_parts.rig(geometry).items():
        node, new = _model(run, role, "", f"X-ray {words(role)}", drawn)
        if new:
            shown = node.GetDisplayNode()
            shown.SetColor(*_shares(CYAN if role == "frustum" else AMBER))
            shown.SetPointSize(12)
            shown.SetLineWidth(1 if role == "frustum" else 2)
            shown.SetLighting(False)
            shown.SetVisibility2D(False)
        written.append(node)
    at_source = scene_parts.camera_at_source(geometry)
    camera, _ = _node(run, "camera", "", "vtkMRMLCameraNode", "view from the X-ray source")
    camera.SetPosition(*at_source.position)
    camera.SetFocalPoint(*at_source.focal_point)
    camera.SetViewUp(*at_source.view_up)
    camera.SetViewAngle(at_source.view_angle_deg)
    return [*written, camera]


def _table(run: SceneRun, reconstruction: Reconstruction) -> Node:
    node, _ = _node(run, "table", "", "vtkMRMLTableNode", "measurements")
    node.RemoveAllColumns()
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


# Nodes


def _node(run: SceneRun, role: str, bone: str, kind: str, name: str) -> tuple[Node, bool]:
    """The run's node of that role, and whether it is new."""
    node = run.node(role, bone)
    if node is not None:
        return node, False
    node = run.scene.AddNewNodeByClass(kind, run.scene.GetUniqueNameByString(name))
    for attribute, value in ((RUN, run.id), (ROLE, role), (BONE, bone)):
        node.SetAttribute(attribute, value)
    return node, True


def _volume(run: SceneRun, role: str, name: str, pixels: np.ndarray, reconstruction: Reconstruction) -> Node:
    """Pixels (rows, cols) in the detector's plane."""
    node, new = _node(run, role, "", "vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(_matrix(reconstruction.radiograph.geometry.ijk_to_ras()))
    node.SetAndObserveImageData(_image(pixels.astype(np.float32)))
    if new:
        _displayed(node)
    return node


def _model(run: SceneRun, role: str, bone: str, name: str, mesh: vtkPolyData) -> tuple[Node, bool]:
    """A mesh in RAS mm, which the scene gets a copy of: what is done to it there stays there."""
    node, new = _node(run, role, bone, "vtkMRMLModelNode", name)
    node.SetAndObservePolyData(_copied(mesh))
    if bone:
        node.SetAttribute(slicer.vtkSegment.GetTerminologyEntryTagName(), scene_parts.terminology(bone))
    if new:
        shown = _displayed(node)
        if bone:
            shown.SetColor(*_shares(BONE_COLOURS[bone]))
    return node, new


def _markup(run: SceneRun, role: str, bone: str, kind: str, name: str, colour: Colour) -> tuple[Node, bool]:
    node, new = _node(run, role, bone, f"vtkMRMLMarkups{kind}Node", name)
    if new:
        shown = _displayed(node)
        shown.SetSelectedColor(*_shares(colour))
        shown.SetColor(*_shares(colour))
        shown.SetTextScale(2.5)
        shown.SetGlyphScale(1.5)
    return node, new


def _colour_table(run: SceneRun, role: str, name: str, anchors: Sequence[Colour]) -> Node:
    """Colours of our own pictures: Slicer's named ones are files that slicer-core does not have."""
    node, new = _node(run, role, "", "vtkMRMLColorTableNode", name)
    if new:
        node.SetTypeToUser()
        node.SetNumberOfColors(COLOURS_IN_TABLE)
        colours = blended(np.linspace(0, 1, COLOURS_IN_TABLE), anchors)
        for index, colour in enumerate(colours):
            node.SetColor(index, *_shares(colour))
        node.SetNamesFromColors()
    return node


def _displayed(node: Node) -> Node:
    node.CreateDefaultDisplayNodes()
    return node.GetDisplayNode()


def _set_points(node: Node, places: Sequence[Place]) -> None:
    node.RemoveAllControlPoints()
    for place in places:
        node.AddControlPoint(*place)


def _remove(scene: Any, nodes: Sequence[Node]) -> None:
    """Nodes with what displays and stores them, which a scene would keep."""
    for node in nodes:
        helpers = []
        if node.IsA("vtkMRMLStorableNode"):
            helpers += [node.GetNthStorageNode(i) for i in range(node.GetNumberOfStorageNodes())]
        if node.IsA("vtkMRMLDisplayableNode"):
            helpers += [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
        scene.RemoveNode(node)
        for helper in helpers:
            if helper is not None and helper.GetScene() is scene:
                scene.RemoveNode(helper)


# The subject hierarchy


def _new_folder(run: SceneRun, hierarchy: Node, name: str) -> int:
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), hierarchy.GenerateUniqueItemName(name))
    hierarchy.SetItemAttribute(folder, RUN, run.id)
    return folder


def _folders(hierarchy: Node) -> list[tuple[int, str]]:
    """Items of runs, with the run's id."""
    items = vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    found = [(items.GetId(i), hierarchy.GetItemAttribute(items.GetId(i), RUN)) for i in range(items.GetNumberOfIds())]
    return [(item, run) for item, run in found if run]


def _file_in(hierarchy: Node, folder: int, run: SceneRun) -> None:
    """Puts the run's nodes into its folder. In desktop Slicer they have items by then, on slicer-core they have not."""
    for (role, _), node in run.nodes.items():
        if node.IsA("vtkMRMLColorNode"):
            continue
        parent = folder
        if role in FOLDERS:
            parent = hierarchy.GetItemChildWithName(folder, FOLDERS[role], False) or hierarchy.CreateFolderItem(
                folder, FOLDERS[role]
            )
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.SetItemParent(item, parent)
        else:
            hierarchy.CreateItem(parent, node)


# Values


def slicer_nodes(scene: Any, kind: str) -> list[Node]:
    """Nodes of a class, in the scene's order."""
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]


def _lay_onto(view: Node, film: Node) -> None:
    """A slice view in the film's plane, which it shows whole: patient's left to the right, head up."""
    bounds = [0.0] * 6
    film.GetRASBounds(bounds)
    middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    for row, (first, second, third, place) in enumerate(
        ((-1, 0, 0, middle[0]), (0, 0, 1, middle[1]), (0, 1, 0, middle[2]))
    ):
        for col, value in enumerate((first, second, third, place)):
            view.GetSliceToRAS().SetElement(row, col, value)
    cols, rows, _ = view.GetDimensions()
    wide, high = bounds[1] - bounds[0], bounds[5] - bounds[4]
    mm_per_px = max(wide / max(cols, 1), high / max(rows, 1))
    view.SetFieldOfView(cols * mm_per_px, rows * mm_per_px, 1.0)
    view.SetXYZOrigin(0, 0, 0)
    view.UpdateMatrices()


def _scene(scene: Any | None, replacing: SceneRun | None) -> Any:
    if scene is None:
        scene = replacing.scene if replacing else getattr(slicer, "mrmlScene", None)
    if scene is None:
        raise Refusal("There is no Slicer scene here: give one, such as DualFaceReconLib.scene.new_scene().")
    if replacing and replacing.scene is not scene:
        raise Refusal("The run to be replaced is in another scene: leave it out to add one.")
    return scene


def _copied(mesh: vtkPolyData) -> vtkPolyData:
    """With normals where a surface has none: without, every triangle would show."""
    copied = vtkPolyData()
    if mesh.GetNumberOfPolys() == 0 or mesh.GetPointData().GetNormals():
        copied.DeepCopy(mesh)
        return copied
    smooth = vtkPolyDataNormals()
    smooth.SetInputData(mesh)
    smooth.SplittingOff()  # points stay as they are
    smooth.ConsistencyOff()
    smooth.Update()
    copied.DeepCopy(smooth.GetOutput())
    return copied


def _matrix(values: np.ndarray) -> vtkMatrix4x4:
    matrix = vtkMatrix4x4()
    matrix.DeepCopy(values.ravel().tolist())
    return matrix


def _image(pixels: np.ndarray) -> vtkImageData:
    """(rows, cols) as one slice."""
    image = vtkImageData()
    image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(pixels).ravel(), deep=True))
    return image


def _shares(colour: Sequence[int]) -> tuple[float, ...]:
    """0 to 255 -> 0 to 1."""
    return tuple(int(part) / 255 for part in colour)


def _coded(value: str, scheme: str, meaning: str) -> Any:
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(value, scheme, meaning)
    return entry
