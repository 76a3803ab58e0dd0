"""All or nothing: what has been added to the scene goes away again when the rest fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import slicer
import slicer.util
import vtk


@contextmanager
def all_or_nothing() -> Iterator[None]:
    """Remove the nodes that were added within, in case of an error."""
    added: list[slicer.vtkMRMLNode] = []

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def remember(_scene: object, _event: str, node: slicer.vtkMRMLNode) -> None:
        added.append(node)

    scene = slicer.mrmlScene
    tag = scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, remember)
    try:
        yield
    except BaseException:
        for node in reversed(added):
            if node.GetScene() is scene:
                scene.RemoveNode(node)
        raise
    finally:
        scene.RemoveObserver(tag)


def alive(node: slicer.vtkMRMLNode | None) -> slicer.vtkMRMLNode | None:
    """Return ``node``, or None when it is no longer part of the scene."""
    return node if node is not None and node.GetScene() is not None else None


def remove(node: slicer.vtkMRMLNode | None) -> None:
    """Take ``node`` out of the scene and of the views, with what shows it."""
    if alive(node) is None:
        return
    if isinstance(node, slicer.vtkMRMLVolumeNode):
        _take_off(node)
    for index in reversed(range(node.GetNumberOfDisplayNodes() if hasattr(node, "GetNumberOfDisplayNodes") else 0)):
        display = node.GetNthDisplayNode(index)
        if display is not None:
            slicer.mrmlScene.RemoveNode(display)
    slicer.mrmlScene.RemoveNode(node)


def _take_off(volume: slicer.vtkMRMLVolumeNode) -> None:
    """Take an overlay off the slice views: their selectors would put any other volume in the place of one that goes."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetForegroundVolumeID() == volume.GetID():
            composite.SetForegroundVolumeID(None)
            composite.SetForegroundOpacity(0.0)
