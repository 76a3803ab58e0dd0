"""Anatomical points that a model has found, as one markups node with a name for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from meddl.inference.prediction import UNSURE_SCORE

from meddl_slicer import nodes, provenance, study, table

_COLUMNS = (
    table.Column("Landmark", str, "Name of the point"),
    table.Column("Score", float, "Height of the model's peak there, 0 to 1"),
    table.Column("R [mm]", float, "To the right", "mm"),
    table.Column("A [mm]", float, "To the front", "mm"),
    table.Column("S [mm]", float, "Upwards", "mm"),
    table.Column("Model", str, "Model and version that found it"),
)


def apply_landmarks(
    prediction: Mapping[str, Any],
    input_node: slicer.vtkMRMLVolumeNode,
    points_node: slicer.vtkMRMLMarkupsFiducialNode | None = None,
) -> slicer.vtkMRMLMarkupsFiducialNode:
    """Show the points of ``prediction`` as one locked markups node, and list them in a table.

    Args:
        prediction: ``{"points": [{"name", "position", "score"}, ...], "provenance": {...}}``, positions in world RAS
            mm.
        points_node: the node whose points are replaced; it keeps how it is shown. A new one when ``None``.
    """
    points, facts = prediction["points"], prediction["provenance"]
    if points_node is None:
        name = slicer.mrmlScene.GenerateUniqueName(f"{input_node.GetName()} landmarks")
        points_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
        points_node.CreateDefaultDisplayNodes()
    with slicer.util.NodeModify(points_node):
        points_node.SetAndObserveTransformNodeID(input_node.GetTransformNodeID())
        points_node.SetLocked(False)
        points_node.RemoveAllControlPoints()
        for point in points:
            index = points_node.AddControlPointWorld(vtk.vtkVector3d(*(float(value) for value in point["position"])))
            points_node.SetNthControlPointLabel(index, str(point["name"]))
            points_node.SetNthControlPointDescription(index, f"score {float(point['score']):.3f}")
        points_node.SetLocked(True)
        provenance.write(points_node, facts)
    study.place_beside(points_node, input_node)
    model = provenance.model_title(facts)
    rows = [(point["name"], float(point["score"]), *point["position"], model) for point in points]
    former = points_node.GetNodeReference(table.TABLE_ROLE)
    table_node = table.write_table(_COLUMNS, rows, facts, input_node, "landmarks table", former, _sentence(points))
    points_node.SetNodeReferenceID(table.TABLE_ROLE, table_node.GetID())
    return points_node


def detached(
    prediction: Mapping[str, Any], frame_node: slicer.vtkMRMLVolumeNode, like: slicer.vtkMRMLMarkupsFiducialNode
) -> slicer.vtkMRMLMarkupsFiducialNode:
    """Return the points of ``prediction`` as a node outside of the scene, for a sequence that ``like`` will show."""
    to_local = np.linalg.inv(nodes.parent_to_world(like))
    node = slicer.vtkMRMLMarkupsFiducialNode()
    node.SetName(like.GetName())
    for point in prediction["points"]:
        place = (to_local @ [*(float(value) for value in point["position"]), 1.0])[:3]
        index = node.AddControlPoint(vtk.vtkVector3d(*place))
        node.SetNthControlPointLabel(index, str(point["name"]))
        node.SetNthControlPointDescription(index, f"score {float(point['score']):.3f}")
    node.SetLocked(True)
    provenance.write(node, prediction["provenance"])
    return node


def _sentence(points: list[Mapping[str, Any]]) -> str:
    unsure = [str(point["name"]) for point in points if float(point["score"]) < UNSURE_SCORE]
    if not unsure:
        return f"{len(points)} landmarks found."
    return f"{len(points)} landmarks found. Look at these first, the model is unsure: {', '.join(unsure)}."
