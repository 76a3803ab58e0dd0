"""Adds data nodes to the subject hierarchy as they enter the scene, as Slicer's subject hierarchy plugins do."""

from __future__ import annotations

import slicer
import vtk

_node = slicer.vtkMRMLSubjectHierarchyNode
_SHOWN = (
    "vtkMRMLVolumeNode", "vtkMRMLModelNode", "vtkMRMLMarkupsNode", "vtkMRMLTransformNode",
    "vtkMRMLSegmentationNode", "vtkMRMLTableNode", "vtkMRMLTextNode", "vtkMRMLPlotChartNode",
    "vtkMRMLPlotSeriesNode", "vtkMRMLSequenceNode",
)  # fmt: skip


def follow(scene: slicer.vtkMRMLScene) -> None:
    @vtk.calldata_type(vtk.VTK_OBJECT)
    def on_added(_scene: object, _event: str, node: slicer.vtkMRMLNode) -> None:
        if not scene.IsImporting():  # a scene that is being read brings its own hierarchy
            _add(scene, node)

    def on_imported(_scene: object, _event: str) -> None:
        _node.ResolveSubjectHierarchy(scene)
        for index in range(scene.GetNumberOfNodes()):
            _add(scene, scene.GetNthNode(index))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def on_leaving(_scene: object, _event: str, node: slicer.vtkMRMLNode) -> None:
        if scene.IsClosing() or isinstance(node, _node):
            return
        hierarchy = _node.GetSubjectHierarchyNode(scene)
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)

    def on_closed(_scene: object, _event: str) -> None:
        _node.ResolveSubjectHierarchy(scene)  # closing took the old one away

    scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, on_added)
    scene.AddObserver(slicer.vtkMRMLScene.EndImportEvent, on_imported, 10.0)
    scene.AddObserver(slicer.vtkMRMLScene.EndCloseEvent, on_closed, 10.0)
    scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, on_leaving)


def _add(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> None:
    if node.GetHideFromEditors() or not any(node.IsA(name) for name in _SHOWN):
        return
    hierarchy = _node.GetSubjectHierarchyNode(scene)
    if hierarchy is not None and not hierarchy.GetItemByDataNode(node):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
