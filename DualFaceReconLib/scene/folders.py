"""Where a Slicer scene's subject hierarchy shows its runs: a folder each, with folders for what few people look for."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from DualFaceReconLib.scene.run import ROLE, RUN, Node, SceneRun, below

FOLDERS = {  # below the run's own; roles that are not here stand in that one
    "observed": "observed",
    "landmarks": "landmarks and measurements",
    "measurement": "landmarks and measurements",
    "sides": "X-ray geometry",
    "source": "X-ray geometry",
    "central_ray": "X-ray geometry",
    "frustum": "X-ray geometry",
    "camera": "X-ray geometry",
}
OWNERS = {  # the plugins of desktop Slicer's Data module; it asks them for an item where it makes the item itself
    "vtkMRMLVolumeNode": "Volumes",
    "vtkMRMLSegmentationNode": "Segmentations",
    "vtkMRMLModelNode": "Models",
    "vtkMRMLMarkupsNode": "Markups",
    "vtkMRMLTableNode": "Tables",
}


def runs(hierarchy: Node) -> list[SceneRun]:
    """The hierarchy's runs from top to bottom; those of a scene file that was added twice get ids of their own."""
    by_id: dict[str, SceneRun] = {}
    for item in below(hierarchy, hierarchy.GetSceneItemID()):
        if id := hierarchy.GetItemAttribute(item, RUN):
            run = SceneRun(hierarchy.GetScene(), id)
            if id in by_id:
                run = _split_off(hierarchy, item, run)
            by_id[run.id] = run
    return list(by_id.values())


def new_folder(run: SceneRun, hierarchy: Node, name: str) -> int:
    """The run's folder, under a name that no other item has."""
    folder = _folder(hierarchy, hierarchy.GetSceneItemID(), hierarchy.GenerateUniqueItemName(name))
    hierarchy.SetItemAttribute(folder, RUN, run.id)
    return folder


def file_in(hierarchy: Node, folder: int, run: SceneRun, before: Collection[Node]) -> None:
    """Puts the run's new nodes into its folder; those of `before` stay where somebody may have put them.

    In desktop Slicer they have items by then, on slicer-core they have not.
    """
    for (role, _), node in run.nodes.items():
        item = hierarchy.GetItemByDataNode(node)
        if node.IsA("vtkMRMLColorNode") or (item and node in before):
            continue
        parent = _folder_below(hierarchy, folder, FOLDERS[role]) if role in FOLDERS else folder
        if item:
            hierarchy.SetItemParent(item, parent)
            continue
        item = hierarchy.CreateItem(parent, node)
        for kind, owner in OWNERS.items():
            if node.IsA(kind) and not hierarchy.GetItemOwnerPluginName(item):
                hierarchy.SetItemOwnerPluginName(item, owner)


def tidy(hierarchy: Node, folder: int) -> None:
    """Takes away those of a run's inner folders that are empty."""
    for item in below(hierarchy, folder):
        if hierarchy.GetItemAttribute(item, ROLE) and not hierarchy.GetNumberOfItemChildren(item):
            hierarchy.RemoveItem(item, False, False)


def hide_others(run: SceneRun) -> None:
    """Only this run is seen: the folders of all others are switched off, as by their eyes in the Data module.

    What is in a folder keeps its own visibility, and is seen as before when the folder is switched on.
    """
    hierarchy = run.scene.GetSubjectHierarchyNode()
    for other in runs(hierarchy):
        _switch(hierarchy, other.folder, other.id == run.id)


def dissolve(hierarchy: Node, folder: int) -> None:
    """Takes away a run's folder; what somebody else put into it moves up."""
    tidy(hierarchy, folder)
    for item in below(hierarchy, folder, deep=False):
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(folder))
    hierarchy.RemoveItem(folder, True, False)


def _switch(hierarchy: Node, folder: int, on: bool) -> None:
    """Views ask a folder's own display node before those of what is in it; desktop Slicer makes it like this, too."""
    display = hierarchy.GetItemDataNode(folder)
    if display is None:
        if on:
            return
        scene = hierarchy.GetScene()
        display = scene.CreateNodeByClass("vtkMRMLFolderDisplayNode")
        display.SetName(hierarchy.GetItemName(folder))
        display.SetHideFromEditors(False)
        display.SetAttribute("SubjectHierarchy.Folder", "1")
        scene.AddNode(display)
        hierarchy.SetItemDataNode(folder, display)
    display.SetVisibility(on)
    hierarchy.ItemModified(folder)


def _split_off(hierarchy: Node, folder: int, run: SceneRun) -> SceneRun:
    """A run of its own from a folder whose id another folder has, too."""
    other = SceneRun(run.scene, uuid.uuid4().hex)
    hierarchy.SetItemAttribute(folder, RUN, other.id)
    inside = [hierarchy.GetItemDataNode(item) for item in below(hierarchy, folder)]
    displays = [node.GetDisplayNode() for node in inside if node is not None and node.IsA("vtkMRMLDisplayableNode")]
    colours = [display.GetColorNode() for display in displays if display is not None]
    kept = {node.GetID() for node in run.nodes.values()} - {node.GetID() for node in inside if node is not None}
    for node in (*inside, *colours):
        if node is not None and node.GetAttribute(RUN) == run.id and node.GetID() not in kept:
            node.SetAttribute(RUN, other.id)
    return other


def _folder_below(hierarchy: Node, folder: int, name: str) -> int:
    """A run's inner folder, which somebody may have renamed."""
    for item in below(hierarchy, folder):
        if hierarchy.GetItemAttribute(item, ROLE) == name:
            return item
    made = _folder(hierarchy, folder, name)
    hierarchy.SetItemAttribute(made, ROLE, name)
    return made


def _folder(hierarchy: Node, parent: int, name: str) -> int:
    folder = hierarchy.CreateFolderItem(parent, name)
    hierarchy.SetItemOwnerPluginName(folder, "Folder")
    return folder
