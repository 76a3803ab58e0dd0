"""Observes one node for one widget, without keeping the widget alive."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import slicer

from .scene_nodes import _weak


class ObservedNode:
    """The node a widget shows; `update()` is called after each of the events."""

    def __init__(self, update: Callable[[], None], events: Sequence[int]) -> None:
        self.node: slicer.vtkMRMLNode | None = None
        self._update = _weak(update)
        self._events = tuple(events)
        self._tags: list[int] = []

    def observe(self, node: slicer.vtkMRMLNode | None) -> None:
        for tag in self._tags:
            self.node.RemoveObserver(tag)
        self.node = node
        update = self._update
        self._tags = [node.AddObserver(e, lambda *_: update()) for e in self._events] if node is not None else []
