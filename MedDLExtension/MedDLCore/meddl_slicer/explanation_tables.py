"""Where the evidence lies and how far to believe it, as tables beside a map, with the curves as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk

from meddl_slicer import maps, provenance, study, table
from meddl_slicer.colors import label_color
from meddl_slicer.scene_guard import remove

#: Node references from a map to the shares of structures, the measures, and the plot of their curves.
ANATOMY_ROLE = provenance.PREFIX + "anatomy"
MEASURES_ROLE = provenance.PREFIX + "measures"
CURVES_ROLE = provenance.PREFIX + "curves"
ROLES = (ANATOMY_ROLE, MEASURES_ROLE, CURVES_ROLE)

_PERCENT = 100.0
_OF_THE_SCORE = (
    "What becomes of the score",
    "Share of the voxels, those with most evidence first",
    "Share of the score",
)
_AXES = {
    "deletion": _OF_THE_SCORE,
    "insertion": _OF_THE_SCORE,
    "randomization": ("What becomes of the map", "Share of the layers with random weights", "Rank correlation"),
}
_OTHER_AXES = ("Measures", "Share", "Value")


def apply_tables(
    node: slicer.vtkMRMLScalarVolumeNode,
    input_node: slicer.vtkMRMLVolumeNode,
    attribution: Mapping[str, Any],
) -> None:
    """Write the tables and plots of a map, or take away those of a former run.

    Args:
        attribution: as :meth:`meddl.saliency.attribution.Attribution.to_dict` gives it.
    """
    facts = attribution["provenance"]
    shares, measures = attribution["anatomy"], attribution["measures"]
    _write(node, ANATOMY_ROLE, anatomy_columns(attribution["signed"]), anatomy_rows(shares, attribution["signed"]),
           input_node, facts, "evidence by structure", anatomy_sentence(attribution))  # fmt: skip
    _write(node, MEASURES_ROLE, measure_columns(), measure_rows(measures), input_node, facts, "how far to believe", "")
    for former in maps.references(node, CURVES_ROLE):
        remove(former)
    node.RemoveNodeReferenceIDs(CURVES_ROLE)
    curves = [each for each in measures if each["curve"]]
    for axes in dict.fromkeys(_AXES.get(each["name"], _OTHER_AXES) for each in curves):
        _plot(node, input_node, axes, [each for each in curves if _AXES.get(each["name"], _OTHER_AXES) == axes])


def anatomy_columns(signed: bool) -> list[table.Column]:
    """Return the columns of the shares of structures."""
    columns = [
        table.Column("Structure", str, "Name of the segment, or the rest of the image"),
        table.Column("For [%]", float, "Share of all evidence for the answer that lies in it", "%"),
        table.Column("Against [%]", float, "Share of all evidence against the answer that lies in it", "%"),
        table.Column("Density", float, "Evidence per volume against that of the whole image: 1 is chance"),
        table.Column("Volume [ml]", float, "Of the structure", "ml"),
    ]
    return columns if signed else [*columns[:2], *columns[3:]]


def anatomy_rows(shares: Sequence[Mapping[str, Any]], signed: bool) -> list[list[Any]]:
    """Return a row for each structure, as many cells as there are columns."""
    rows = []
    for each in shares:
        row = [each["name"], _PERCENT * each["positive"], _PERCENT * each["negative"], each["density"]]
        row.append(each["volume_ml"])
        rows.append(row if signed else [*row[:2], *row[3:]])
    return rows


def anatomy_sentence(attribution: Mapping[str, Any]) -> str:
    """Return where the evidence lies, in words; "" where nobody asked."""
    if not attribution["anatomy"]:
        return ""
    from meddl.saliency.anatomy import anatomy_sentence as sentence
    from meddl.saliency.attribution import AnatomyShare

    return sentence(tuple(AnatomyShare(**each) for each in attribution["anatomy"]))


def measure_columns() -> list[table.Column]:
    """Return the columns of the measures."""
    return [
        table.Column("Measure", str, "How it was looked at"),
        table.Column("Value", float, "As the measure defines it"),
        table.Column("Random map", float, "The same of a random map"),
        table.Column("Verdict", str, "Good, doubtful, bad, or nothing where the figure alone says little"),
        table.Column("In words", str, "What it means here"),
    ]


def measure_rows(measures: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return a row for each measure."""
    missing = float("nan")
    return [
        [
            each["name"].replace("_", " "),
            missing if each["value"] is None else each["value"],
            missing if each["random"] is None else each["random"],
            each["verdict"],
            each["sentence"],
        ]
        for each in measures
    ]


def chart_of(node: slicer.vtkMRMLNode) -> slicer.vtkMRMLPlotChartNode | None:
    """Return the first plot of the curves of a map's measures, or None; the views offer the others."""
    charts = [one for one in maps.references(node, CURVES_ROLE) if isinstance(one, slicer.vtkMRMLPlotChartNode)]
    return charts[0] if charts else None


def _write(
    owner: slicer.vtkMRMLNode,
    role: str,
    columns: Sequence[table.Column],
    rows: Sequence[Sequence[Any]],
    input_node: slicer.vtkMRMLVolumeNode,
    facts: Mapping[str, Any],
    name: str,
    sentence: str,
) -> None:
    former = owner.GetNodeReference(role)
    if not rows:
        remove(former)
        owner.RemoveNodeReferenceIDs(role)
        return
    written = table.write_table(columns, rows, facts, input_node, name, former, sentence)
    owner.SetNodeReferenceID(role, written.GetID())


def _plot(
    owner: slicer.vtkMRMLNode,
    input_node: slicer.vtkMRMLVolumeNode,
    axes: tuple[str, str, str],
    curves: Sequence[Mapping[str, Any]],
) -> None:
    """Plot curves that have the same axes.

    Args:
        axes: title, and what is along them.
    """
    title, across, up = axes
    chart = _add("vtkMRMLPlotChartNode", f"{owner.GetName()} {title.lower()}", owner, input_node)
    points = _add("vtkMRMLTableNode", f"{owner.GetName()} curves", owner, input_node)
    points.SetLocked(True)
    content = vtk.vtkTable()
    longest = max(len(each["curve"]) for each in curves)
    for number, each in enumerate(curves):
        x, y = f"share {number}", each["name"]
        # A table has columns of one length: the last point is drawn again, at the same place.
        drawn = [*each["curve"], *[each["curve"][-1]] * (longest - len(each["curve"]))]
        for heading, values in ((x, [point[0] for point in drawn]), (y, [point[1] for point in drawn])):
            array = vtk.vtkDoubleArray()
            array.SetName(heading)
            for value in values:
                array.InsertNextValue(float(value))
            content.AddColumn(array)
        series = _add("vtkMRMLPlotSeriesNode", each["name"].replace("_", " "), owner, input_node)
        series.SetAndObserveTableNodeID(points.GetID())
        series.SetXColumnName(x)
        series.SetYColumnName(y)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
        series.SetLineWidth(2)
        series.SetColor(*label_color(number))
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    points.SetAndObserveTable(content)
    chart.SetTitle(title)
    chart.SetXAxisTitle(across)
    chart.SetYAxisTitle(up)


def _add(kind: str, name: str, owner: slicer.vtkMRMLNode, input_node: slicer.vtkMRMLVolumeNode) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass(kind, slicer.mrmlScene.GenerateUniqueName(name))
    owner.AddNodeReferenceID(CURVES_ROLE, node.GetID())
    study.place_beside(node, input_node)
    return node
