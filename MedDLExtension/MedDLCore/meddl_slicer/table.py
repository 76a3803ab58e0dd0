"""The measured structures as a table node that stays with the study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import slicer
import vtk

from meddl_slicer import provenance, study

#: Heading, VTK column type and description of each column, in order.
_COLUMNS = (
    ("Structure", vtk.vtkStringArray, "Name of the segment"),
    ("Volume [ml]", vtk.vtkDoubleArray, "Voxels of the segment times the volume of one voxel"),
    ("Voxels", vtk.vtkLongLongArray, "Number of voxels of the segment"),
    ("Model", vtk.vtkStringArray, "Model and version that found the structure"),
)


def volumes_table(
    prediction: Mapping[str, Any],
    input_node: slicer.vtkMRMLVolumeNode,
    table_node: slicer.vtkMRMLTableNode | None = None,
) -> slicer.vtkMRMLTableNode:
    """Write structure, volume in ml, voxel count and model of ``prediction`` to a table node in the input's study.

    Args:
        prediction: as for :func:`meddl_slicer.segmentation.apply_segmentation`, with ``"volumes_ml"`` and ``"voxels"``.
        input_node: the volume that was segmented; names the table and gives its folder.
        table_node: the node to overwrite; a new one when ``None``.
    """
    if table_node is None:
        name = slicer.mrmlScene.GenerateUniqueName(f"{input_node.GetName()} volumes")
        table_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    model = provenance.model_title(prediction["provenance"])
    table = vtk.vtkTable()
    columns = []
    for heading, kind, _description in _COLUMNS:
        column = kind()
        column.SetName(heading)
        table.AddColumn(column)
        columns.append(column)
    for name, milliliters, voxels in measured(prediction):
        for column, value in zip(columns, (name, milliliters, voxels, model), strict=True):
            column.InsertNextValue(value)
    table.Modified()
    table_node.SetAndObserveTable(table)
    for heading, _kind, description in _COLUMNS:
        table_node.SetColumnDescription(heading, description)
    table_node.SetColumnUnitLabel("Volume [ml]", "ml")
    table_node.SetUseColumnTitleAsColumnHeader(True)
    table_node.SetLocked(True)
    provenance.write(table_node, prediction["provenance"])
    study.place_beside(table_node, input_node)
    return table_node


def measured(prediction: Mapping[str, Any]) -> list[tuple[str, float, int]]:
    """Return name, volume in ml and number of voxels of each structure, in the model's order."""
    names = [str(segment["name"]) for segment in prediction["segments"]]
    return [(name, float(prediction["volumes_ml"][name]), int(prediction["voxels"][name])) for name in names]
