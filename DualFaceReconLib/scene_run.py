"""What a Slicer scene has of one reconstruction: its nodes, found by their attributes, and its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vtkmodules.vtkCommonCore import vtkIdList

Node = Any  # vtkMRMLNode
Key = tuple[str, str]  # a node's role and its bone, "" for nodes of no bone

RUN, ROLE, BONE = (f"DualFaceRecon.{name}" for name in ("run", "role", "bone"))  # attributes of every node of a run
FOLDERS = {  # below the run's own; roles that are not here stand in that one
    "observed": "observed",
    "landmarks": "landmarks and measurements",
    "measurement": "landmarks and measurements",
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
        hierarchy = self.scene.GetSubjectHierarchyNode()
        return next((item for item, run in folders(hierarchy) if run == self.id), 0)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.scene.GetSubjectHierarchyNode().GetItemName(self.folder)

    def _has(self, node: Node) -> bool:
        return node.GetAttribute(RUN) == self.id


def node_of(run: SceneRun, role: str, bone: str, kind: str, name: str) -> tuple[Node, bool]:
    """The run's node of that role, and whether it is new."""
    node = run.node(role, bone)
    if node is not None:
        return node, False
    node = run.scene.AddNewNodeByClass(kind, run.scene.GetUniqueNameByString(name))
    for attribute, value in ((RUN, run.id), (ROLE, role), (BONE, bone)):
        node.SetAttribute(attribute, value)
    return node, True


def displayed(node: Node) -> Node:
    """Its display node, which it gets if it has none."""
    node.CreateDefaultDisplayNodes()
    return node.GetDisplayNode()


def remove(scene: Any, nodes: Sequence[Node]) -> None:
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


def nodes_in(scene: Any, kind: str) -> list[Node]:
    """Nodes of a class, in the scene's order."""
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]


# The subject hierarchy


def new_folder(run: SceneRun, hierarchy: Node, name: str) -> int:
    """The run's folder, under a name that no other item has."""
    folder = _folder(hierarchy, hierarchy.GetSceneItemID(), hierarchy.GenerateUniqueItemName(name))
    hierarchy.SetItemAttribute(folder, RUN, run.id)
    return folder


def _folder(hierarchy: Node, parent: int, name: str) -> int:
    folder = hierarchy.CreateFolderItem(parent, name)
    hierarchy.SetItemOwnerPluginName(folder, "Folder")
    return folder


def folders(hierarchy: Node) -> list[tuple[int, str]]:
    """Items of runs, with the run's id."""
    items = vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    found = [(items.GetId(i), hierarchy.GetItemAttribute(items.GetId(i), RUN)) for i in range(items.GetNumberOfIds())]
    return [(item, run) for item, run in found if run]


def file_in(hierarchy: Node, folder: int, run: SceneRun) -> None:
    """Puts the run's nodes into its folder. In desktop Slicer they have items by then, on slicer-core they have not."""
    for (role, _), node in run.nodes.items():
        if node.IsA("vtkMRMLColorNode"):
            continue
        parent = folder
        if role in FOLDERS:
            name = FOLDERS[role]
            parent = hierarchy.GetItemChildWithName(folder, name, False) or _folder(hierarchy, folder, name)
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.SetItemParent(item, parent)
            continue
        item = hierarchy.CreateItem(parent, node)
        for kind, owner in OWNERS.items():
            if node.IsA(kind) and not hierarchy.GetItemOwnerPluginName(item):
                hierarchy.SetItemOwnerPluginName(item, owner)
