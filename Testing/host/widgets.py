"""Stand-ins for the widgets of CTK and of Slicer that the module uses: real Qt widgets with their properties, signals.

`widgets.csv` names the header that each property and signal was read from; a test holds both against each other, and
the .ui against the table, as Qt's loader takes misspelt properties and unknown classes silently.
"""

from __future__ import annotations

import weakref
from typing import Any

from PySide6 import QtCore, QtWidgets

from host.pythonqt import pythonqt


class _CollapsibleButton(QtWidgets.QGroupBox):
    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self._folded: list[QtWidgets.QWidget] = []  # children that are hidden because it is collapsed

    def _is_collapsed(self) -> bool:
        return self._collapsed

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        children = self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly)
        folded = [child for child in children if not child.isHidden()] if collapsed else self._folded
        for child in folded:  # CTK's leaves those hidden that were
            child.setProperty("visible", not collapsed)
        self._folded = folded if collapsed else []
        self.setMaximumHeight(24 if collapsed else 16777215)
        self.contentsCollapsed.emit(collapsed)

    text = QtCore.Property(str, QtWidgets.QGroupBox.title, QtWidgets.QGroupBox.setTitle)
    collapsed = QtCore.Property(bool, _is_collapsed, _collapse)


class _PathLineEdit(QtWidgets.QWidget):
    currentPathChanged = QtCore.Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._filters = ""
        self._edit, self._browse = QtWidgets.QLineEdit(self), QtWidgets.QToolButton(self)
        self._browse.setText("...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(self._browse)
        self._edit.textChanged.connect(self.currentPathChanged)

    def _path(self) -> str:
        return self._edit.text()

    def _set_path(self, path: str) -> None:
        self._edit.setText(path)

    def _get_filters(self) -> str:
        return self._filters

    def _set_filters(self, filters: str) -> None:
        self._filters = filters

    currentPath = QtCore.Property(str, _path, _set_path)
    filters = QtCore.Property(str, _get_filters, _set_filters)


class _MRMLWidget(QtWidgets.QWidget):
    mrmlSceneChanged = QtCore.Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        return getattr(self, "_scene", None)


OBSERVING: weakref.WeakSet[_NodeComboBox] = weakref.WeakSet()  # combo boxes with a scene, which let go before it does


class _NodeComboBox(QtWidgets.QWidget):
    currentNodeChanged = QtCore.Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene, self._observers, self._ids = None, [], [None]
        self._values = {
            "nodeTypes": [], "showChildNodeTypes": True, "noneEnabled": False,
            "addEnabled": True, "removeEnabled": True, "renameEnabled": False,
        }  # fmt: skip
        self._combo = QtWidgets.QComboBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.currentIndexChanged.connect(lambda _: self.currentNodeChanged.emit(self.currentNode()))

    def setMRMLScene(self, scene: Any) -> None:
        for tag in self._observers:
            self._scene.RemoveObserver(tag)
        self._scene, self._observers = scene, []
        OBSERVING.add(self)
        if scene is not None:
            self._observers = [
                scene.AddObserver(event, lambda *_: self._fill())
                for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent)
            ]
            self._fill()

    def currentNode(self) -> Any:
        id = self._ids[self._combo.currentIndex()] if self._combo.count() else None
        return None if id is None or self._scene is None else self._scene.GetNodeByID(id)

    def setCurrentNode(self, node: Any) -> None:
        id = None if node is None else node.GetID()
        self._combo.setCurrentIndex(self._ids.index(id) if id in self._ids else 0)

    def _fill(self) -> None:
        before = self._ids[self._combo.currentIndex()] if self._combo.count() else None
        kinds = self._values["nodeTypes"]
        nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())]
        exact = not self._values["showChildNodeTypes"]
        fitting = [
            node
            for node in nodes
            if any(node.GetClassName() == kind if exact else node.IsA(kind) for kind in kinds)
            and not node.GetHideFromEditors()
        ]
        self._combo.blockSignals(True)
        self._combo.clear()
        self._ids = [None, *(node.GetID() for node in fitting)]
        self._combo.addItem("None")
        for node in fitting:
            self._combo.addItem(node.GetName())
        self._combo.setCurrentIndex(self._ids.index(before) if before in self._ids else 0)
        self._combo.blockSignals(False)
        if before is not None and before not in self._ids:
            self.currentNodeChanged.emit(None)

    def _value(name: str, kind: Any) -> QtCore.Property:
        def get(self: Any) -> Any:
            return self._values[name]

        def put(self: Any, value: Any) -> None:
            self._values[name] = value

        return QtCore.Property(kind, get, put)

    nodeTypes = _value("nodeTypes", "QStringList")
    showChildNodeTypes = _value("showChildNodeTypes", bool)
    noneEnabled = _value("noneEnabled", bool)
    addEnabled = _value("addEnabled", bool)
    removeEnabled = _value("removeEnabled", bool)
    renameEnabled = _value("renameEnabled", bool)


def _stand_in(kind: type, name: str, signals: tuple[str, ...]) -> type:
    made = pythonqt(kind)
    made.__name__, made.SIGNALS = name, signals
    return made


ctkCollapsibleButton = _stand_in(_CollapsibleButton, "ctkCollapsibleButton", ("contentsCollapsed(bool)",))
ctkPathLineEdit = _stand_in(_PathLineEdit, "ctkPathLineEdit", ("currentPathChanged(QString)",))
qMRMLWidget = _stand_in(_MRMLWidget, "qMRMLWidget", ("mrmlSceneChanged(vtkMRMLScene*)",))
qMRMLNodeComboBox = _stand_in(_NodeComboBox, "qMRMLNodeComboBox", ("currentNodeChanged(vtkMRMLNode*)",))


class _ModuleWindow(_MRMLWidget):
    """What Slicer gives a module's widget for a parent: a qSlicerScriptedLoadableModuleWidget."""

    isEntered = QtCore.Property(bool, lambda self: True)
    _set_up: Any = None  # makes the module's widget in this window

    def reload(self) -> None:
        """A new widget of the module's class as it is now."""
        self._set_up()


ModuleWindow = pythonqt(_ModuleWindow)
CUSTOM = {kind.__name__: kind for kind in (ctkCollapsibleButton, ctkPathLineEdit, qMRMLWidget, qMRMLNodeComboBox)}
