"""What a Slicer scene has of one reconstruction: its nodes, found by their attributes, and its folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from vtkmodules.vtkCommonCore import vtkIdList

Node = Any  # vtkMRMLNode
Key = tuple[str, str]  # a node's role and its bone, "" for nodes of no bone

RUN, ROLE, BONE = (f"DualFaceRecon.{name}" for name in ("run", "role", "bone"))  # attributes of every node of a run
DISPLAYED = "DualFaceRecon.shown"  # of display nodes that have had their first look from us


@dataclass(frozen=True)
class SceneRun:
    """What a scene has of one reconstruction; it holds nothing itself, so that a reopened scene has it again."""

    scene: Any = field(repr=False)  # vtkMRMLScene
    id: str

    @property
    def nodes(self) -> dict[Key, Node]:
        """The run's nodes by role and bone: film, segmentation, depth_front, depth_back, depth_colours,
        certainty_colours, observed, completed, sides, landmarks, measurement (by its name), table, source, central_ray,
        frustum, camera."""
        nodes: dict[Key, Node] = {}
        for node in self._marked():
            nodes.setdefault((node.GetAttribute(ROLE), node.GetAttribute(BONE) or ""), node)  # copies of it come later
        return nodes

    def node(self, role: str, bone: str = "") -> Node | None:
        """One of them, None where the reconstruction had no such thing."""
        return self.nodes.get((role, bone))

    @property
    def folder(self) -> int:
        """The run's item in the subject hierarchy; 0 when the run was removed."""
        hierarchy = self.scene.GetSubjectHierarchyNode()
        items = below(hierarchy, hierarchy.GetSceneItemID())
        return next((item for item in items if hierarchy.GetItemAttribute(item, RUN) == self.id), 0)

    @property
    def name(self) -> str:
        """The folder's name; "" when the run was removed."""
        folder = self.folder
        return self.scene.GetSubjectHierarchyNode().GetItemName(folder) if folder else ""

    def let_go(self) -> None:
        """What is left with the run's mark, copies that somebody made of its nodes, is marked no longer."""
        for node in list(self._marked()):
            for attribute in (RUN, ROLE, BONE):
                node.RemoveAttribute(attribute)

    def _marked(self) -> Iterator[Node]:
        for index in range(self.scene.GetNumberOfNodes()):
            node = self.scene.GetNthNode(index)
            if node.GetAttribute(RUN) == self.id:
                yield node


def node_of(run: SceneRun, role: str, bone: str, kind: str, name: str) -> tuple[Node, bool]:
    """The run's node of that role, and whether it is new."""
    node = run.node(role, bone)
    if node is not None:
        return node, False
    node = run.scene.CreateNodeByClass(kind)
    node.SetName(run.scene.GetUniqueNameByString(name))
    # A view's camera has the id vtkMRMLCameraNode and the view's name, "2" perhaps, and would take the place of a node
    # that was counted to the same id. A tag gives ours an id that no view has; to stay it would outlive the scene.
    node.SetSingletonTag(f"OfRun{run.id}" if kind == "vtkMRMLCameraNode" else None)
    run.scene.AddNode(node)
    node.SetSingletonTag(None)
    for attribute, value in ((RUN, run.id), (ROLE, role), (BONE, bone)):
        node.SetAttribute(attribute, value)
    return node, True


def display_of(node: Node) -> tuple[Node, bool]:
    """Its display node, and whether that is new to us: a node that has none gets one, from us or from a module."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    new = display.GetAttribute(DISPLAYED) is None
    display.SetAttribute(DISPLAYED, "1")
    return display, new


def remove(scene: Any, nodes: Sequence[Node]) -> None:
    """Nodes with their items and what displays and stores them, which a scene would keep."""
    hierarchy = scene.GetSubjectHierarchyNode()
    items = {hierarchy.GetItemByDataNode(node) for node in nodes}
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
    for item in items.intersection(below(hierarchy, hierarchy.GetSceneItemID())):  # desktop Slicer leaves none
        hierarchy.RemoveItem(item, False, False)


def nodes_in(scene: Any, kind: str) -> list[Node]:
    """Nodes of a class, in the scene's order."""
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]


def below(hierarchy: Node, item: int, deep: bool = True) -> list[int]:
    """The items in an item of the subject hierarchy, and with `deep` in those."""
    items = vtkIdList()
    hierarchy.GetItemChildren(item, items, deep)
    return [items.GetId(index) for index in range(items.GetNumberOfIds())]
