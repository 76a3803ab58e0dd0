"""What kind of image it is: a table of classes with their probabilities, and the best one as text in the views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer

from meddl_slicer import provenance, study, table, view_text
from meddl_slicer.maps import references
from meddl_slicer.scene_guard import remove

#: Node references from the table of classes to the weights of slices or frames, and to the plot of these.
EVIDENCE_ROLE = provenance.PREFIX + "evidence"
PLOT_ROLE = provenance.PREFIX + "plot"


def apply_classification(
    prediction: Mapping[str, Any],
    input_node: slicer.vtkMRMLVolumeNode,
    table_node: slicer.vtkMRMLTableNode | None = None,
) -> slicer.vtkMRMLTableNode:
    """List the classes of ``prediction`` in a table, most probable first, and say the best one in the slice views.

    Args:
        prediction: ``{"classes": [{"name", "probability", "code"}, ...], "exclusive", "calibrated", "evidence",
            "uncertainty", "provenance"}``.
        table_node: the node to overwrite; a new one when ``None``.
    """
    facts = prediction["provenance"]
    model = provenance.model_title(facts)
    classes = sorted(prediction["classes"], key=lambda one: -float(one["probability"]))
    intervals = (prediction.get("uncertainty") or {}).get("intervals", {})
    columns = [
        table.Column("Class", str, "What the image may show"),
        table.Column("Probability", float, "0 to 1, " + ("calibrated" if prediction.get("calibrated") else "raw")),
        table.Column("Model", str, "Model and version that looked at the image"),
    ]
    if intervals:
        columns[2:2] = [
            table.Column("From", float, "The least probability that one of the passes gave"),
            table.Column("To", float, "The greatest probability that one of the passes gave"),
        ]
    coded = any(one.get("code") for one in classes)
    if coded:
        columns.insert(-1, table.Column("Code", str, "Scheme, value and meaning, where the model gives one"))
    rows = []
    for one in classes:
        probability = float(one["probability"])
        between = intervals.get(one["name"], (probability, probability)) if intervals else ()
        code = (one.get("code", ""),) if coded else ()
        rows.append((one["name"], probability, *between, *code, model))
    sentence = _sentence(prediction, classes)
    table_node = table.write_table(columns, rows, facts, input_node, "classes", table_node, sentence)
    _apply_evidence(prediction, input_node, table_node)
    view_text.write(table_node, _corner_text(prediction, classes))
    return table_node


def _apply_evidence(
    prediction: Mapping[str, Any], input_node: slicer.vtkMRMLVolumeNode, owner: slicer.vtkMRMLTableNode
) -> None:
    """List and plot the weight of each slice or frame, or take away what a former run has left."""
    evidence = [float(weight) for weight in prediction.get("evidence") or ()]
    former = owner.GetNodeReference(EVIDENCE_ROLE)
    if not evidence:
        for node in [*references(owner, PLOT_ROLE), former]:
            remove(node)
        for role in (PLOT_ROLE, EVIDENCE_ROLE):
            owner.RemoveNodeReferenceIDs(role)
        return
    columns = (
        table.Column("Position", int, "Slice or time frame, from 0"),
        table.Column("Weight", float, "How much it counted for the answer; all weights add up to 1"),
    )
    facts = prediction["provenance"]
    node = table.write_table(columns, list(enumerate(evidence)), facts, input_node, "evidence", former)
    owner.SetNodeReferenceID(EVIDENCE_ROLE, node.GetID())
    if not references(owner, PLOT_ROLE):
        _add_plot(node, input_node, owner)


def _add_plot(evidence: slicer.vtkMRMLTableNode, input_node: slicer.vtkMRMLNode, owner: slicer.vtkMRMLNode) -> None:
    title = f"{input_node.GetName()} evidence"
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", slicer.mrmlScene.GenerateUniqueName(title))
    series.SetAndObserveTableNodeID(evidence.GetID())
    series.SetXColumnName("Position")
    series.SetYColumnName("Weight")
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetColor(0.0, 0.45, 0.70)
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", slicer.mrmlScene.GenerateUniqueName(title))
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle("What the answer rests on")
    chart.SetXAxisTitle("Slice or frame")
    chart.SetYAxisTitle("Weight")
    chart.SetLegendVisibility(False)
    for node in (chart, series):
        owner.AddNodeReferenceID(PLOT_ROLE, node.GetID())
        study.place_beside(node, input_node)


def _corner_text(prediction: Mapping[str, Any], classes: Sequence[Mapping[str, Any]]) -> str:
    """Return the best class, or the three best that are more likely than not where several may be true."""
    if prediction.get("exclusive", True):
        shown = classes[:1]
    else:
        shown = [one for one in classes if float(one["probability"]) >= 0.5][:3] or classes[:1]
    lines = [f"{one['name']}: {_percent(one['probability'])}" for one in shown]
    return "\n".join([*lines, f"{provenance.model_title(prediction['provenance'])}, for research"])


def _sentence(prediction: Mapping[str, Any], classes: Sequence[Mapping[str, Any]]) -> str:
    if not classes:
        return ""
    said = f"Most probable: {classes[0]['name']} ({_percent(classes[0]['probability'])})."
    if not prediction.get("calibrated"):
        said += " The model's scores are not calibrated: read them as an order, not as probabilities."
    uncertainty = prediction.get("uncertainty") or {}
    return " ".join(part for part in (said, uncertainty.get("sentence", "")) if part)


def _percent(probability: float) -> str:
    value = 100 * float(probability)
    return f"{value:.1f} %" if value > 99 or value < 1 else f"{value:.0f} %"
