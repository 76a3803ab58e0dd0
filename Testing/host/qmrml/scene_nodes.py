"""Follows the nodes of some classes in a MRML scene, for the selectors."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import slicer
import vtk

_SCENE_EVENTS = ("NodeAddedEvent", "NodeRemovedEvent", "EndCloseEvent", "EndImportEvent", "EndBatchProcessEvent")


class SceneNodes:
    """The nodes that a selector offers; `changed()` of the owner is called when they may have changed.

    The owner is held weakly: a widget that is gone must not be kept or called by the scene's observers.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.node_types: tuple[str, ...] = ()
        self.show_hidden = False
        self.show_child_types = True
        self.hidden_child_types: tuple[str, ...] = ()
        self.attributes: dict[tuple[str, str], object] = {}
        self.scene: slicer.vtkMRMLScene | None = None
        self._changed = weakref.WeakMethod(changed)
        self._leaving: str | None = None
        self._scene_tags: list[int] = []
        self._node_tags: dict[str, tuple[object, int]] = {}

    def follow(self, scene: slicer.vtkMRMLScene | None) -> None:
        for tag in self._scene_tags:
            self.scene.RemoveObserver(tag)
        self._scene_tags = []
        self._unwatch(set(self._node_tags))
        self.scene = scene
        if scene is None:
            return
        for event in _SCENE_EVENTS:
            self._scene_tags.append(scene.AddObserver(getattr(slicer.vtkMRMLScene, event), _weak(self._on_event)))
        leaving = _weak(self._on_leaving)
        leaving.CallDataType = vtk.VTK_OBJECT
        self._scene_tags.append(scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, leaving))

    def nodes(self) -> list[slicer.vtkMRMLNode]:
        """The nodes offered now, in the scene's order."""
        if self.scene is None:
            return []
        found = [node for node in self._of_types() if self._accepts(node)]
        self._watch(found)
        return found

    def _of_types(self) -> list[slicer.vtkMRMLNode]:
        nodes = (self.scene.GetNthNode(index) for index in range(self.scene.GetNumberOfNodes()))
        return [node for node in nodes if node.GetID() != self._leaving and self._of_type(node)]

    def _of_type(self, node: slicer.vtkMRMLNode) -> bool:
        if any(node.IsA(hidden) and hidden not in self.node_types for hidden in self.hidden_child_types):
            return False
        if self.show_child_types:
            return any(node.IsA(node_type) for node_type in self.node_types)
        return node.GetClassName() in self.node_types

    def _accepts(self, node: slicer.vtkMRMLNode) -> bool:
        if node.GetHideFromEditors() and not self.show_hidden:
            return False
        for (node_type, name), wanted in self.attributes.items():
            value = node.GetAttribute(name) if node.IsA(node_type) else None
            if node.IsA(node_type) and (value is None or (wanted is not None and value != str(wanted))):
                return False
        return True

    def _watch(self, nodes: list[slicer.vtkMRMLNode]) -> None:
        ids = {node.GetID() for node in self._of_types()}
        self._unwatch(set(self._node_tags) - ids)
        for node in self._of_types():
            if node.GetID() not in self._node_tags:
                tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, _weak(self._on_event))
                self._node_tags[node.GetID()] = (node, tag)

    def _unwatch(self, ids: set[str]) -> None:
        for node_id in ids:
            node, tag = self._node_tags.pop(node_id)
            node.RemoveObserver(tag)

    def _on_event(self, _caller: object, _event: str) -> None:
        # While a scene is read, Slicer's selectors do not see its nodes; they look at the end of it.
        if self.scene is None or not self.scene.IsImporting():
            self._notify()

    def _on_leaving(self, _caller: object, _event: str, node: object) -> None:
        self._leaving = node.GetID() if node is not None else None
        try:
            self._notify()
        finally:
            self._leaving = None

    def _notify(self) -> None:
        changed = self._changed()
        if changed is not None:
            changed()


def _weak(method: Callable[..., None]) -> Callable[..., None]:
    reference = weakref.WeakMethod(method)

    def call(*args: object) -> None:
        target = reference()
        if target is not None:
            target(*args)

    return call
