"""`qt` as Slicer's PythonQt has it, on PySide6: properties are attributes, signals are connected by their signature.

Classes that are no QObject are PySide6's own. What PythonQt would refuse is refused here: a signal that a class does
not have, and an attribute that is neither a property nor a method.
"""

from __future__ import annotations

import types
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

VIRTUAL = {"sizeHint", "minimumSizeHint"}  # properties that are virtual methods, which Qt itself calls
PARTS = ("sender", "signal", "receiver", "slot")  # of a .ui's connection
MODULES = (QtCore, QtGui, QtWidgets, QtUiTools)
_classes: dict[str, type] = {}


def pythonqt(kind: type) -> type:
    """A QObject's class with PythonQt's manners."""
    if kind.__name__ in _classes:
        return _classes[kind.__name__]

    def put(self: Any, name: str, value: Any) -> None:
        known = isinstance(getattr(type(self), name, None), property | QtCore.Property)
        if not (known or name.startswith("_") or isinstance(value, QtCore.QObject)):  # the loader sets children by name
            raise AttributeError(f"{type(self).__name__} has no property {name!r}")
        kind.__setattr__(self, name, value)

    body: dict[str, Any] = {
        "connect": _connect, "disconnect": _disconnect, "__setattr__": put, "name": _property("objectName"),
    }  # fmt: skip
    meta = kind.staticMetaObject
    for index in range(meta.propertyCount()):
        name = meta.property(index).name()
        if name not in VIRTUAL and not isinstance(getattr(kind, name, None), QtCore.Property):
            body[name] = _property(name)
    made = type(kind.__name__, (kind,), body)
    _classes[kind.__name__] = made
    return made


def _property(name: str) -> property:
    def get(self: Any) -> Any:
        return self.property(name)

    def put(self: Any, value: Any) -> None:
        if not self.setProperty(name, value):
            raise TypeError(f"{type(self).__name__}.{name} does not take {value!r}")

    return property(get, put)


def _signal(self: Any, signature: str) -> Any:
    """The bound signal of a signature; those of stand-ins in Python are found by the signatures that they declare."""
    name = signature.partition("(")[0]
    declared = getattr(type(self), "SIGNALS", ())
    if signature in declared:
        return getattr(self, name)
    normal = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
    if self.metaObject().indexOfSignal(normal) < 0:
        raise ValueError(f"{type(self).__name__} has no signal {signature!r}")
    return None


def _connect(self: Any, signature: str, slot: Callable[..., Any]) -> bool:
    signal = _signal(self, signature)
    if signal is not None:
        signal.connect(slot)
        return True
    return bool(QtCore.QObject.connect(self, QtCore.SIGNAL(signature), slot))


def _disconnect(self: Any, signature: str, slot: Callable[..., Any]) -> bool:
    signal = _signal(self, signature)
    if signal is not None:
        signal.disconnect(slot)
        return True
    return bool(QtCore.QObject.disconnect(self, QtCore.SIGNAL(signature), slot))


def qt_module(custom: dict[str, type]) -> types.ModuleType:
    """The module `qt`; `custom` are the widgets that a .ui may name beside Qt's own."""

    class Loader(QtUiTools.QUiLoader):
        def createWidget(self, name: str, parent: Any = None, object_name: str = "") -> Any:
            kind = custom.get(name) or getattr(module, name)
            widget = kind(parent)
            widget.setObjectName(object_name)
            made.append(widget)
            return widget

        def load(self, file: Any) -> Any:
            """PySide6 knows no flags of Python's classes, nor signals of theirs by other signatures than its own."""
            document = ElementTree.fromstring(file.readAll().data())
            for widget in document.iter("widget"):
                if widget.get("class") in custom:
                    for value in widget.findall("property/set"):
                        value.tag = "string"
            wires = list(document.iter("connection"))
            for connections in document.findall("connections"):
                document.remove(connections)
            buffer = QtCore.QBuffer()
            buffer.setData(ElementTree.tostring(document))
            loaded = super().load(buffer)
            everything = {loaded.property("objectName"): loaded}
            everything |= {child.property("objectName"): child for child in loaded.findChildren(QtCore.QObject)}
            for wire in wires:
                sender, signal, receiver, slot = (wire.findtext(part) for part in PARTS)
                everything[sender].connect(signal, getattr(everything[receiver], slot.partition("(")[0]))
            return loaded

    made: list[Any] = []  # PySide6 forgets what Python classes its widgets are of, where nobody holds them

    def find(name: str) -> Any:
        if name == "QUiLoader":
            return Loader
        for place in MODULES:
            if hasattr(place, name):
                value = getattr(place, name)
                is_object = isinstance(value, type) and issubclass(value, QtCore.QObject)
                return pythonqt(value) if is_object else value
        raise AttributeError(f"module 'qt' has no attribute {name!r}")

    module = types.ModuleType("qt")
    module.__getattr__ = find
    return module
