"""A chart in Slicer's plot view, and the way back to how the layout was before."""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util


class PlotLayout:
    """Switches to a layout with a plot view; whoever goes to another one meanwhile stays there."""

    def __init__(self) -> None:
        self._before: int | None = None
        self._shown: int | None = None
        self.forget()

    def show(self, chart: slicer.vtkMRMLPlotChartNode) -> None:
        """Show a chart; without views nothing happens."""
        layout = _layout_node()
        if layout is not None and (self._before is None or layout.GetViewArrangement() != self._shown):
            self._before = layout.GetViewArrangement()
        if self._charts is None:
            views = slicer.util.getNodesByClass("vtkMRMLPlotViewNode")
            self._charts = {view.GetID(): view.GetPlotChartNodeID() for view in views}
        if getattr(slicer, "app", None) is None or slicer.app.layoutManager() is None:
            return
        slicer.modules.plots.logic().ShowChartInLayout(chart)
        self._shown = layout.GetViewArrangement() if layout is not None else None

    def restore(self) -> None:
        """Go back to the former layout, unless the user has chosen another one, and to the former charts."""
        layout = _layout_node()
        if layout is not None and self._before is not None and layout.GetViewArrangement() == self._shown:
            layout.SetViewArrangement(self._before)
        for name, chart in (self._charts or {}).items():
            view = slicer.mrmlScene.GetNodeByID(name)
            if view is not None and (chart is None or slicer.mrmlScene.GetNodeByID(chart) is not None):
                view.SetPlotChartNodeID(chart)
        self._before = self._shown = None
        self.forget()

    def forget(self) -> None:
        """Leave the layout as it is: charts are gone with the scene. What is shown next there, can still go back."""
        self._charts: dict[str, str | None] | None = None


def add_passing(kind: str, name: str) -> Any:
    """Add a node that is neither offered to the user nor saved, and return it."""
    node = slicer.mrmlScene.CreateNodeByClass(kind)
    node.UnRegister(None)
    node.SetName(name)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    return slicer.mrmlScene.AddNode(node)


def _layout_node() -> slicer.vtkMRMLNode | None:
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
