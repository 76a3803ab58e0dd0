"""What nodes of a scene say that a case shows, as a core label: segments, boxes, points, or another image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import slicer.util
import vtk
from meddl.errors import VolumeError

from meddl_slicer import nodes, provenance
from meddl_slicer.i18n import tr as _

if TYPE_CHECKING:
    from meddl.datasets.case import BoxesLabel, Label, LandmarksLabel, SegmentationLabel
    from meddl.volume import Segment, Volume

BINARY = "Binary labelmap"
#: Which nodes can be the label of a task.
LABEL_CLASSES: dict[str, tuple[str, ...]] = {
    "segmentation": ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"),
    "detection": ("vtkMRMLMarkupsROINode",),
    "landmarks": ("vtkMRMLMarkupsFiducialNode",),
    "reconstruction": ("vtkMRMLScalarVolumeNode",),
    "classification": (),
}

_BOX_LABEL = provenance.PREFIX + "Label"
_SAME_PLACE_VOXELS = 1e-3
_MOST_BYTES = 1 << 29  # many layers of a large image are handed on as they are stored


def label_of(
    task: str, labels: Sequence[slicer.vtkMRMLNode], image: slicer.vtkMRMLVolumeNode
) -> tuple[Label, tuple[str, ...]]:
    """Return the label that nodes of the scene stand for, and what the user should know about it, in sentences.

    Args:
        task: "segmentation" (one node), "detection" and "landmarks" (any number), "reconstruction" (one).
        image: the first image of the case.

    Raises:
        VolumeError: the nodes hold nothing that can be exported; the message says what to do.
    """
    from meddl.datasets.case import TargetLabel

    if task == "detection":
        return boxes_of(labels), ()
    if task == "landmarks":
        return points_of(labels), ()
    if task == "reconstruction":
        return TargetLabel(nodes.volume_from_node(labels[0])), ()
    if labels[0].IsA("vtkMRMLLabelMapVolumeNode"):
        return label_map(labels[0]), ()
    return segmentation_label(labels[0], image)


def segmentation_label(
    node: slicer.vtkMRMLSegmentationNode, image: slicer.vtkMRMLVolumeNode, as_stored: bool = False
) -> tuple[SegmentationLabel, tuple[str, ...]]:
    """Return the segments of a node, one channel per layer, in world coordinates.

    The label maps stay voxel for voxel what they are wherever all layers lie on one lattice, whatever parts of it each
    fills. Layers on lattices of their own are brought to the image's by Slicer, and a note says so.

    Args:
        as_stored: only the part that is filled, of which nothing is copied where there is one layer.

    Raises:
        VolumeError: there are no segments or no voxels, or it lies under a nonlinear transform.
    """
    from meddl.datasets.case import SegmentationLabel

    segmentation = node.GetSegmentation()
    if not segmentation.GetNumberOfSegments():
        raise VolumeError(f'The segmentation "{node.GetName()}" has no segments. Draw some, or choose another label.')
    if not segmentation.ContainsRepresentation(BINARY):
        raise VolumeError(
            f'The segmentation "{node.GetName()}" has no voxels yet, only surfaces. Create its binary labelmap '
            "(module Segmentations, Representations)."
        )
    parent = nodes.parent_to_world(node)
    layers = [segmentation.GetLayerDataObject(index, BINARY) for index in range(_layer_count(segmentation))]
    merged = _on_one_lattice(layers)
    if merged is None:
        note = _(
            'The segments of "{name}" lie on different grids, so Slicer has brought them to the grid of the image.'
        ).format(name=node.GetName())
        volume, segments = _on_image(node, image)
        return SegmentationLabel(volume, segments), (note,)
    from meddl.volume import Volume

    array, affine = _on_grid_of(None if as_stored else image, merged[0], parent @ merged[1])
    return SegmentationLabel(Volume(array, affine, name=node.GetName() or ""), _segments(segmentation)), ()


def label_map(node: slicer.vtkMRMLLabelMapVolumeNode) -> SegmentationLabel:
    """Return a label map volume; its color table names the structures."""
    from meddl.datasets.case import SegmentationLabel
    from meddl.volume import Segment

    volume = nodes.volume_from_node(node)
    values = [int(value) for value in np.unique(volume.array) if value > 0]
    display = node.GetDisplayNode()
    table = display.GetColorNode() if display is not None else None
    segments = []
    for value in values:
        name, color = f"Label {value}", (0.9, 0.6, 0.2)
        if table is not None and value < table.GetNumberOfColors():
            name = table.GetColorName(value) or name
            entry = [0.0] * 4
            if table.GetColor(value, entry):
                color = tuple(entry[:3])
        segments.append(Segment(value, name, color))
    return SegmentationLabel(volume, tuple(segments))


def layers_of(node: slicer.vtkMRMLNode) -> list[tuple[Volume, tuple[Segment, ...]]]:
    """Return the label maps of a segmentation or label map as they are stored, each with what it means.

    Nothing is copied, whatever its size.

    Raises:
        VolumeError: it lies under a nonlinear transform.
    """
    from meddl.volume import Volume

    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        label = label_map(node)
        return [(label.source, label.segments)]
    segmentation, parent = node.GetSegmentation(), nodes.parent_to_world(node)
    if not segmentation.ContainsRepresentation(BINARY):
        return []
    found = []
    for index in range(_layer_count(segmentation)):
        image = segmentation.GetLayerDataObject(index, BINARY)
        if image.GetNumberOfPoints() == 0:
            continue
        affine = _image_to_node(image)
        affine[:3, 3] += affine[:3, :3] @ image.GetExtent()[::2]
        segments = [segmentation.GetSegment(key) for key in segmentation.GetSegmentIDsForLayer(index, BINARY)]
        described = tuple(_described(one, one.GetLabelValue(), 0) for one in segments)
        found.append((Volume(_array(image)[np.newaxis], parent @ affine), described))
    return found


def boxes_of(markups: Sequence[slicer.vtkMRMLMarkupsROINode]) -> BoxesLabel:
    """Return ROIs as boxes in world RAS mm, labeled by what MedDL wrote on them, else by their names without numbers.

    Raises:
        VolumeError: an ROI is bent by a nonlinear transform, or sheared so that it is no box any more.
    """
    from meddl.datasets.case import BoxesLabel
    from meddl.inference.prediction import Box

    boxes = []
    for node in markups:
        # Not its matrix to the world: the node makes the axes of that one upright, whatever the transform does.
        matrix = nodes.parent_to_world(node) @ slicer.util.arrayFromVTKMatrix(node.GetObjectToNodeMatrix())
        scale = np.linalg.norm(matrix[:3, :3], axis=0)
        axes = matrix[:3, :3] / scale
        if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
            raise VolumeError(
                f'The ROI "{node.GetName()}" is sheared by its transform, so that it is no box any more. '
                "Harden the transform or remove it."
            )
        size = scale * np.asarray(node.GetSize(), dtype=float)
        label = node.GetAttribute(_BOX_LABEL) or plain_name(node.GetName())
        boxes.append(Box(label, 1.0, matrix[:3, 3].copy(), size, axes))
    return BoxesLabel(tuple(boxes))


def points_of(markups: Sequence[slicer.vtkMRMLMarkupsFiducialNode]) -> LandmarksLabel:
    """Return placed control points with their names, in world RAS mm; points that wait to be placed are left out."""
    from meddl.datasets.case import LandmarksLabel
    from meddl.inference.prediction import Landmark

    points = []
    for node in markups:
        for index in range(node.GetNumberOfControlPoints()):
            if node.GetNthControlPointPositionStatus(index) != slicer.vtkMRMLMarkupsNode.PositionDefined:
                continue
            place = [0.0] * 3
            node.GetNthControlPointPositionWorld(index, place)
            points.append(Landmark(node.GetNthControlPointLabel(index), np.asarray(place), 1.0))
    return LandmarksLabel(tuple(points))


def plain_name(name: str | None) -> str:
    """Return a name without the number that Slicer or a user has put behind it: "Nodule_2" is a nodule."""
    return re.sub(r"[\s_-]*\(?\d*\)?$", "", name or "").strip() or (name or "")


def _on_one_lattice(layers: Sequence[Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return all layers as ``(L, I, J, K)`` over the box that holds them all, and the affine; None if they differ."""
    frames = [_image_to_node(layer) for layer in layers]
    first = frames[0]
    extents = []
    for layer, frame in zip(layers, frames, strict=True):
        between = np.linalg.inv(first) @ frame
        shift = np.round(between[:3, 3])
        if not np.allclose(between[:3, :3], np.eye(3), atol=1e-5):
            return None
        if not np.allclose(between[:3, 3], shift, atol=_SAME_PLACE_VOXELS):
            return None
        low, high = np.reshape(layer.GetExtent(), (3, 2)).T
        extents.append((low + shift.astype(int), high + shift.astype(int)))
    filled = [(low, high) for low, high in extents if np.all(high >= low)]
    if not filled:
        raise VolumeError("A segmentation has empty segments only. Draw some, or choose another label.")
    start = np.min([low for low, _high in filled], axis=0)
    size = np.max([high for _low, high in filled], axis=0) - start + 1
    affine = first.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    if len(layers) == 1:
        return _array(layers[0])[np.newaxis], affine
    array = np.zeros((len(layers), *size), np.result_type(*(_array(layer).dtype for layer in layers)))
    for index, (layer, (low, high)) in enumerate(zip(layers, extents, strict=True)):
        if np.all(high >= low):
            box = tuple(slice(a, b) for a, b in zip(low - start, high - start + 1, strict=True))
            array[(index, *box)] = _array(layer)
    return array, affine


