"""Slicer's desktop as far as a scripted module meets it: Qt's widgets on a screen that is not there, a scene, an app.

    with Desktop() as desktop:
        widget = desktop.open_module(MODULE / "DualFaceRecon.py")
        widget.ui.filmPath.currentPath = "film.dcm"
        desktop.wait_for(lambda: widget.ui.reconstructButton.enabled)

The module's own file runs as it is. `slicer.util` is slicer-core's, which is Slicer's own.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
import slicer.util
from PySide6 import QtCore, QtGui, QtWidgets

from host import Host
from host.editor import SegmentEditorWidget, as_module
from host.parameters import parameters_module
from host.pythonqt import pythonqt, qt_module
from host.views import View3D
from host.widgets import CUSTOM, OBSERVING, ModuleWindow

NAMES = ("qt", "ctk", "slicer.i18n", "slicer.ScriptedLoadableModule", "slicer.parameterNodeWrapper", "slicer.packaging")


class Desktop(Host):
    """A host with an application; what modules register is undone when it closes."""

    def __init__(self, window: bool = True) -> None:
        """Without a `window`, as with --no-main-window: no layout manager either, and nobody who could be asked."""
        super().__init__()
        self.qt = qt_module(CUSTOM)
        self.application_object = QtWidgets.QApplication.instance() or pythonqt(QtWidgets.QApplication)([])
        self.messages: list[str] = []  # what was shown in message boxes
        self.answer = True  # to what message boxes ask
        self.selected: list[str] = []  # modules that were switched to
        self.opened: list[str] = []  # urls
        self._settings = Path(tempfile.mkdtemp(dir=self.temporary)) / "Slicer.ini"
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(self._settings.parent))
        QtCore.QCoreApplication.setOrganizationName("NA-MIC")
        self.editor = SegmentEditorWidget(self.scene)
        self._added: dict[str, Any] = {}
        self._modules = {name: sys.modules.get(name) for name in NAMES}
        self._attributes = {name: getattr(slicer, name, None) for name in ("mrmlScene", "app", "modules", "packaging")}
        self._util = {name: getattr(slicer.util, name) for name in UTIL}
        self.layout_node = slicer.vtkMRMLLayoutNode()
        self.layout_node.SetSingletonTag("vtkMRMLLayoutNode")
        self.layout_node = self.scene.AddNode(self.layout_node)
        self.main_window = self._main_window() if window else None
        self._install()

    def _main_window(self) -> Any:
        """With the toolbar of layouts, whose first button has their menu."""
        window = pythonqt(QtWidgets.QMainWindow)()
        self._toolbar = pythonqt(QtWidgets.QToolBar)(window)
        self._toolbar.setObjectName("ViewToolBar")
        window.addToolBar(self._toolbar)
        self.layout_menu = _Menu()
        self._layout_button = pythonqt(QtWidgets.QToolButton)()
        self._layout_button.setMenu(self.layout_menu)
        self._toolbar.addWidget(self._layout_button)
        return window

    def open_module(self, file: Path) -> Any:
        """A scripted module's widget, set up in a window."""
        if str(file.parent) not in sys.path:
            sys.path.insert(0, str(file.parent))
            self._added["path"] = str(file.parent)
        name = file.stem
        module = importlib.import_module(name)
        self._widget_name = f"{name}Widget"
        parent = types.SimpleNamespace(path=str(file), icon=None)
        self.module = getattr(module, name)(parent)
        self.about = parent
        self.window = ModuleWindow()
        self.window.setLayout(QtWidgets.QVBoxLayout())
        known = types.SimpleNamespace(path=str(file), widgetRepresentation=lambda: self.window)
        setattr(slicer.modules, name.lower(), known)
        self.window._set_up = self._set_up
        self.window.reload()
        self.window.resize(420, 1400)
        self.window.show()
        return self.widget

    def _set_up(self) -> None:
        """A widget of the module's class as it is now, which the user sees at once."""
        name = self._widget_name
        getattr(sys.modules[name.removesuffix("Widget")], name)(self.window).setup()
        self.widget.enter()

    @property
    def widget(self) -> Any:
        """The module's, as Slicer knows it; another one after it was reloaded. None before one was opened."""
        return getattr(slicer.modules, getattr(self, "_widget_name", ""), None)

    def wait_for(self, condition: Callable[[], Any], seconds: float = 60.0) -> None:
        """Lets events happen until something holds."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError
            QtWidgets.QApplication.processEvents(QtCore.QEventLoop.AllEvents, 50)
            time.sleep(0.005)

    def add_views(self) -> None:
        """The nodes of the slice view and of the 3D view, as desktop Slicer begins with, without pictures."""
        for kind, layout in (("SliceComposite", "Red"), ("Slice", "Red"), ("View", "1"), ("Camera", "1")):
            node = self.scene.CreateNodeByClass(f"vtkMRML{kind}Node")
            node.SetName(layout)
            node.SetLayoutName(layout)
            node.SetSingletonTag(layout)
            self.scene.AddNode(node)

    def clipboard_text(self) -> str:
        """What was copied last."""
        return QtWidgets.QApplication.clipboard().text()

    def picture(self, path: Path, widget: Any = None) -> None:
        """What the window looks like, as a PNG."""
        (widget or self.window).grab().save(str(path))

    def close(self) -> None:
        """The module is unloaded, then all is as before."""
        if self.widget is not None:
            self.widget.cleanup()
            self.window.close()
        self.editor._close()
        for box in list(OBSERVING):
            box.setMRMLScene(None)
        QtWidgets.QApplication.processEvents()
        for name, value in self._util.items():
            setattr(slicer.util, name, value)
        for name, value in self._attributes.items():
            if value is None:
                delattr(slicer, name)
            else:
                setattr(slicer, name, value)
        for name, value in self._modules.items():
            sys.modules.pop(name, None)
            if value is not None:
                sys.modules[name] = value
        for name in [
            name for name in sys.modules if name.split(".")[0].startswith(("DualFaceReconPanel", "SampleData"))
        ]:
            del sys.modules[name]
        sys.modules.pop("DualFaceRecon", None)
        if "path" in self._added:
            sys.path.remove(self._added["path"])
        super().close()

    def _install(self) -> None:
        sys.modules["qt"] = self.qt
        ctk = types.ModuleType("ctk")
        for name, kind in CUSTOM.items():
            setattr(ctk if name.startswith("ctk") else slicer, name, kind)
        sys.modules["ctk"] = ctk
        slicer.mrmlScene = self.scene
        slicer.app = Application(self)
        slicer.modules = types.SimpleNamespace(
            sampleDataSources={},
            volumes=types.SimpleNamespace(logic=lambda: self.logics["Volumes"]),
            segmentations=types.SimpleNamespace(logic=lambda: self.logics["Segmentations"]),
            sequences=types.SimpleNamespace(logic=lambda: self.logics["Sequences"]),
            segmenteditor=as_module(self.editor),
        )
        translations = types.ModuleType("slicer.i18n")
        translations.tr = lambda text: text
        translations.translate = lambda context, text: text
        sys.modules["slicer.i18n"] = translations
        sys.modules["slicer.ScriptedLoadableModule"] = scripted_module()
        sys.modules["slicer.parameterNodeWrapper"] = parameters_module()
        packaging = types.ModuleType("slicer.packaging")
        self.pip_calls: list[list[str]] = []
        self.pip_code = 0  # what pip answers
        packaging.pip_install = self._pip
        packaging.isPipInstallInProgress = lambda: False
        slicer.packaging = sys.modules["slicer.packaging"] = packaging
        slicer.util.mainWindow = lambda: self.main_window
        slicer.util.selectModule = self.selected.append
        slicer.util.confirmOkCancelDisplay = self._asked
        slicer.util.errorDisplay = slicer.util.warningDisplay = self._displayed
        slicer.util.showStatusMessage = lambda text, duration=0: self.messages.append(text)

    def _pip(self, requirements: list[str], **options: Any) -> None:
        self.pip_calls.append(list(requirements))
        if "completedCallback" in options:
            options["completedCallback"](self.pip_code)

    def _asked(self, text: str, title: str | None = None, **_: Any) -> bool:
        self.messages.append(text)
        return self.answer

    def _displayed(self, text: str, *_: Any, **__: Any) -> None:
        self.messages.append(text)


class _Menu(QtWidgets.QMenu):
    def addAction(self, text: str) -> Any:
        """As PythonQt gives it."""
        action = pythonqt(QtGui.QAction)(text, self)
        super().addAction(action)
        return action


UTIL = ("mainWindow", "selectModule", "confirmOkCancelDisplay", "errorDisplay", "warningDisplay", "showStatusMessage")


class Application:
    """`slicer.app`."""

    def __init__(self, desktop: Desktop) -> None:
        self._desktop = desktop
        self.applicationVersion = "5.12.0"
        self.temporaryPath = str(desktop.temporary)
        self.slicerUserSettingsFilePath = str(desktop._settings)
        self._started: list[Callable[[], Any]] = []

    def connect(self, signature: str, slot: Callable[[], Any]) -> None:
        if signature != "startupCompleted()":
            raise ValueError(f"slicer.app has no signal {signature!r} here")
        self._started.append(slot)

    def start_up(self) -> None:
        """Emits startupCompleted()."""
        for slot in self._started:
            slot()

    def layoutManager(self) -> Any:
        if self._desktop.main_window is None:
            return None
        return LayoutManager(self._desktop)

    def palette(self) -> Any:
        return QtWidgets.QApplication.palette()

    def clipboard(self) -> Any:
        return QtWidgets.QApplication.clipboard()

    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()

    def testingEnabled(self) -> bool:
        return False

    def moduleManager(self) -> Any:
        return types.SimpleNamespace(connect=lambda *_: None, disconnect=lambda *_: None)


class LayoutManager:
    """qMRMLLayoutManager; the 3D views are those that a test has made."""

    def __init__(self, desktop: Desktop) -> None:
        self._desktop = desktop

    @property
    def threeDViewCount(self) -> int:
        return len(self._views())

    def threeDWidget(self, index: int) -> Any:
        cols, rows = self._views()[index].window.GetSize()
        view = types.SimpleNamespace(width=cols, height=rows)
        return types.SimpleNamespace(threeDView=lambda: view)

    def layoutLogic(self) -> Any:
        return types.SimpleNamespace(GetLayoutNode=lambda: self._desktop.layout_node)

    def _views(self) -> list[View3D]:
        return [view for view in self._desktop.views if isinstance(view, View3D)]


def scripted_module() -> types.ModuleType:
    """slicer.ScriptedLoadableModule as far as the module uses it."""
    import unittest

    class ScriptedLoadableModule:
        def __init__(self, parent: Any) -> None:
            self.parent = parent

    class ScriptedLoadableModuleWidget:
        def __init__(self, parent: Any = None) -> None:
            self.parent, self.layout = parent, parent.layout()
            self.moduleName = type(self).__name__.removesuffix("Widget")
            setattr(slicer.modules, type(self).__name__, self)

        def setup(self) -> None:
            pass

        def onReload(self) -> None:
            slicer.util.reloadScriptedModule(self.moduleName)

        def resourcePath(self, name: str) -> str:
            return str(Path(sys.modules[type(self).__module__].__file__).parent / "Resources" / name)

    class ScriptedLoadableModuleLogic:
        def __init__(self, parent: Any = None) -> None:
            self.moduleName = type(self).__name__.removesuffix("Logic")

        def getParameterNode(self) -> Any:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is None:
                node = slicer.vtkMRMLScriptedModuleNode()
                node.SetSingletonTag(self.moduleName)
                node.SetAttribute("ModuleName", self.moduleName)
                node = slicer.mrmlScene.AddNode(node)
            return node

    class ScriptedLoadableModuleTest(unittest.TestCase):
        def __init__(self, *arguments: Any) -> None:
            super().__init__("runTest", *arguments)

        def delayDisplay(self, message: str, *_: Any) -> None:
            print(message)

    module = types.ModuleType("slicer.ScriptedLoadableModule")
    for kind in (
        ScriptedLoadableModule, ScriptedLoadableModuleWidget, ScriptedLoadableModuleLogic, ScriptedLoadableModuleTest,
    ):  # fmt: skip
        setattr(module, kind.__name__, kind)
    return module
