"""The part of slicer.parameterNodeWrapper that the module uses: typed values in a node, bound to widgets of a .ui."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WithinRange:
    """Refuses numbers outside."""

    minimum: float
    maximum: float


def parameter_node_wrapper(kind: type) -> type:
    """A class of annotated values becomes one that keeps them in a vtkMRMLScriptedModuleNode."""
    hints = typing.get_type_hints(kind, include_extras=True)
    body: dict[str, Any] = {
        "__init__": _init,
        "connectGui": _connect_gui,
        "disconnectGui": _disconnect_gui,
        "HINTS": hints,
    }
    for name, hint in hints.items():
        body[name] = _value(name, hint, getattr(kind, name, None))
    return type(kind.__name__, (), body)


def _init(self: Any, node: Any) -> None:
    self.parameterNode, self._bindings = node, {}


def _plain(hint: Any) -> tuple[type, WithinRange | None]:
    bounds = None
    if typing.get_origin(hint) is typing.Annotated:
        hint, *extras = typing.get_args(hint)
        bounds = next((extra for extra in extras if isinstance(extra, WithinRange)), None)
    inner = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return (inner[0] if inner else hint), bounds


def _value(name: str, hint: Any, default: Any) -> property:
    kind, bounds = _plain(hint)

    def get(self: Any) -> Any:
        if kind in (bool, float):
            text = self.parameterNode.GetParameter(name)
            return default if text == "" else (text == "True" if kind is bool else float(text))
        return self.parameterNode.GetNodeReference(name)

    def put(self: Any, value: Any) -> None:
        if kind in (bool, float):
            if bounds is not None and not bounds.minimum <= value <= bounds.maximum:
                raise ValueError(f"{name} must be from {bounds.minimum} to {bounds.maximum}, not {value}")
            self.parameterNode.SetParameter(name, str(kind(value)))
        else:
            self.parameterNode.SetNodeReferenceID(name, None if value is None else value.GetID())

    return property(get, put)


def _connect_gui(self: Any, ui: Any) -> int:
    """Binds every widget whose property SlicerParameterName names a value; both ways."""
    undo = []
    for widget in vars(ui).values():
        name = widget.property("SlicerParameterName")
        if not name:
            continue
        if name not in self.HINTS:
            raise RuntimeError(f"there is no parameter {name!r}")
        kind, bounds = _plain(self.HINTS[name])
        read, write, signal = _access(widget, kind)
        if kind is float:
            if bounds is None:
                raise RuntimeError(f"{name} has no bounds, which a spin box needs")
            widget.minimum, widget.maximum = bounds.minimum, bounds.maximum
        write(getattr(self, name))

        def changed(*_: Any, name: str = name, read: Any = read) -> None:
            setattr(self, name, read())

        widget.connect(signal, changed)
        undo.append((widget, signal, changed))
    self._bindings[len(self._bindings)] = undo
    return len(self._bindings) - 1


def _disconnect_gui(self: Any, binding: int) -> None:
    for widget, signal, changed in self._bindings.pop(binding):
        widget.disconnect(signal, changed)


def _access(widget: Any, kind: type) -> tuple[Any, Any, str]:
    if kind is bool:
        return (lambda: widget.checked), (lambda value: setattr(widget, "checked", bool(value))), "toggled(bool)"
    if kind is float:
        return (lambda: widget.value), (lambda value: setattr(widget, "value", float(value))), "valueChanged(double)"
    return widget.currentNode, widget.setCurrentNode, "currentNodeChanged(vtkMRMLNode*)"


def parameters_module() -> types.ModuleType:
    module = types.ModuleType("slicer.parameterNodeWrapper")
    module.WithinRange, module.parameterNodeWrapper = WithinRange, parameter_node_wrapper
    return module
