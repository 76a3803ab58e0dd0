"""Widgets that hold other widgets and hand them the scene, and number widgets that know the scene's units."""

from __future__ import annotations

import slicer

from ..ctk.buttons import ctkCollapsibleButton
from ..ctk.numbers import ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget
from ..pythonqt.binding import QtCore, QtWidgets
from ..pythonqt.native import native, stored
from .node_combo_box import check_scene

_SCENE_SIGNAL = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged(PyObject)"}
_SET_SCENE = "setMRMLScene(vtkMRMLScene scene)"


@native
class qMRMLWidget(QtWidgets.QWidget):
    """Top-level widget of a panel: `mrmlSceneChanged` passes the scene on to its children."""

    mrmlSceneChanged = QtCore.Signal(object)
    _signals = _SCENE_SIGNAL
    _private = ("_scene",)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        check_scene(_SET_SCENE, scene)
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@native
class qMRMLCollapsibleButton(ctkCollapsibleButton):
    """A collapsible section that passes the scene on."""

    mrmlSceneChanged = QtCore.Signal(object)
    _signals = _SCENE_SIGNAL
    _private = ("_scene",)

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self._scene = None

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        check_scene(_SET_SCENE, scene)
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@native
class qMRMLSliderWidget(ctkSliderWidget):
    """A slider that takes its unit from the scene (the host leaves units alone)."""

    _private = ("_scene",)
    quantity = stored("quantity", str, "")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        check_scene(_SET_SCENE, scene)
        self._scene = scene


@native
class qMRMLSpinBox(ctkDoubleSpinBox):
    """A spin box that takes its unit from the scene (the host leaves units alone)."""

    _private = ("_scene",)
    quantity = stored("quantity", str, "")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        check_scene(_SET_SCENE, scene)
        self._scene = scene


@native
class qMRMLRangeWidget(ctkRangeWidget):
    """A range that takes its unit from the scene (the host leaves units alone)."""

    _private = ("_scene",)
    quantity = stored("quantity", str, "")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        check_scene(_SET_SCENE, scene)
        self._scene = scene
