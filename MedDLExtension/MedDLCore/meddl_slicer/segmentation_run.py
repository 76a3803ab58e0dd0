"""One run of a segmentation model: from nodes to a job's parameters, and from its result back to nodes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer
from meddl.errors import VolumeError

from meddl_slicer import nodes, segmentation, table

#: Node reference from a segmentation to the table with its volumes.
TABLE_ROLE = "MedDL.volumes"


class SegmentationRun:
    """What a job needs to know to segment a volume, and where its result goes.

    Attributes:
        task, params: to be given to :meth:`meddl.jobs.JobRunner.submit`.
        inputVolume, outputSegmentation: the nodes; the second is set by :meth:`apply` if a new one is made.
        tableNode: set by :meth:`apply`.

    Example::

        run = SegmentationRun(volumeNode, "brain_extraction")
        node = run.apply(runner.submit(run.task, run.params).wait())
    """

    task = "meddl.inference.task:run_inference"

    def __init__(
        self,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        model: str | Path,
        outputSegmentation: slicer.vtkMRMLSegmentationNode | None = None,
        device: str = "auto",
    ) -> None:
        self.inputVolume = inputVolume
        self.model = str(model)
        self.outputSegmentation = outputSegmentation
        self.tableNode: slicer.vtkMRMLTableNode | None = None
        # A view of the node's voxels: the runner copies them when the job's turn comes.
        self.params = {"model": self.model, "volume": nodes.volume_from_node(inputVolume), "device": device}

    def apply(self, result: Mapping[str, Any]) -> slicer.vtkMRMLSegmentationNode:
        """Bring the job's result into the scene and return its segmentation node.

        Raises:
            VolumeError: the input was removed or changed its size in the meantime; nothing in the scene has changed.
        """
        if self.inputVolume.GetScene() is None:
            raise VolumeError(
                f'"{self.inputVolume.GetName()}" was removed from the scene while the model was running, so the result '
                "was discarded."
            )
        output = self.outputSegmentation
        if output is not None and output.GetScene() is None:  # the user deleted it: make a new one
            output = None
        former_table = output.GetNodeReference(TABLE_ROLE) if output is not None else None
        self.outputSegmentation = segmentation.apply_segmentation(result, self.inputVolume, output)
        self.tableNode = table.volumes_table(result, self.inputVolume, former_table)
        self.outputSegmentation.SetNodeReferenceID(TABLE_ROLE, self.tableNode.GetID())
        return self.outputSegmentation


def resultRows(node: slicer.vtkMRMLSegmentationNode | None) -> tuple[list[tuple[str, float]], str]:
    """Return name and volume in ml of each structure a run has written, and the model that found them.

    Both are empty for a segmentation that no run has written.
    """
    measured = node.GetNodeReference(TABLE_ROLE) if node is not None else None
    content = measured.GetTable() if measured is not None else None
    if content is None:
        return [], ""
    count = content.GetNumberOfRows()
    rows = [(content.GetValue(row, 0).ToString(), content.GetValue(row, 1).ToDouble()) for row in range(count)]
    return rows, content.GetValue(0, 3).ToString() if count else ""
