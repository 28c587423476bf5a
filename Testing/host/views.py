"""Views through Slicer's own displayable managers, rendered without a display."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkRenderingCore import (
    vtkActor2D,
    vtkImageMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkRenderWindowInteractor,
    vtkWindowToImageFilter,
)

SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)
MANAGERS_3D = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)


class View:
    """A window with the managers that draw a view node's scene into it."""

    def __init__(self, application: Any, node: Any, managers: tuple[str, ...], size_px: tuple[int, int]) -> None:
        self.node = node
        self.renderer = vtkRenderer()
        self.window = vtkRenderWindow()
        self.window.SetOffScreenRendering(True)
        self.window.SetMultiSamples(0)
        self.window.SetSize(size_px[1], size_px[0])
        self.window.AddRenderer(self.renderer)
        self.interactor = vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.SetRenderer(self.renderer)
        for name in managers:
            manager = getattr(slicer, name)()
            manager.SetMRMLApplicationLogic(application)
            self.group.AddDisplayableManager(manager)
        self.group.SetMRMLDisplayableNode(node)

    def picture(self) -> np.ndarray:
        """(rows, cols, 3) uint8, as it is now."""
        self.window.Render()
        grabbed = vtkWindowToImageFilter()
        grabbed.SetInput(self.window)
        grabbed.SetInputBufferTypeToRGB()
        grabbed.ReadFrontBufferOff()
        grabbed.Update()
        image = grabbed.GetOutput()
        cols, rows, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, cols, 3)[::-1].copy()

    def close(self) -> None:
        """Lets go of the scene, then of the window."""
        self.group.SetMRMLDisplayableNode(None)
        self.group.SetRenderer(None)
        self.interactor.SetRenderWindow(None)
        self.window.RemoveRenderer(self.renderer)
        self.window.Finalize()
        del self.group, self.interactor, self.renderer, self.window, self.node


class SliceView(View):
    """Slices of volumes, with what crosses them."""

    def __init__(self, scene: Any, application: Any, name: str, size_px: tuple[int, int]) -> None:
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application)
        self.logic.SetMRMLScene(scene)
        application.GetSliceLogics().AddItem(self.logic)
        node = scene.GetSingletonNode(name, "vtkMRMLSliceNode") or self.logic.AddSliceNode(name)
        self.logic.SetSliceNode(node)
        self.logic.ResizeSliceNode(size_px[1], size_px[0])
        super().__init__(application, node, SLICE_MANAGERS, size_px)
        self._application = application
        self._slices = vtkImageMapper()
        self._slices.SetColorWindow(255)
        self._slices.SetColorLevel(127.5)
        self._slices.SetInputConnection(self.logic.GetImageDataConnection())
        self._slice_actor = vtkActor2D()
        self._slice_actor.SetMapper(self._slices)
        self._slice_actor.GetProperty().SetDisplayLocationToBackground()

    def picture(self) -> np.ndarray:
        """(rows, cols, 3) uint8, as it is now."""
        connection = self.logic.GetImageDataConnection()
        self._slices.SetInputConnection(connection)
        if connection is not None and not self.renderer.HasViewProp(self._slice_actor):
            self.renderer.AddViewProp(self._slice_actor)
        return super().picture()

    def close(self) -> None:
        """Lets go of the scene, then of the window."""
        self._slices.SetInputConnection(None)
        self.renderer.RemoveViewProp(self._slice_actor)
        self._application.GetSliceLogics().RemoveItem(self.logic)
        super().close()
        self.logic.SetMRMLScene(None)
        del self.logic, self._slices, self._slice_actor, self._application


class View3D(View):
    """Everything in 3D, seen by the view's camera."""

    def __init__(self, scene: Any, application: Any, name: str, size_px: tuple[int, int]) -> None:
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(application)
        self.logic.SetMRMLScene(scene)
        application.GetViewLogics().AddItem(self.logic)
        node = scene.GetSingletonNode(name, "vtkMRMLViewNode") or self.logic.AddViewNode(name)
        self._application = application
        super().__init__(application, node, MANAGERS_3D, size_px)

    def picture(self) -> np.ndarray:
        """(rows, cols, 3) uint8, as it is now; scenes do not store between which planes a camera sees."""
        self.renderer.ResetCameraClippingRange()
        return super().picture()

    def close(self) -> None:
        """Lets go of the scene, then of the window."""
        self._application.GetViewLogics().RemoveItem(self.logic)
        super().close()
        self.logic.SetMRMLScene(None)
        del self.logic, self._application
