"""What Slicer's views draw of runs."""

import slicer

from DualFaceReconLib.scene import SceneRun


def are_seen(*runs: SceneRun) -> list[bool]:
    """Whether views draw what is in the runs' folders, by every node that they ask."""
    asked = [[node for node in run.nodes.values() if node.IsA("vtkMRMLDisplayableNode")] for run in runs]
    answers = [{slicer.vtkMRMLFolderDisplayNode.GetHierarchyVisibility(node) for node in nodes} for nodes in asked]
    assert all(len(of_run) == 1 for of_run in answers)
    return [of_run.pop() for of_run in answers]