def _on_grid_of(
    image: slicer.vtkMRMLVolumeNode | None, array: np.ndarray, affine: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return label maps on the very grid of the image, if they are a part of it: Slicer stores what is filled only."""
    if image is None:
        return array, affine
    grid, shape = nodes.affine_to_world(image), np.array(image.GetImageData().GetDimensions())
    between = np.linalg.inv(grid) @ affine
    low = np.round(between[:3, 3]).astype(int)
    high = low + array.shape[1:]
    fits = np.allclose(between[:3, :3], np.eye(3), atol=1e-5) and np.allclose(
        between[:3, 3], low, atol=_SAME_PLACE_VOXELS
    )
    size = len(array) * int(np.prod(shape)) * array.itemsize
    if not fits or np.any(low < 0) or np.any(high > shape) or size > _MOST_BYTES:
        return array, affine
    if tuple(array.shape[1:]) == tuple(shape):
        return array, grid
    whole = np.zeros((len(array), *shape), array.dtype)
    whole[(slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))] = array
    return whole, grid


def _on_image(
    node: slicer.vtkMRMLSegmentationNode, image: slicer.vtkMRMLVolumeNode
) -> tuple[Volume, tuple[Segment, ...]]:
    from meddl.volume import Volume

    segmentation = node.GetSegmentation()
    arrays, segments = [], []
    for identifier in segmentation.GetSegmentIDs():
        array = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, image).transpose(2, 1, 0)
        segments.append(_described(segmentation.GetSegment(identifier), 1, len(arrays)))
        arrays.append((array > 0).astype(np.uint8))
    return Volume(np.stack(arrays), nodes.affine_to_world(image), name=node.GetName() or ""), tuple(segments)


def _segments(segmentation: Any) -> tuple[Segment, ...]:
    """Return the segments in the order that the user sees them in: it settles which one lies on top."""
    layer_of = {
        identifier: index
        for index in range(_layer_count(segmentation))
        for identifier in segmentation.GetSegmentIDsForLayer(index, BINARY)
    }
    found = [(segmentation.GetSegment(identifier), identifier) for identifier in segmentation.GetSegmentIDs()]
    return tuple(_described(one, one.GetLabelValue(), layer_of[key]) for one, key in found if key in layer_of)


def _described(segment: Any, label: int, layer: int) -> Segment:
    from meddl.volume import Segment

    return Segment(
        int(label), segment.GetName() or "", tuple(segment.GetColor()), segment.GetTerminology() or "", layer
    )


def _layer_count(segmentation: Any) -> int:
    return int(segmentation.GetNumberOfLayers(BINARY))


def _image_to_node(image: Any) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)  # what it calls the world is the frame of the segmentation node
    return slicer.util.arrayFromVTKMatrix(matrix)


def _array(image: Any) -> np.ndarray:
    from vtk.util.numpy_support import vtk_to_numpy

    flat = vtk_to_numpy(image.GetPointData().GetScalars())
    return flat.reshape(image.GetDimensions()[::-1]).transpose(2, 1, 0)
