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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from DualFaceReconLib.bonemaps import bounding_window
from DualFaceReconLib.disk.files import write_file
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.outcome import Reconstruction
from DualFaceReconLib.pictures.bones import BONE_COLOURS
from DualFaceReconLib.pictures.wording import bone_words
from DualFaceReconLib.scene.folders import dissolve, file_in, hide_others, new_folder, runs, tidy
from DualFaceReconLib.scene.nodes import FILM, bones, markups, rig, table, volumes
from DualFaceReconLib.scene.parts import TERMINOLOGY, angle_in_view, image, matrix, shares, terminology
from DualFaceReconLib.scene.run import Node, SceneRun, display_of, node_of, nodes_in, remove

try:
    import slicer
except (ImportError, OSError):  # OSError: one that lies broken
    slicer = None
if not hasattr(slicer, "vtkMRMLScene"):  # PyPI's `slicer` is something else
    raise Refusal("Scenes need slicer-core: pip install slicer-core, or run this inside 3D Slicer.")

MILLIMETRE = ("mm", "UCUM", "millimeter")
SLICE_VIEW, VIEW_3D = "Red", "1"  # layout names, as desktop Slicer has them
SLICE_COLOUR = (0.952941, 0.290196, 0.200000)  # of that slice view in desktop Slicer
FROM_MODULES = (  # the classes of nodes that a scene does not know by itself
    "vtkMRMLMarkupsFiducialNode",
    "vtkMRMLMarkupsLineNode",
    "vtkMRMLMarkupsDisplayNode",
    "vtkMRMLMarkupsFiducialDisplayNode",
    "vtkMRMLMarkupsJsonStorageNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLSegmentationDisplayNode",
    "vtkMRMLSegmentationStorageNode",
)


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
    scene = scene_of(scene, replacing)
    run = replacing or SceneRun(scene, uuid.uuid4().hex)
    before = run.nodes
    hierarchy = scene.GetSubjectHierarchyNode()
    folder = _named_folder(run, hierarchy, name, reconstruction.radiograph.pixel_hash)
    written = [
        *volumes(run, reconstruction, _coded(*MILLIMETRE)),
        _segmentation(run, reconstruction),
        *bones(run, reconstruction),
        *markups(run, reconstruction),
        *rig(run, reconstruction),
        table(run, reconstruction),
    ]
    now = {node.GetID() for node in written}
    remove(scene, [node for node in before.values() if node.GetID() not in now])
    file_in(hierarchy, folder, run, before.values())
    tidy(hierarchy, folder)
    return run


def remove_from_scene(run: SceneRun) -> None:
    """All of a run: nodes, what displays and stores them, and its folder. What somebody made or put there stays."""
    folder = run.folder
    remove(run.scene, list(run.nodes.values()))
    run.let_go()
    if folder:
        dissolve(run.scene.GetSubjectHierarchyNode(), folder)


def runs_in(scene: Any | None = None) -> list[SceneRun]:
    """The runs of a scene, in the order of the subject hierarchy."""
    return runs(scene_of(scene, None).GetSubjectHierarchyNode())


def show(run: SceneRun, width_by_height: float = 1.0) -> None:
    """The film with its outlines in a slice view; in 3D it stands behind the bones, and the camera is at the source.

    The scene's other runs, which would stand in the same place, are hidden: `show` them in turn, or switch their
    folders on in the Data module.

    Of several 3D views the first one of Slicer's layouts looks so, and the others stay as they are. `width_by_height`
    is that view's shape: one that is narrower than high sees the whole film, too.
    """
    film, at_source = run.node("film"), run.node("camera")
    if film is None or at_source is None:
        raise Refusal("This run is no longer in the scene: add the reconstruction again.")
    hide_others(run)
    show_film(film)
    for view in nodes_in(run.scene, "vtkMRMLSliceNode"):
        if view.GetLayoutName() == SLICE_VIEW:
            view.SetSliceVisible(True)
    for camera in cameras_of_bare_view(run.scene):
        look(camera, at_source, width_by_height)


