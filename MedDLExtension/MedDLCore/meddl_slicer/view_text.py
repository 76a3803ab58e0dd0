"""A few lines of text in a corner of the slice views.

Slicer's own corner annotations (module DataProbe) rewrite all four corners at each change of a slice, so that a text
put there is gone at once. This one is an actor of its own, in the corner that they leave to the orientation marker and
the ruler, a bit above these. What is to be shown is kept as an attribute of the result's node: it is saved with the
scene and goes with the node.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from meddl_slicer import provenance

ATTRIBUTE = provenance.PREFIX + "ViewText"
_SIZE = 16  # points

# By the name of a slice view: the renderer and the actor in it.
_shown: dict[str, tuple[Any, vtk.vtkTextActor]] = {}


def write(node: slicer.vtkMRMLNode, text: str) -> None:
    """Keep ``text`` on ``node`` as what the views are to say of it."""
    node.SetAttribute(ATTRIBUTE, text or None)


def text_of(node: slicer.vtkMRMLNode | None) -> str:
    """Return what the views are to say of ``node``; "" for nothing."""
    return (node.GetAttribute(ATTRIBUTE) or "") if node is not None else ""


def show(text: str) -> int:
    """Show ``text`` in all slice views; "" takes it away. Returns the number of views, 0 without a main window."""
    manager = slicer.app.layoutManager() if hasattr(slicer, "app") else None
    if manager is None:
        return 0
    names = list(manager.sliceViewNames())
    for name in names:
        view = manager.sliceWidget(name).sliceView()
        renderer = view.renderWindow().GetRenderers().GetFirstRenderer()
        _show_in(name, renderer, text)
        view.scheduleRender()
    return len(names)


def make_actor(text: str) -> vtk.vtkTextActor:
    """Return the text as it is drawn: at the right edge, above the ruler, with a shadow."""
    actor = vtk.vtkTextActor()
    actor.SetInput(text)
    look = actor.GetTextProperty()
    look.SetFontSize(_SIZE)
    look.SetColor(1.0, 0.95, 0.6)
    look.SetBold(True)
    look.SetShadow(True)
    look.SetJustificationToRight()
    look.SetVerticalJustificationToBottom()
    actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
    actor.SetPosition(0.985, 0.10)
    actor.PickableOff()
    return actor


def _show_in(name: str, renderer: Any, text: str) -> None:
    known = _shown.pop(name, None)
    if known is not None:
        known[0].RemoveViewProp(known[1])
    if text:
        actor = make_actor(text)
        renderer.AddViewProp(actor)
        _shown[name] = (renderer, actor)
