"""What a detector has found: a locked ROI per box, in a folder of its own, and a table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util

from meddl_slicer import colors, nodes, provenance, study, table
from meddl_slicer.maps import references
from meddl_slicer.scene_guard import remove

#: Node references from the table to the ROIs, in the order of its rows.
BOX_ROLE = provenance.PREFIX + "boxes"

_LABEL = provenance.PREFIX + "Label"
_COLUMNS = (
    table.Column("Finding", str, "What the box holds"),
    table.Column("Score", float, "How sure the model is, 0 to 1; not a probability unless the model says so"),
    table.Column("R [mm]", float, "Center of the box, to the right", "mm"),
    table.Column("A [mm]", float, "Center of the box, to the front", "mm"),
    table.Column("S [mm]", float, "Center of the box, upwards", "mm"),
    table.Column("Size [mm]", str, "Lengths of the edges of the box"),
    table.Column("Model", str, "Model and version that found it"),
)


def apply_detection(
    prediction: Mapping[str, Any],
    input_node: slicer.vtkMRMLVolumeNode,
    table_node: slicer.vtkMRMLTableNode | None = None,
) -> slicer.vtkMRMLTableNode:
    """Show the boxes of ``prediction`` as markups ROIs and list them in a table, best first.

    The ROIs lie along the boxes' axes, are colored by label, named by label and score, and locked. Those of a former
    run in ``table_node`` are used again, label by label, with how they are shown; what is left of them is removed.

    Args:
        prediction: ``{"boxes": [{"label", "score", "center", "size", "axes"}, ...], "provenance": {...}}``, centers in
            world RAS mm.
        table_node: the node to overwrite; a new one when ``None``.
    """
    boxes = sorted(prediction["boxes"], key=lambda box: -float(box["score"]))
    facts = prediction["provenance"]
    model = provenance.model_title(facts)
    rows = [(box["label"], float(box["score"]), *box["center"], _size_text(box["size"]), model) for box in boxes]
    sentence = _sentence(boxes)
    table_node = table.write_table(_COLUMNS, rows, facts, input_node, "findings", table_node, sentence)
    former = references(table_node, BOX_ROLE)
    folder = _folder(former, input_node)
    labels = sorted({str(box["label"]) for box in boxes} | {node.GetAttribute(_LABEL) or "" for node in former})
    table_node.RemoveNodeReferenceIDs(BOX_ROLE)
    for box in boxes:
        label = str(box["label"])
        node = next((one for one in former if one.GetAttribute(_LABEL) == label), None)
        if node is not None:
            former.remove(node)
        else:
            node = _new_roi(label, colors.label_color(labels.index(label)))
        _place(node, box, input_node)
        node.SetName(f"{label} {float(box['score']):.2f}")
        node.SetDescription(f"{label}, score {float(box['score']):.3f}, found by {model}")
        node.SetAttribute(provenance.PREFIX + "Score", f"{float(box['score']):.6g}")
        provenance.write(node, facts)
        study.place_in(node, folder)
        table_node.AddNodeReferenceID(BOX_ROLE, node.GetID())
    for node in former:
        remove(node)
    if not boxes:
        study.remove_empty(folder)
    return table_node


def _new_roi(label: str, color: Sequence[float]) -> slicer.vtkMRMLMarkupsROINode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", label)
    node.SetAttribute(_LABEL, label)
    node.SetROIType(slicer.vtkMRMLMarkupsROINode.ROITypeBox)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSelectedColor(*color)
    display.SetColor(*color)
    display.SetActiveColor(*color)
    display.SetFillOpacity(0.06)
    display.SetPropertiesLabelVisibility(True)
    display.SetHandlesInteractive(False)
    display.SetGlyphScale(0.5)
    node.SetLocked(True)
    return node


def _place(node: slicer.vtkMRMLMarkupsROINode, box: Mapping[str, Any], input_node: slicer.vtkMRMLVolumeNode) -> None:
    """Put the ROI where the box is, under the input's parent transform where that keeps lengths and right angles."""
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = np.asarray(box["axes"], dtype=float), np.asarray(box["center"], dtype=float)
    parent = nodes.parent_to_world(input_node)
    rigid = np.allclose(parent[:3, :3] @ parent[:3, :3].T, np.eye(3), atol=1e-6)
    node.SetAndObserveTransformNodeID(input_node.GetTransformNodeID() if rigid else None)
    matrix = np.linalg.inv(parent) @ world if rigid else world
    if np.linalg.det(matrix[:3, :3]) < 0:  # an ROI is right-handed; a box is the same from either side
        matrix[:3, 2] *= -1
    with slicer.util.NodeModify(node):
        node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
        node.SetSize(*(float(length) for length in box["size"]))


def _folder(former: Sequence[slicer.vtkMRMLNode], input_node: slicer.vtkMRMLVolumeNode) -> int:
    """Return the subject hierarchy folder that the ROIs go into: that of the former ones, else a new one."""
    for node in former:
        folder = study.folder_of(node)
        if folder:
            return folder
    return study.new_folder(f"{input_node.GetName()} findings", input_node)


def _size_text(size: Sequence[float]) -> str:
    return " x ".join(f"{float(length):.0f}" if length >= 20 else f"{float(length):.1f}" for length in size)


def _sentence(boxes: Sequence[Mapping[str, Any]]) -> str:
    if not boxes:
        return "The model found nothing in this image."
    counts: dict[str, int] = {}
    for box in boxes:
        counts[str(box["label"])] = counts.get(str(box["label"]), 0) + 1
    listed = ", ".join(f"{count} x {label}" for label, count in counts.items())
    return f"Found: {listed}. The best score is {float(boxes[0]['score']):.2f}."
