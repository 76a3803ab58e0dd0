"""`slicer.app.coreIOManager()`: reads and writes nodes by file type, through MRML's own storage nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import slicer
import vtk

from ..pythonqt.binding import QtCore
from ..pythonqt.native import native

_TYPES = {
    ".seg.nrrd": "SegmentationFile", ".seg.nhdr": "SegmentationFile",
    ".nrrd": "VolumeFile", ".nhdr": "VolumeFile", ".nii": "VolumeFile", ".nii.gz": "VolumeFile",
    ".mha": "VolumeFile", ".mhd": "VolumeFile",
    ".mrml": "SceneFile", ".mrb": "SceneFile",
    ".vtk": "ModelFile", ".vtp": "ModelFile", ".stl": "ModelFile", ".ply": "ModelFile", ".obj": "ModelFile",
    ".csv": "TableFile", ".tsv": "TableFile",
    ".mrk.json": "MarkupsFile",
    ".h5": "TransformFile", ".tfm": "TransformFile",
}  # fmt: skip


@native
class qSlicerIOManager(QtCore.QObject):
    """The file types the panels read and write; the others raise."""

    def fileType(self, path: str) -> str:
        """The type that reads an existing file best, or "NoFile"."""
        if not Path(path).exists():
            return "NoFile"
        name = Path(path).name.lower()
        return next((kind for suffix, kind in _TYPES.items() if name.endswith(suffix)), "NoFile")

    def fileWriterFileType(self, node: slicer.vtkMRMLNode) -> str:
        return "NodeFile" if isinstance(node, slicer.vtkMRMLStorableNode) else "NoFile"

    def loadNodes(
        self, file_type: str, properties: dict, loaded: vtk.vtkCollection | None = None, _messages: object = None
    ) -> bool:
        reader = _READERS.get(file_type)
        if reader is None:
            raise RuntimeError(f"The host reads no '{file_type}'")
        if not Path(properties["fileName"]).exists():
            return False
        node = reader(properties)
        if node is not None and loaded is not None and node is not slicer.mrmlScene:
            loaded.AddItem(node)
        return node is not None

    def loadScene(self, path: str, clear: bool = True) -> bool:
        return _read_scene({"fileName": path, "clear": clear}) is not None

    def saveNodes(self, file_type: str, properties: dict, _messages: object = None) -> bool:
        path = str(properties["fileName"])
        if file_type == "SceneFile":
            return _write_scene(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        storage = node.GetStorageNode()
        if storage is None:
            node.AddDefaultStorageNode()
            storage = node.GetStorageNode()
        storage.SetFileName(path)
        storage.SetUseCompression(int(properties.get("useCompression", 1)))
        return bool(storage.WriteData(node))


def _named(node: slicer.vtkMRMLNode | None, properties: dict) -> slicer.vtkMRMLNode | None:
    if node is not None and properties.get("name"):
        node.SetName(slicer.mrmlScene.GenerateUniqueName(properties["name"]))
    return node


def _base_name(properties: dict) -> str:
    return Path(properties["fileName"]).name.partition(".")[0]


def _read_volume(properties: dict) -> slicer.vtkMRMLNode | None:
    options = ("labelmap", "center", "singleFile", "autoWindowLevel", "discardOrientation")
    flags = sum(1 << bit for bit, name in enumerate(options) if properties.get(name))
    logic = slicer.modules.volumes.logic()
    node = logic.AddArchetypeVolume(properties["fileName"], properties.get("name") or _base_name(properties), flags)
    if node is not None and properties.get("show", True):
        selection = slicer.app.applicationLogic().GetSelectionNode()
        if isinstance(node, slicer.vtkMRMLLabelMapVolumeNode):
            selection.SetActiveLabelVolumeID(node.GetID())
        else:
            selection.SetActiveVolumeID(node.GetID())
        slicer.app.applicationLogic().PropagateVolumeSelection()
    return node


def _read_segmentation(properties: dict) -> slicer.vtkMRMLNode | None:
    name = properties.get("name") or _base_name(properties)
    return slicer.modules.segmentations.logic().LoadSegmentationFromFile(properties["fileName"], True, name)


def _by_storage(node_class: str) -> Callable[[dict], slicer.vtkMRMLNode | None]:
    def read(properties: dict) -> slicer.vtkMRMLNode | None:
        node = slicer.mrmlScene.AddNewNodeByClass(node_class, _base_name(properties))
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(properties["fileName"])
        if not node.GetStorageNode().ReadData(node):
            slicer.mrmlScene.RemoveNode(node)
            return None
        if isinstance(node, slicer.vtkMRMLDisplayableNode):
            node.CreateDefaultDisplayNodes()
        return _named(node, properties)

    return read


def _read_scene(properties: dict) -> object | None:
    path, scene = str(properties["fileName"]), slicer.mrmlScene
    if properties.get("clear", False):
        scene.Clear(False)
    if path.lower().endswith(".mrb"):
        return scene if scene.ReadFromMRB(path, False) else None
    scene.SetURL(path)
    return scene if scene.Import() else None


def _write_scene(path: str) -> bool:
    if path.lower().endswith(".mrb"):
        return bool(slicer.mrmlScene.WriteToMRB(path, None))
    return bool(slicer.mrmlScene.Commit(path)) if path.lower().endswith(".mrml") else _save_to_folder(path)


def _save_to_folder(path: str) -> bool:
    return bool(slicer.app.applicationLogic().SaveSceneToSlicerDataBundleDirectory(path, None))


_READERS: dict[str, Callable[[dict], object | None]] = {
    "VolumeFile": _read_volume,
    "SegmentationFile": _read_segmentation,
    "SceneFile": _read_scene,
    "ModelFile": _by_storage("vtkMRMLModelNode"),
    "TableFile": _by_storage("vtkMRMLTableNode"),
    "TransformFile": _by_storage("vtkMRMLTransformNode"),
}
