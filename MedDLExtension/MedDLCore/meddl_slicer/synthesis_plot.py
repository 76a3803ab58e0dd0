"""How a training goes, live in Slicer's plot view. The plot is gone with the panel: never saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import slicer.util
import vtk

from meddl_slicer.colors import label_color
from meddl_slicer.i18n import tr as _
from meddl_slicer.plot_layout import PlotLayout, add_passing
from meddl_slicer.scene_guard import alive, remove
from meddl_slicer.synthesis_training import STEP

_NAME = "MedDL training"
_WIDTH = 2
_MARGIN = 0.05


class LossPlot:
    """One chart in the layout that grows, and the way back to how the layout was before.

    The layout is switched once, by :meth:`show`: whoever goes to another one meanwhile stays there.
    """

    def __init__(self) -> None:
        self._nodes: list[slicer.vtkMRMLNode] = []
        self._table: slicer.vtkMRMLTableNode | None = None
        self._chart: slicer.vtkMRMLPlotChartNode | None = None
        self._names: tuple[str, ...] = ()
        self._layout = PlotLayout()

    @property
    def isShown(self) -> bool:
        """Whether there is a chart: none before :meth:`show`, nor after the scene was closed."""
        return alive(self._chart) is not None

    def show(self, title: str, columns: Mapping[str, Sequence[float]]) -> slicer.vtkMRMLPlotChartNode:
        """Show losses by steps, in a layout with a plot view."""
        self._make(title, columns)
        self._layout.show(self._chart)
        return self._chart

    def update(self, title: str, columns: Mapping[str, Sequence[float]]) -> None:
        """Draw what has come, if the chart is there; the layout stays."""
        if not self.isShown:
            return
        if tuple(columns) != self._names:
            self._make(title, columns)
            return
        with slicer.util.NodeModify(self._chart):
            self._chart.SetTitle(title)
            self._fit(columns)
            self._table.SetAndObserveTable(_table(columns))

    def hide(self) -> None:
        """Take the plot away, and go back to the former layout unless the user has chosen another one."""
        self._layout.restore()
        self.forget()

    def forget(self) -> None:
        """Take the plot away, and leave the layout alone: the scene is being closed."""
        for node in reversed(self._nodes):
            remove(node)
        self._nodes, self._names, self._table, self._chart = [], (), None, None
        self._layout.forget()

    def _make(self, title: str, columns: Mapping[str, Sequence[float]]) -> None:
        """Fill table and chart; both stay the same nodes, so that views go on showing them."""
        if not self.isShown or alive(self._table) is None:
            self._nodes = []
            self._table = self._add("vtkMRMLTableNode", _NAME)
            self._chart = self._add("vtkMRMLPlotChartNode", _NAME)
            self._chart.SetXAxisTitle(_("Step"))
            self._chart.SetYAxisTitle(_("Loss"))
        self._table.SetAndObserveTable(_table(columns))
        self._names = tuple(columns)
        with slicer.util.NodeModify(self._chart):
            self._chart.SetTitle(title)
            self._fit(columns)
            self._chart.RemoveAllPlotSeriesNodeIDs()
            for node in self._nodes[2:]:
                remove(node)
            del self._nodes[2:]
            for index, name in enumerate(name for name in columns if name != STEP):
                one = self._add("vtkMRMLPlotSeriesNode", name)
                one.SetAndObserveTableNodeID(self._table.GetID())
                one.SetXColumnName(STEP)
                one.SetYColumnName(name)
                one.SetPlotType(one.PlotTypeScatter)
                one.SetMarkerStyle(one.MarkerStyleNone)
                one.SetLineWidth(_WIDTH)
                one.SetColor(*label_color(index))
                self._chart.AddAndObservePlotSeriesNodeID(one.GetID())

    def _fit(self, columns: Mapping[str, Sequence[float]]) -> None:
        """Have the axes reach over all points: a view that has found a range by itself keeps it."""
        steps = columns.get(STEP) or (1.0,)
        values = [value for name, each in columns.items() if name != STEP for value in each] or [0.0, 1.0]
        low, high = min(values), max(values)
        if low > 0 and low < (high - low):
            low = 0.0
        margin = _MARGIN * (high - low) or 0.5
        self._chart.SetXAxisRangeAuto(False)
        self._chart.SetYAxisRangeAuto(False)
        self._chart.SetXAxisRange(0.0, max(steps[-1], 1.0))
        self._chart.SetYAxisRange(low - (margin if low else 0.0), high + margin)

    def _add(self, kind: str, name: str) -> Any:
        self._nodes.append(add_passing(kind, name))
        return self._nodes[-1]


def _table(columns: Mapping[str, Sequence[float]]) -> vtk.vtkTable:
    table = vtk.vtkTable()
    # A line takes two points: the first one is drawn twice, and one that is alone from step 0 on, for it to be seen.
    for name, values in (columns if len(columns) > 1 else {STEP: (), "loss": ()}).items():
        array = vtk.vtkDoubleArray()
        array.SetName(name)
        first = (0.0,) if name == STEP and len(values) == 1 else values[:1] or (0.0,)
        for value in [*first, *(values or (0.0,))]:
            array.InsertNextValue(float(value))
        table.AddColumn(array)
    return table
