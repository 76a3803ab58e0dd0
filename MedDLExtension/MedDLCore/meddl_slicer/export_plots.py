"""Plots of what looking at cases has told, in Slicer's plot view. They are gone with the panel: never saved."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import slicer
import slicer.util
import vtk

from meddl_slicer.colors import label_color
from meddl_slicer.i18n import tr as _
from meddl_slicer.plot_layout import PlotLayout, add_passing
from meddl_slicer.scene_guard import remove

if TYPE_CHECKING:
    from meddl.datasets.facts import CaseFacts

KINDS = ("spacing", "volumes", "intensity")
_MOST_STRUCTURES = 12
_NAME = "MedDL quality"
_ROOM_FOR_LEGEND = 1.4  # it is drawn over the points on the right
_MARKED = "case that stands out"
_RED = (0.78, 0.16, 0.16)


def title(kind: str) -> str:
    """Return how a kind of plot is called."""
    return {"spacing": _("Spacing"), "volumes": _("Volumes"), "intensity": _("Intensities")}[kind]


class QualityPlot:
    """One chart in the layout, and the way back to how the layout was before."""

    def __init__(self) -> None:
        self._nodes: list[slicer.vtkMRMLNode] = []
        self._layout = PlotLayout()

    def show(self, kind: str, facts: Sequence[CaseFacts]) -> slicer.vtkMRMLPlotChartNode:
        """Show a plot of a kind, see :data:`KINDS`."""
        self._remove()
        columns, series = _content(kind, facts)
        _mark_outliers(kind, facts, columns, series)
        table = self._add("vtkMRMLTableNode", _NAME)
        table.SetAndObserveTable(_table(columns))
        chart = self._add("vtkMRMLPlotChartNode", _NAME)
        for name, x, y, labels, color in series:
            one = self._add("vtkMRMLPlotSeriesNode", name)
            one.SetAndObserveTableNodeID(table.GetID())
            one.SetXColumnName(x)
            one.SetYColumnName(y)
            one.SetLabelColumnName(labels)
            one.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
            one.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleNone)
            isMarked = x == _MARKED
            diamond, circle = one.MarkerStyleDiamond, one.MarkerStyleCircle
            one.SetMarkerStyle(diamond if isMarked else circle)
            one.SetMarkerSize(13 if isMarked else 9)
            one.SetColor(*color)
            chart.AddAndObservePlotSeriesNodeID(one.GetID())
        chart.SetTitle(title(kind))
        chart.SetXAxisRangeAuto(False)
        chart.SetXAxisRange(0.5, 0.5 + _ROOM_FOR_LEGEND * max(len(facts), 1))
        chart.SetXAxisTitle(_("Case, in the order of the table"))
        chart.SetYAxisTitle({"spacing": "mm", "volumes": "ml", "intensity": _("Value")}[kind])
        chart.SetYAxisLogScale(kind == "volumes")
        self._layout.show(chart)
        return chart

    def hide(self) -> None:
        """Take the plot away, and go back to the former layout unless the user has chosen another one."""
        self._layout.restore()
        self._remove()

    def _add(self, kind: str, name: str) -> Any:
        self._nodes.append(add_passing(kind, name))
        return self._nodes[-1]

    def _remove(self) -> None:
        for node in reversed(self._nodes):
            remove(node)
        self._nodes = []


Series = tuple[str, str, str, str, tuple[float, float, float]]


def _content(kind: str, facts: Sequence[CaseFacts]) -> tuple[dict[str, list[Any]], list[Series]]:
    """Return columns by name, and the series: name, columns of x, y and labels, color."""
    if kind == "volumes":
        return _volumes(facts)
    rows = [(index, fact.id, channel) for index, fact in enumerate(facts, 1) for channel in fact.channels.values()]
    columns: dict[str, list[Any]] = {"case": [row[0] for row in rows], "label": [row[1] for row in rows]}
    if kind == "spacing":
        values = {_("first axis"): 0, _("second axis"): 1, _("third axis"): 2}
        columns |= {name: [float(row[2].spacing_mm[axis]) for row in rows] for name, axis in values.items()}
        names = list(values)
    else:
        fields = {_("1 %"): "p1", _("median"): "p50", _("99 %"): "p99"}
        columns |= {name: [float(getattr(row[2], field)) for row in rows] for name, field in fields.items()}
        names = list(fields)
    return columns, [(name, "case", name, "label", label_color(index)) for index, name in enumerate(names)]


def _volumes(facts: Sequence[CaseFacts]) -> tuple[dict[str, list[Any]], list[Series]]:
    found: dict[str, dict[int, float]] = {}
    names: dict[str, str] = {}
    for index, fact in enumerate(facts, 1):
        for each in fact.structures:
            if each.voxels:
                found.setdefault(each.key, {})[index] = each.volume_ml
                names.setdefault(each.key, each.name)
    most = sorted(found, key=lambda key: (-len(found[key]), names[key]))[:_MOST_STRUCTURES]
    columns: dict[str, list[Any]] = {}
    series: list[Series] = []
    for number, key in enumerate(most):  # columns of their own: not every case has every structure
        x, y, text = f"case {number}", f"ml {number}", f"label {number}"
        columns[x], columns[y] = [float(index) for index in found[key]], list(found[key].values())
        columns[text] = [f"{facts[index - 1].id}: {names[key]}" for index in found[key]]
        # Not the segments' own colors, which are often all alike.
        color = colorsys.hsv_to_rgb(number * 0.618034 % 1.0, 0.75, 0.8)
        series.append((names[key], x, y, text, color))
    return columns, series


def _mark_outliers(kind: str, facts: Sequence[CaseFacts], columns: dict[str, list[Any]], series: list[Series]) -> None:
    """Add a series of what stands out, drawn over the others."""
    from meddl.datasets.quality import outliers

    def fits(column: str, image: str) -> bool:
        if kind == "volumes":
            return not image
        return bool(image) and (column == "spacing (mm)") == (kind == "spacing")

    found = [one for one in outliers(facts) if fits(one.column, one.image)]
    if found:
        place = {fact.id: float(index) for index, fact in enumerate(facts, 1)}
        columns[_MARKED] = [place[one.case] for one in found]
        columns["value that stands out"] = [one.value for one in found]
        columns["what stands out"] = [f"{one.case}: {one.sentence}" for one in found]
        series.append((_("stands out"), _MARKED, "value that stands out", "what stands out", _RED))


def _table(columns: dict[str, list[Any]]) -> vtk.vtkTable:
    table = vtk.vtkTable()
    longest = max((len(values) for values in columns.values()), default=0)
    for name, values in columns.items():
        isText = any(isinstance(value, str) for value in values)
        array = vtk.vtkStringArray() if isText else vtk.vtkDoubleArray()
        array.SetName(name)
        # A table has columns of one length: the last point is drawn twice, at the same place.
        for value in [*values, *[values[-1]] * (longest - len(values))] if values else []:
            array.InsertNextValue(value if isText else float(value))
        table.AddColumn(array)
    return table
