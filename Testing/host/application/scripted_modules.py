"""The compiled side of a scripted module: the object it describes itself to, and the widget it fills."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import slicer

from ..pythonqt.binding import QtCore, QtGui, QtWidgets
from ..pythonqt.native import computed, native, stored
from ..qmrml.containers import qMRMLWidget


@native
class qSlicerScriptedLoadableModule(QtCore.QObject):
    """`parent` of a scripted module: takes the title, texts and categories that the module sets."""

    _private = ("_widget", "_source")

    def __init__(self, name: str, path: str) -> None:
        super().__init__()
        self._widget, self._source = None, None
        self.__dict__.update(_name_=name, _path_=path)

    name = QtCore.Property(str, lambda self: self.__dict__["_name_"])
    path = QtCore.Property(str, lambda self: self.__dict__["_path_"])
    title = stored("title", str, "")
    categories = stored("categories", list, ())
    dependencies = stored("dependencies", list, ())
    contributors = stored("contributors", list, ())
    associatedNodeTypes = stored("associatedNodeTypes", list, ())
    helpText = stored("helpText", str, "")
    acknowledgementText = stored("acknowledgementText", str, "")
    hidden = stored("hidden", bool, False)
    index = stored("index", int, -1)
    widgetRepresentationCreationEnabled = stored("widgetRepresentationCreationEnabled", bool, True)
    isBuiltIn = QtCore.Property(bool, lambda self: False)
    isInstalled = QtCore.Property(bool, lambda self: False)
    icon = computed(
        "icon",
        "QIcon",
        lambda self: self.__dict__.get("_icon_", QtGui.QIcon()),
        lambda self, value: self.__dict__.update(_icon_=value),
    )
    defaultDocumentationLink = QtCore.Property(str, lambda self: "")

    def logic(self) -> slicer.vtkSlicerScriptedLoadableModuleLogic:
        if not hasattr(slicer, "vtkSlicerScriptedLoadableModuleLogic"):
            raise RuntimeError("A scripted module's compiled logic is not in the host; use slicer.util.getModuleLogic")
        return slicer.vtkSlicerScriptedLoadableModuleLogic()

    def mrmlScene(self) -> slicer.vtkMRMLScene:
        return slicer.mrmlScene

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget | None:
        """The panel, made on the first call."""
        if self._widget is None and self.widgetRepresentationCreationEnabled:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        widget = qSlicerScriptedLoadableModuleWidget(self.name)
        widget.setMRMLScene(slicer.mrmlScene)
        widget.reload()
        return widget


@native
class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The widget in which `XWidget` builds its panel."""

    _private = ("_python",)

    def __init__(self, module_name: str) -> None:
        super().__init__()
        self._python = None
        self.__dict__["_module_name_"] = module_name
        self.setLayout(QtWidgets.QVBoxLayout())

    moduleName = QtCore.Property(str, lambda self: self.__dict__["_module_name_"])

    def self(self) -> object:
        return self._python

    def reload(self) -> None:
        """Makes the Python widget anew from the module's class and lets it set itself up."""
        widget_class = getattr(sys.modules[self.moduleName], f"{self.moduleName}Widget")
        self._python = widget_class(self)
        setattr(slicer.modules, f"{self.moduleName}Widget", self._python)
        self._python.setup()


def instantiate(path: Path) -> qSlicerScriptedLoadableModule:
    """Imports a scripted module file and creates its `X` class, as Slicer does at startup.

    Raises:
        RuntimeError: the file does not define the class named as the file. Errors of the module itself pass through.
    """
    name = path.stem
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    source = _import(name, path)
    module_class: Callable[[object], object] | None = getattr(source, name, None)
    if module_class is None:
        raise RuntimeError(f"{path} does not define the class '{name}'")
    module = qSlicerScriptedLoadableModule(name, str(path))
    instance = module_class(module)
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.modules, f"{name}Instance", instance)
    return module


def _import(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[name] = source
    try:
        spec.loader.exec_module(source)
    except BaseException:
        del sys.modules[name]
        raise
    return source
