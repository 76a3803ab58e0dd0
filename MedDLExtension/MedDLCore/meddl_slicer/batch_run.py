"""Many images at once: the batch job's parameters, and its summary as a table node."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk

from meddl_slicer.i18n import tr as _

RUN_BATCH = "meddl.batch.task:run_batch"
_NAME = "Batch summary"


@dataclass(frozen=True, eq=False)
class BatchSummary:
    """What came of a batch: one sentence, a line per case that failed, and the table of all."""

    sentence: str
    errors: tuple[str, ...]
    table: slicer.vtkMRMLTableNode | None


def job(
    cases: Path, models: Sequence[str], output: Path, options: Mapping[str, Any], ensemble: bool = False
) -> tuple[str, dict[str, Any]]:
    """Return task and params of the job that runs ``models`` on all images in the list or folder ``cases``.

    With ``ensemble``, the answers of all models are averaged to one result for each image.
    """
    return RUN_BATCH, {
        "cases": str(cases),
        "models": [str(model) for model in models],
        "output": str(output),
        "options": dict(options),
        "ensemble": ensemble,
    }


def apply(result: Mapping[str, Any]) -> BatchSummary:
    """Show the summary of a batch that is over as a table node."""
    errors = tuple(f"{error['case']}: {error['message']}" for error in result["errors"])
    sentence = _("{done} done, {skipped} were done before, {failed} failed.").format(
        done=result["done"], skipped=result["skipped"], failed=result["failed"]
    )
    if result.get("stopped"):
        sentence = f"{sentence} {result['stopped']}"
    summary = Path(result["summary"])
    return BatchSummary(sentence, errors, read_summary(summary) if summary.is_file() else None)


def read_summary(path: Path) -> slicer.vtkMRMLTableNode:
    """Load a batch's CSV summary into the scene's table for it; each batch replaces the former one's."""
    with path.open(encoding="utf-8", newline="") as file:
        headings, *rows = [*csv.reader(file)] or [[]]
    node = slicer.mrmlScene.GetFirstNode(_NAME, "vtkMRMLTableNode")
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", _NAME)
    table = vtk.vtkTable()
    for index, heading in enumerate(headings):
        column = vtk.vtkStringArray()
        column.SetName(heading)
        for row in rows:
            column.InsertNextValue(row[index] if index < len(row) else "")
        table.AddColumn(column)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    return node
