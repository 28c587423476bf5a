"""A small Slicer on slicer-core: what desktop Slicer sets up around a scene, without Qt and without a display.

    with Host() as host:
        add_to_scene(reconstruction, host.scene)
        host.view3d().picture()   # (rows, cols, 3) uint8

Import it before anything opens an OpenGL window: it chooses EGL, which needs no display.
"""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path
from types import TracebackType

os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import slicer
from vtkmodules.util.misc import calldata_type
from vtkmodules.util.vtkConstants import VTK_OBJECT
from vtkmodules.vtkCommonCore import vtkCollection

from DualFaceReconLib.scene.folders import OWNERS
from host.views import SliceView, View3D


class Host:
    """A scene with its logics. Close it, or Python's exit takes objects down in an order that MRML does not survive."""

    def __init__(self) -> None:
        gc.freeze()  # what is there already is not looked through when this host is closed
        self._cache = tempfile.TemporaryDirectory(prefix="host-")
        self.scene = slicer.vtkMRMLScene()
        self.views: list[SliceView | View3D] = []
        self._use_cache()
        self.application = slicer.vtkSlicerApplicationLogic()
        (self.temporary / "share" / "ColorFiles").mkdir(parents=True)  # of which slicer-core has none
        self.application.SetHomeDirectory(str(self.temporary))
        self.application.SetShareDirectory("share")
        self.application.SetMRMLScene(self.scene)
        self.colors = slicer.vtkSlicerColorLogic()
        self.colors.SetMRMLApplicationLogic(self.application)
        self.colors.SetMRMLScene(self.scene)
        self.application.SetColorLogic(self.colors)
        self.application.SetModuleLogic("Colors", self.colors)
        self.application.SetSliceLogics(vtkCollection())
        self.application.SetViewLogics(vtkCollection())
        self.logics = {name: self._logic(name, kind) for name, kind in LOGICS.items()}
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene)
        for factory in (
            slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(),
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(),
        ):
            factory.SetMRMLApplicationLogic(self.application)
        self.layout = slicer.vtkMRMLLayoutLogic()
        self.layout.SetMRMLScene(self.scene)
        self._resolve()
        self._observers = [
            self.scene.AddObserver(event, answer, 100.0)  # before any view looks
            for event, answer in (
                (slicer.vtkMRMLScene.NodeAddedEvent, self._give_item),
                (slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._take_item),
                (slicer.vtkMRMLScene.EndCloseEvent, self._resolve),
                (slicer.vtkMRMLScene.EndImportEvent, self._resolve),
                (slicer.vtkMRMLScene.EndBatchProcessEvent, self._end_batch),
            )
        ]

    def slice_view(self, name: str = "Red", size_px: tuple[int, int] = (512, 512)) -> SliceView:
        """A view of slices, (rows, cols) pixels."""
        self.views.append(SliceView(self.scene, self.application, name, size_px))
        return self.views[-1]

    def view3d(self, name: str = "1", size_px: tuple[int, int] = (512, 512)) -> View3D:
        """A view in 3D, (rows, cols) pixels."""
        self.views.append(View3D(self.scene, self.application, name, size_px))
        return self.views[-1]

    def load_mrb(self, path: Path) -> bool:
        """Replaces the scene's content by a bundle's; views are closed, as their nodes go: make them again."""
        self._close_views()
        return bool(self.scene.ReadFromMRB(str(path.absolute()), True))

    def close(self) -> None:
        """Views first, then logics, then the scene."""
        self._close_views()
        for observer in self._observers:
            self.scene.RemoveObserver(observer)
        self.layout.SetMRMLScene(None)
        for factory in (
            slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(),
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(),
        ):
            factory.SetMRMLApplicationLogic(None)
        self.application.GetSliceLogics().RemoveAllItems()
        self.application.GetViewLogics().RemoveAllItems()
        for name, logic in self.logics.items():
            self.application.SetModuleLogic(name, None)
            logic.SetMRMLScene(None)
        self.application.SetModuleLogic("Colors", None)
        self.colors.SetMRMLScene(None)
        self.scene.Clear(True)
        self._remote_io.RemoveDataIOFromScene()
        self.application.SetMRMLScene(None)
        self.logics.clear()
        del self.layout, self.colors, self._data_io, self._remote_io, self.application, self.scene
        gc.collect()
        gc.unfreeze()
        self._cache.cleanup()

    def _close_views(self) -> None:
        for view in self.views:
            view.close()
        self.views.clear()

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _use_cache(self) -> None:
        """Bundles are unpacked into it."""
        self._remote_io = slicer.vtkMRMLRemoteIOLogic()
        self._remote_io.GetCacheManager().SetRemoteCacheDirectory(self._cache.name)
        self._remote_io.SetMRMLScene(self.scene)
        self._remote_io.AddDataIOToScene()
        self._data_io = slicer.vtkDataIOManagerLogic()
        self._data_io.SetMRMLScene(self.scene)
        self._data_io.SetAndObserveDataIOManager(self._remote_io.GetDataIOManager())

    def _logic(self, name: str, kind: str) -> object:
        logic = getattr(slicer, kind)()
        logic.SetMRMLApplicationLogic(self.application)
        logic.SetMRMLScene(self.scene)
        self.application.SetModuleLogic(name, logic)
        return logic

    @property
    def temporary(self) -> Path:
        """A folder that goes with the host."""
        return Path(self._cache.name)

    def _give_item(self, *_: object) -> None:
        """As the plugins of desktop Slicer do: every node that is shown to people gets its place in the hierarchy."""
        if not (self.scene.IsBatchProcessing() or self.scene.IsImporting()):
            self._give_items()

    @calldata_type(VTK_OBJECT)
    def _take_item(self, _: object, __: str, node: object) -> None:
        """And the place goes with the node."""
        if self.scene.IsBatchProcessing() or self.scene.IsImporting():  # to ask for a hierarchy would make one
            return
        hierarchy = self.scene.GetSubjectHierarchyNode()
        if item := hierarchy.GetItemByDataNode(node):
            hierarchy.RemoveItem(item, False, False)

    def _resolve(self, *_: object) -> None:
        """Gives a closed scene its hierarchy at once, into which an imported one is merged.

        An imported one alone keeps items whose parents are nowhere, and a view would climb in it for ever.
        """
        slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(self.scene)

    def _end_batch(self, *_: object) -> None:
        """What was imported in a batch has its items only when that ends."""
        self._resolve()
        self._give_item()

    def _give_items(self) -> None:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        for index in range(self.scene.GetNumberOfNodes()):
            node = self.scene.GetNthNode(index)
            visible = any(node.IsA(kind) for kind in OWNERS) and not node.GetHideFromEditors()
            if visible and not hierarchy.GetItemByDataNode(node):
                hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


LOGICS = {
    "Units": "vtkSlicerUnitsLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Models": "vtkSlicerModelsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Sequences": "vtkSlicerSequencesLogic",
}
__all__ = ["Host", "SliceView", "View3D"]
