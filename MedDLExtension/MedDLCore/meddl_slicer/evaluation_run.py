"""A segmentation compared with a reference, structure by structure, as a table beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from meddl.errors import VolumeError

from meddl_slicer import nodes, provenance, table
from meddl_slicer.evaluation_task import EVALUATE
from meddl_slicer.scene_guard import alive, all_or_nothing

#: Node reference from a result's main node to the table that compares it with a reference.
EVALUATION_ROLE = provenance.PREFIX + "evaluation"


_COLUMNS = (
    ("name", table.Column("Structure", str, "Name of the segment")),
    ("dice", table.Column("Dice", float, "Twice the shared voxels over the sum of both: 0 to 1")),
    ("hd95_mm", table.Column("HD95 [mm]", float, "95 % of the surfaces are nearer to each other than this", "mm")),
    ("nsd", table.Column("NSD", float, "Part of both surfaces that is nearer than the tolerance: 0 to 1")),
    ("difference_ml", table.Column("Difference [ml]", float, "Volume of the result minus that of the reference", "ml")),
    ("difference_percent", table.Column("Difference [%]", float, "The same, in parts of the reference's volume", "%")),
    ("note", table.Column("Note", str, "What to know about this row")),
)


class EvaluationRun:
    """Compares the segmentation of a run with one that is taken for right.

    Attributes:
        task, params: to be given to :meth:`meddl.jobs.JobRunner.submit`.

    Args:
        result: what the inference job answered.
        output: the segmentation node it was brought to; the table belongs to it.
        reference: segments are matched by name.
        input_node: the volume that was segmented.

    Raises:
        VolumeError: the reference has no segments, or lies under a nonlinear transform.
    """

    task = EVALUATE

    def __init__(
        self,
        result: Mapping[str, Any],
        output: slicer.vtkMRMLSegmentationNode,
        reference: slicer.vtkMRMLSegmentationNode,
        input_node: slicer.vtkMRMLVolumeNode,
    ) -> None:
        self.output, self._input, self._facts = output, input_node, dict(result["provenance"])
        self._reference_name = reference.GetName()
        labels, segments = labels_of(reference, input_node)
        self.params = {
            "prediction": result["labels"],
            "segments": [dict(segment) for segment in result["segments"]],
            "reference": labels,
            "reference_segments": segments,
        }

    def apply(self, result: Mapping[str, Any]) -> slicer.vtkMRMLTableNode | None:
        """Write the figures to a table; returns None when the segmentation is gone."""
        if alive(self.output) is None:
            return None
        rows = [[_cell(row.get(key), column.kind) for key, column in _COLUMNS] for row in result["structures"]]
        notes = " ".join(str(note) for note in result.get("notes", ()))
        said = f'Compared with "{self._reference_name}"; NSD at {float(result["tolerance_mm"]):g} mm. {notes}'.strip()
        facts = {**self._facts, "reference": self._reference_name}
        with all_or_nothing():
            former = self.output.GetNodeReference(EVALUATION_ROLE)
            node = table.write_table(
                [column for _key, column in _COLUMNS], rows, facts, self._input, "agreement", former, said
            )
            self.output.SetNodeReferenceID(EVALUATION_ROLE, node.GetID())
        return node


def labels_of(
    node: slicer.vtkMRMLSegmentationNode, input_node: slicer.vtkMRMLVolumeNode
) -> tuple[Any, list[dict[str, Any]]]:
    """Return a segmentation node as label maps, one channel per layer, and what its labels mean.

    The maps are on the segmentation's own grid where all layers share one, else on that of ``input_node``.

    Raises:
        VolumeError: it has no segments, or lies under a nonlinear transform.
    """
    from meddl.volume import Volume

    segmentation = node.GetSegmentation()
    if not segmentation.GetNumberOfSegments():
        raise VolumeError(f'The reference "{node.GetName()}" has no segments.')
    if not segmentation.ContainsRepresentation("Binary labelmap"):
        raise VolumeError(
            f'The reference "{node.GetName()}" has no voxels to compare with. Create its binary labelmap '
            "(module Segmentations, Representations)."
        )
    parent = nodes.parent_to_world(node)
    layers = [segmentation.GetLayerDataObject(index, "Binary labelmap") for index in range(_layer_count(segmentation))]
    places = [parent @ _affine(layer) for layer in layers]
    same = all(np.allclose(place, places[0], atol=1e-5) for place in places)
    if same and len({layer.GetDimensions() for layer in layers}) == 1:
        arrays = [_array(layer) for layer in layers]
        segments = [
            _described(segmentation.GetSegment(identifier), segmentation.GetSegment(identifier).GetLabelValue(), index)
            for index in range(len(layers))
            for identifier in segmentation.GetSegmentIDsForLayer(index, "Binary labelmap")
        ]
        return Volume(np.stack(arrays), places[0], name=node.GetName()), segments
    arrays, segments = [], []
    for identifier in segmentation.GetSegmentIDs():
        array = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, input_node).transpose(2, 1, 0)
        segments.append(_described(segmentation.GetSegment(identifier), 1, len(arrays)))
        arrays.append((array > 0).astype(np.uint8))
    return Volume(np.stack(arrays), nodes.affine_to_world(input_node), name=node.GetName()), segments


def _layer_count(segmentation: vtk.vtkObject) -> int:
    return int(segmentation.GetNumberOfLayers("Binary labelmap"))


def _affine(image: vtk.vtkObject) -> np.ndarray:
    """Return the matrix from voxel index, counted from the image's first voxel, to its node's frame."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    affine = slicer.util.arrayFromVTKMatrix(matrix)
    affine[:3, 3] += affine[:3, :3] @ image.GetExtent()[::2]
    return affine


def _array(image: vtk.vtkObject) -> np.ndarray:
    from vtk.util.numpy_support import vtk_to_numpy

    flat = vtk_to_numpy(image.GetPointData().GetScalars())
    return flat.reshape(image.GetDimensions()[::-1]).transpose(2, 1, 0)


def _described(segment: vtk.vtkObject, label: int, layer: int) -> dict[str, Any]:
    return {
        "label": int(label),
        "name": segment.GetName(),
        "color": tuple(segment.GetColor()),
        "terminology": "",
        "layer": layer,
    }


def _cell(value: Any, kind: type) -> Any:
    return (float("nan") if kind is float else "") if value is None else kind(value)
