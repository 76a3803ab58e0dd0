"""`qt.QUiLoader` that makes CTK and MRML widgets, and connects what a .ui file connects."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from .binding import QObject, QtCore, QtUiTools, QtWidgets
from .objects import loading_ui
from .signals import connect

_widget_classes: dict[str, type] = {}


def register(*classes: type) -> None:
    """Makes widget classes known to .ui files under their own names."""
    _widget_classes.update({cls.__name__: cls for cls in classes})


class QUiLoader(QtUiTools.QUiLoader):
    """Raises where Qt would only warn: an unknown widget class, signal or slot in a .ui file."""

    _native = True
    _private = ("_missing",)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._missing = []

    def createWidget(self, className: str, parent: QtWidgets.QWidget | None = None, name: str = "") -> object:
        cls = _widget_classes.get(className)
        if cls is not None:
            widget = cls(parent)
            widget.setObjectName(name)
            return widget
        if className not in self.availableWidgets() and className != "Line":
            self._missing.append(className)
        return super().createWidget(className, parent, name)

    def load(self, device: QtCore.QIODevice, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget | None:
        root = ElementTree.fromstring(device.readAll().data())
        connections = _take_connections(root)
        flags = _take_custom_enums(root)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        self._missing = []
        with loading_ui():
            widget = super().load(buffer, parent)
        if self._missing:
            raise RuntimeError(f"The .ui file uses widgets the host does not have: {', '.join(sorted(self._missing))}")
        if widget is not None:
            for name, prop, names in flags:
                target = _find(widget, name)
                value = 0
                for text in names.split("|"):
                    value |= int(getattr(type(target), text.rpartition("::")[2]))
                setattr(target, prop, value)
            for sender, signal, receiver, slot in connections:
                connect(_find(widget, sender), signal, _find(widget, receiver), slot)
        return widget


def _find(top: QtWidgets.QWidget, name: str) -> QObject:
    found = top if top.objectName == name else top.findChild(QtCore.QObject, name)
    if found is None:
        raise RuntimeError(f"The .ui file connects '{name}', which it does not define")
    return found


def _take_connections(root: ElementTree.Element) -> list[tuple[str, str, str, str]]:
    section = root.find("connections")
    if section is None:
        return []
    root.remove(section)
    fields = ("sender", "signal", "receiver", "slot")
    return [tuple(c.findtext(f, "") for f in fields) for c in section.findall("connection")]


def _take_custom_enums(root: ElementTree.Element) -> list[tuple[str, str, str]]:
    """Enum and flag values of our own widgets: Qt's loader can read those of its own classes only."""
    taken = []
    for widget in root.iter("widget"):
        if widget.get("class") not in _widget_classes:
            continue
        for prop in widget.findall("property"):
            text = prop.findtext("set") or prop.findtext("enum") or ""
            if text.startswith(("ctk", "qMRML")):
                widget.remove(prop)
                taken.append((widget.get("name"), prop.get("name"), text))
    return taken
