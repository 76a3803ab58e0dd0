"""`slicer.modules.<name>` of Slicer's compiled modules: their logics come from slicer-core, their panels are absent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import slicer
import vtk

from ..pythonqt.binding import QtCore
from ..pythonqt.native import native, stored

# Title of the module -> class of its logic.
_LOGICS = {
    "Annotations": "vtkSlicerAnnotationModuleLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Colors": "vtkSlicerColorLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "SceneViews": "vtkSlicerSceneViewsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}


@native
class qSlicerLoadableModule(QtCore.QObject):
    """A compiled module: name, title and logic."""

    _private = ("_logic",)

    def __init__(self, name: str, logic: object) -> None:
        super().__init__()
        self._logic = logic
        self.__dict__["_name_"] = name

    name = QtCore.Property(str, lambda self: self.__dict__["_name_"])
    title = QtCore.Property(str, lambda self: self.__dict__["_name_"])
    path = QtCore.Property(str, lambda self: "")
    hidden = QtCore.Property(bool, lambda self: False)
    isBuiltIn = QtCore.Property(bool, lambda self: True)
    widgetRepresentationCreationEnabled = stored("widgetRepresentationCreationEnabled", bool, True)

    def logic(self) -> object:
        return self._logic

    def mrmlScene(self) -> slicer.vtkMRMLScene:
        return slicer.mrmlScene

    def widgetRepresentation(self) -> None:
        raise RuntimeError(f"The panel of Slicer's module '{self.name}' is compiled code: the host does not have it")

    createNewWidgetRepresentation = widgetRepresentation


@contextmanager
def _quiet() -> Iterator[None]:
    """slicer-core ships no terminologies and color files: the logics' complaints about it tell nobody anything."""
    shown = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(shown)


def install(scene: slicer.vtkMRMLScene, application_logic: object) -> list[qSlicerLoadableModule]:
    """Makes the logics, connects them with the scene and puts the modules into `slicer.modules`."""
    slicer.modules = ModuleType("slicer.modules")
    loaded = []
    for name, class_name in _LOGICS.items():
        if not hasattr(slicer, class_name):
            continue
        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(application_logic)
        with _quiet():
            logic.SetMRMLScene(scene)
        application_logic.SetModuleLogic(name, logic)  # by which some logics find one another
        cls = native(type(f"qSlicer{name}Module", (qSlicerLoadableModule,), {}))
        module = cls(name, logic)
        setattr(slicer.modules, name.lower(), module)
        loaded.append(module)
    return loaded