def cameras_of_bare_view(scene: Any) -> list[Node]:
    """Those of the 3D view, which is left without box and labels."""
    for view in nodes_in(scene, "vtkMRMLViewNode"):
        if view.GetLayoutName() == VIEW_3D:
            view.SetBoxVisible(False)
            view.SetAxisLabelsVisible(False)
    return [camera for camera in nodes_in(scene, "vtkMRMLCameraNode") if camera.GetLayoutName() == VIEW_3D]


def show_film(film: Node) -> None:
    """A film's volume alone and whole in the slice view, which lies in its plane."""
    scene = film.GetScene()
    for composite in nodes_in(scene, "vtkMRMLSliceCompositeNode"):
        if composite.GetLayoutName() == SLICE_VIEW:
            composite.SetBackgroundVolumeID(film.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(None)
    for view in nodes_in(scene, "vtkMRMLSliceNode"):
        if view.GetLayoutName() == SLICE_VIEW:
            _lay_onto(view, film)


def look(camera: Node, as_camera: Node, width_by_height: float = 1.0) -> None:
    """Puts a view's camera where another one is; what that sees in a square view is seen in one of another shape."""
    camera.SetViewAngle(angle_in_view(as_camera.GetViewAngle(), width_by_height))
    camera.SetPosition(*as_camera.GetPosition())
    camera.SetFocalPoint(*as_camera.GetFocalPoint())
    camera.SetViewUp(*as_camera.GetViewUp())
    camera.ResetClippingRange()


def save_scene(reconstruction: Reconstruction, path: str | Path) -> None:
    """Writes a scene of its own as .mrb: opened in Slicer, it looks as `show` leaves it."""
    save_new_scene(path, lambda scene: show(add_to_scene(reconstruction, scene)))


def save_new_scene(path: str | Path, fill: Callable[[Any], None]) -> None:
    """Writes a scene with views and what `fill` puts there as .mrb."""
    path, scene = Path(path), new_scene()
    try:
        add_views(scene)
        fill(scene)
        write_file(path, lambda beside: write_mrb(scene, beside))
    finally:
        scene.Clear(True)


def write_mrb(scene: Any, path: Path) -> None:
    # Slicer works beside the file that it writes, and leaves what it began where the disk is full
    with tempfile.TemporaryDirectory(prefix=".scene-", dir=path.absolute().parent) as folder:
        written = Path(folder) / "scene.mrb"  # the name is within, too, and some names could not be read again
        if not scene.WriteToMRB(str(written), None):
            raise OSError(0, "is there room?")
        written.replace(path)


def new_scene() -> Any:
    """An empty vtkMRMLScene that knows millimetres and the classes that modules bring; clear it when done."""
    scene = slicer.vtkMRMLScene()
    known = {scene.GetNthRegisteredNodeClass(i).GetClassName() for i in range(scene.GetNumberOfRegisteredNodeClasses())}
    for kind in set(FROM_MODULES) - known:
        scene.RegisterNodeClass(getattr(slicer, kind)())
    scene.AddNode(slicer.vtkMRMLSelectionNode())  # holds the units
    units = slicer.vtkSlicerUnitsLogic()
    units.SetMRMLScene(scene)
    units.SetMRMLScene(None)
    return scene


def add_views(scene: Any) -> None:
    """The views that desktop Slicer begins with: those of an opened scene take their place, by name."""
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    for kind, layout in (("SliceComposite", SLICE_VIEW), ("Slice", SLICE_VIEW), ("View", VIEW_3D), ("Camera", VIEW_3D)):
        node = scene.CreateNodeByClass(f"vtkMRML{kind}Node")  # as the scene has them by default, with the presets
        node.SetName(layout)
        node.SetLayoutName(layout)
        node.SetSingletonTag(layout)
        if kind == "Slice":
            node.SetLayoutLabel(SLICE_VIEW[0])
            node.SetLayoutColor(*SLICE_COLOUR)
        scene.AddNode(node)


def _segmentation(run: SceneRun, reconstruction: Reconstruction) -> Node:
    """Every bone as a segment in a layer of its own: bones overlap at the joint."""
    node, _ = node_of(run, "segmentation", "", "vtkMRMLSegmentationNode", "bones")
    node.SetReferenceImageGeometryParameterFromVolumeNode(run.node("film"))
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName("Binary labelmap")
    to_ras = matrix(reconstruction.radiograph.geometry.ijk_to_ras())
    maps = reconstruction.maps
    masks = {bone: mask for bone, mask in zip(maps.bones, maps.mask, strict=True) if mask.any()}
    for bone in BONE_COLOURS.keys() - masks.keys():
        segmentation.RemoveSegment(bone)
    for bone, mask in masks.items():
        labels = labelmap(mask, to_ras)
        segment = segmentation.GetSegment(bone)
        if segment is not None:
            segment.RemoveAllRepresentations()
            segment.AddRepresentation("Binary labelmap", labels)
            continue
        segmentation.AddSegment(segment_of(labels, bone_words(bone), BONE_COLOURS[bone], terminology(bone)), bone)
    for index, bone in enumerate(masks):
        segmentation.SetSegmentIndex(bone, index)
    show_outlines(node)
    return node


def labelmap(mask: np.ndarray, to_ras: Any) -> Any:
    """A vtkOrientedImageData of a mask (rows, cols) on a film, which `to_ras` (a vtkMatrix4x4) places."""
    rows, cols = top_left = bounding_window(mask)
    labels = slicer.vtkOrientedImageData()
    labels.DeepCopy(image(mask[top_left].astype(np.uint8)))
    labels.SetExtent(cols.start, cols.stop - 1, rows.start, rows.stop - 1, 0, 0)
    labels.SetImageToWorldMatrix(to_ras)
    return labels


def segment_of(labels: Any, name: str, colour: Sequence[int], codes: str) -> Any:
    """A vtkSegment."""
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(*shares(colour))
    segment.SetTag(TERMINOLOGY, codes)
    segment.AddRepresentation("Binary labelmap", labels)
    return segment


def show_outlines(segmentation: Node) -> None:
    """Of masks on a film, the first time that they are shown."""
    display, new = display_of(segmentation)
    if new:
        display.SetVisibility3D(False)  # a flat sheet in the film's plane; the bones are there as models
        display.SetVisibility2DFill(False)
        display.SetOpacity2DOutline(1.0)


def _usual_name(pixel_hash: str | None) -> str:
    return f"film {pixel_hash}"


def _named_folder(run: SceneRun, hierarchy: Node, name: str | None, pixel_hash: str) -> int:
    """The run's folder; a name that was of another film goes, one that somebody gave stays."""
    folder, film = run.folder, run.node("film")
    if not folder:
        return new_folder(run, hierarchy, name or _usual_name(pixel_hash))
    was = None if film is None else film.GetAttribute(FILM)
    if name is None and was != pixel_hash and run.name.startswith(_usual_name(was)):
        name = _usual_name(pixel_hash)
    if name is not None and name != run.name:
        hierarchy.SetItemName(folder, hierarchy.GenerateUniqueItemName(name))
    return folder


def _coded(value: str, scheme: str, meaning: str) -> Any:
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(value, scheme, meaning)
    return entry


def _lay_onto(view: Node, film: Node) -> None:
    """A slice view in the film's plane, which it shows whole and as its pixels are: columns to the right, rows down."""
    bounds, directions = [0.0] * 6, np.zeros((3, 3))
    film.GetRASBounds(bounds)
    film.GetIJKToRASDirections(directions)
    right, up = directions[:, 0], -directions[:, 1]
    middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    for row, values in enumerate(np.column_stack([right, up, np.cross(right, up), middle]).tolist()):
        for col, value in enumerate(values):
            view.GetSliceToRAS().SetElement(row, col, value)
    cols, rows, _ = view.GetDimensions()
    wide, high, _ = np.multiply(film.GetImageData().GetDimensions(), film.GetSpacing())
    mm_per_px = float(max(wide / max(cols, 1), high / max(rows, 1)))
    view.SetFieldOfView(cols * mm_per_px, rows * mm_per_px, 1.0)
    view.SetXYZOrigin(0, 0, 0)
    view.UpdateMatrices()


def scene_of(scene: Any | None, replacing: SceneRun | None) -> Any:
    if scene is None:
        scene = replacing.scene if replacing else getattr(slicer, "mrmlScene", None)
    if scene is None:
        raise Refusal("There is no Slicer scene here: give one, such as DualFaceReconLib.scene.new_scene().")
    if replacing and replacing.scene is not scene:
        raise Refusal("The run to be replaced is in another scene: leave it out to add one.")
    return scene
