"""All or nothing: when a change of the scene fails half-way, the scene is as it was before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import slicer
import slicer.util
import vtk

_current: SceneChange | None = None


class SceneChange:
    """A change that is made in steps, with the event loop turning between them.

    Within a step, nodes that are added are remembered, and those given to :func:`remove` stay until the end. What other
    people do to the scene between the steps is theirs.

    Args:
        kept: nodes that are written into; what they hold now comes back in case of an error.
    """

    def __init__(self, kept: Sequence[slicer.vtkMRMLNode | None] = ()) -> None:
        self._added: list[slicer.vtkMRMLNode] = []
        self._leaving: list[slicer.vtkMRMLNode] = []
        different = {node.GetID(): node for node in kept if alive(node) is not None}
        self._restore = [_restoring(node) for node in different.values()]

    @contextmanager
    def step(self) -> Iterator[None]:
        """Take down what is added and given up within."""
        global _current

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def remember(_scene: object, _event: str, node: slicer.vtkMRMLNode) -> None:
            self._added.append(node)

        scene = slicer.mrmlScene
        tag = scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, remember)
        outer, _current = _current, self
        try:
            yield
        finally:
            _current = outer
            scene.RemoveObserver(tag)

    def give_up(self, node: slicer.vtkMRMLNode) -> None:
        """Have ``node`` removed at the end."""
        self._leaving.append(node)

    def finish(self) -> None:
        """Keep the change."""
        for node in self._leaving:
            remove(node)
        self._added, self._leaving, self._restore = [], [], []

    def undo(self) -> None:
        """Take the change back."""
        for restore in self._restore:
            restore()
        for node in reversed(self._added):
            if node.GetScene() is slicer.mrmlScene:
                slicer.mrmlScene.RemoveNode(node)
        self._added, self._leaving, self._restore = [], [], []


@contextmanager
def all_or_nothing(*kept: slicer.vtkMRMLNode | None) -> Iterator[None]:
    """Remove the nodes that were added within, in case of an error, and give back to ``kept`` what they held."""
    change = SceneChange(kept)
    try:
        with change.step():
            yield
    except BaseException:
        change.undo()
        raise
    change.finish()


def alive(node: slicer.vtkMRMLNode | None) -> slicer.vtkMRMLNode | None:
    """Return ``node``, or None when it is no longer part of the scene."""
    return node if node is not None and node.GetScene() is not None else None


def remove(node: slicer.vtkMRMLNode | None) -> None:
    """Take ``node`` out of the scene and of the views, with what shows it; within a change, at its end."""
    if alive(node) is None:
        return
    if _current is not None:
        _current.give_up(node)
        return
    if isinstance(node, slicer.vtkMRMLVolumeNode):
        _take_off(node)
    for index in reversed(range(node.GetNumberOfDisplayNodes() if hasattr(node, "GetNumberOfDisplayNodes") else 0)):
        display = node.GetNthDisplayNode(index)
        if display is not None:
            slicer.mrmlScene.RemoveNode(display)
    slicer.mrmlScene.RemoveNode(node)


def remove_soon(nodes: Sequence[slicer.vtkMRMLNode]) -> None:
    """Remove ``nodes`` from the event loop: not while the scene is removing the one that they belong to."""
    if nodes:
        import qt

        qt.QTimer.singleShot(0, lambda: [remove(node) for node in nodes])


def _take_off(volume: slicer.vtkMRMLVolumeNode) -> None:
    """Take an overlay off the slice views: their selectors would put any other volume in the place of one that goes."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetForegroundVolumeID() == volume.GetID():
            composite.SetForegroundVolumeID(None)
            composite.SetForegroundOpacity(0.0)


def _restoring(node: slicer.vtkMRMLNode) -> Callable[[], None]:
    """Return a function that gives ``node`` back what it holds now.

    Results replace images, tables and segments as a whole: holding on to the former ones costs no memory of its own.
    """
    name, description = node.GetName(), node.GetDescription()
    attributes = {name: node.GetAttribute(name) for name in node.GetAttributeNames()}
    roles = [node.GetNthNodeReferenceRole(index) for index in range(node.GetNumberOfNodeReferenceRoles())]
    references = {role: _reference_ids(node, role) for role in roles if _is_ours(role)}
    content = _content(node)

    def restore() -> None:
        if alive(node) is None:
            return
        with slicer.util.NodeModify(node):
            content()
            node.SetName(name)
            node.SetDescription(description)
            for each in node.GetAttributeNames():
                if each not in attributes:
                    node.RemoveAttribute(each)
            for each, value in attributes.items():
                node.SetAttribute(each, value)
            present = [node.GetNthNodeReferenceRole(index) for index in range(node.GetNumberOfNodeReferenceRoles())]
            for role in {*filter(_is_ours, present), *references}:
                node.RemoveNodeReferenceIDs(role)
                for identifier in references.get(role, ()):
                    node.AddNodeReferenceID(role, identifier)

    return restore


def _content(node: slicer.vtkMRMLNode) -> Callable[[], None]:
    """Return a function that gives ``node`` back its data."""
    transform = node.GetTransformNodeID() if isinstance(node, slicer.vtkMRMLTransformableNode) else None
    if isinstance(node, slicer.vtkMRMLVolumeNode):
        image, matrix = node.GetImageData(), vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)

        def write() -> None:
            node.SetIJKToRASMatrix(matrix)
            node.SetAndObserveImageData(image)

    elif isinstance(node, slicer.vtkMRMLSegmentationNode):
        segmentation = node.GetSegmentation()
        segments = [(identifier, segmentation.GetSegment(identifier)) for identifier in segmentation.GetSegmentIDs()]
        source = segmentation.GetSourceRepresentationName()

        def write() -> None:
            segmentation.RemoveAllSegments()
            segmentation.SetSourceRepresentationName(source)
            for identifier, segment in segments:
                segmentation.AddSegment(segment, identifier)

    elif isinstance(node, slicer.vtkMRMLTableNode):
        table = node.GetTable()

        def write() -> None:
            node.SetAndObserveTable(table)

    elif isinstance(node, slicer.vtkMRMLMarkupsNode):
        copy = node.CreateNodeInstance()
        copy.CopyContent(node)

        def write() -> None:
            node.CopyContent(copy)

    else:

        def write() -> None:
            pass

    def restore() -> None:
        write()
        if isinstance(node, slicer.vtkMRMLTransformableNode):
            node.SetAndObserveTransformNodeID(transform)

    return restore


def _reference_ids(node: slicer.vtkMRMLNode, role: str) -> list[str]:
    return [node.GetNthNodeReferenceID(role, index) for index in range(node.GetNumberOfNodeReferences(role))]


def _is_ours(role: str) -> bool:
    return role.startswith("MedDL.")
