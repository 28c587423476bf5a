"""The Segment Editor: its widget is a stand-in, but node and logic are Slicer's own, and so is what a stroke does."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import slicer
from vtkmodules.util.numpy_support import vtk_to_numpy


class SegmentEditorWidget:
    """qMRMLSegmentEditorWidget, as `slicer.modules.segmenteditor.widgetRepresentation().self().editor`."""

    def __init__(self, scene: Any) -> None:
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._logic.SetMRMLScene(scene)
        self._logic.SetSegmentEditorNode(scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))

    def mrmlSegmentEditorNode(self) -> Any:
        return self._logic.GetSegmentEditorNode()

    def setSegmentationNode(self, node: Any) -> None:
        self._logic.SetSegmentationNode(node)

    def setSourceVolumeNode(self, node: Any) -> None:
        self._logic.SetSourceVolumeNode(node)

    def _stroke(self, segment: str, mask: np.ndarray) -> None:
        """What somebody paints into a segment, (rows, cols) bool in the film's pixels; masking as the node has it."""
        logic = self._logic
        self.mrmlSegmentEditorNode().SetSelectedSegmentID(segment)
        logic.UpdateReferenceGeometryImage()
        logic.ResetModifierLabelmapToDefault()
        labels = logic.GetModifierLabelmap()
        vtk_to_numpy(labels.GetPointData().GetScalars()).reshape(mask.shape)[mask] = 1
        labels.Modified()
        logic.ModifySegmentByLabelmap(
            logic.GetSegmentationNode(), segment, labels, logic.ModificationModeAdd, False, False
        )

    def _close(self) -> None:
        self._logic.SetSegmentationNode(None)
        self._logic.SetSourceVolumeNode(None)
        self._logic.SetSegmentEditorNode(None)
        self._logic.SetMRMLScene(None)


def as_module(widget: SegmentEditorWidget) -> Any:
    """`slicer.modules.segmenteditor`."""
    scripted = types.SimpleNamespace(editor=widget)
    representation = types.SimpleNamespace(self=lambda: scripted)
    return types.SimpleNamespace(widgetRepresentation=lambda: representation)
