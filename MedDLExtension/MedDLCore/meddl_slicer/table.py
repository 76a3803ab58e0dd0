"""Numbers of a result as a table node that stays with the study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import slicer
import vtk

from meddl_slicer import provenance, study

#: Attribute of a table node: what the numbers say, in words.
SENTENCE = provenance.PREFIX + "Sentence"
#: Node reference from a result's main node to the table of its numbers.
TABLE_ROLE = provenance.PREFIX + "table"
#: Node reference from a table to the volume that was looked at.
INPUT_ROLE = provenance.PREFIX + "input"

_ARRAYS = {str: vtk.vtkStringArray, float: vtk.vtkDoubleArray, int: vtk.vtkLongLongArray}


@dataclass(frozen=True)
class Column:
    """One column: its heading, the type of its values, what it means and their unit."""

    heading: str
    kind: type
    description: str = ""
    unit: str = ""


def write_table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Any]],
    facts: Mapping[str, Any],
    input_node: slicer.vtkMRMLNode,
    name: str,
    table_node: slicer.vtkMRMLTableNode | None = None,
    sentence: str = "",
) -> slicer.vtkMRMLTableNode:
    """Write ``rows`` to a locked table node beside ``input_node``, signed with ``facts`` (the provenance).

    Args:
        name: of a new node; one that exists keeps its own.
        table_node: the node to overwrite; a new one when ``None``.
        sentence: what the numbers say, in words; kept with the table.
    """
    if table_node is None:
        table_node = slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLTableNode", slicer.mrmlScene.GenerateUniqueName(f"{input_node.GetName()} {name}")
        )
    table = vtk.vtkTable()
    arrays = []
    for column in columns:
        array = _ARRAYS[column.kind]()
        array.SetName(column.heading)
        table.AddColumn(array)
        arrays.append(array)
    for row in rows:
        for array, column, value in zip(arrays, columns, row, strict=True):
            array.InsertNextValue(column.kind(value))
    table.Modified()
    table_node.SetAndObserveTable(table)
    for column in columns:
        table_node.SetColumnDescription(column.heading, column.description)
        if column.unit:
            table_node.SetColumnUnitLabel(column.heading, column.unit)
    table_node.SetUseColumnTitleAsColumnHeader(True)
    table_node.SetLocked(True)
    table_node.SetAttribute(SENTENCE, sentence or None)
    table_node.SetNodeReferenceID(INPUT_ROLE, input_node.GetID())
    provenance.write(table_node, facts)
    study.place_beside(table_node, input_node)
    return table_node


def volumes_table(
    prediction: Mapping[str, Any],
    input_node: slicer.vtkMRMLVolumeNode,
    table_node: slicer.vtkMRMLTableNode | None = None,
) -> slicer.vtkMRMLTableNode:
    """Write structure, volume in ml, voxel count and model of ``prediction`` to a table node in the input's study.

    With an uncertainty, each structure also gets the least and the greatest volume that was found, and the table the
    sentence about it.

    Args:
        prediction: as for :func:`meddl_slicer.segmentation.apply_segmentation`, with ``"volumes_ml"`` and ``"voxels"``.
        input_node: the volume that was segmented; names the table and gives its folder.
        table_node: the node to overwrite; a new one when ``None``.
    """
    model = provenance.model_title(prediction["provenance"])
    uncertainty = prediction.get("uncertainty") or {}
    intervals = uncertainty.get("intervals", {})
    columns = [
        Column("Structure", str, "Name of the segment"),
        Column("Volume [ml]", float, "Voxels of the segment times the volume of one voxel", "ml"),
        Column("Voxels", int, "Number of voxels of the segment"),
        Column("Model", str, "Model and version that found the structure"),
    ]
    if intervals:
        columns[2:2] = [
            Column("From [ml]", float, "The least volume that one of the passes found", "ml"),
            Column("To [ml]", float, "The greatest volume that one of the passes found", "ml"),
        ]
    rows = []
    for name, milliliters, voxels in measured(prediction):
        between = intervals.get(name, (milliliters, milliliters)) if intervals else ()
        rows.append((name, milliliters, *between, voxels, model))
    sentence = uncertainty.get("sentence", "")
    return write_table(columns, rows, prediction["provenance"], input_node, "volumes", table_node, sentence)


def measured(prediction: Mapping[str, Any]) -> list[tuple[str, float, int]]:
    """Return name, volume in ml and number of voxels of each structure, in the model's order."""
    names = [str(segment["name"]) for segment in prediction["segments"]]
    return [(name, float(prediction["volumes_ml"][name]), int(prediction["voxels"][name])) for name in names]


def values(node: slicer.vtkMRMLTableNode) -> tuple[list[str], list[list[Any]]]:
    """Return headings and rows of a table node; numbers as ``float`` or ``int``, all else as text."""
    content = node.GetTable()
    if content is None:
        return [], []
    columns = [content.GetColumn(index) for index in range(content.GetNumberOfColumns())]
    count = content.GetNumberOfRows()
    return [column.GetName() or "" for column in columns], [[c.GetValue(row) for c in columns] for row in range(count)]
