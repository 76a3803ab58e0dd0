"""What of a model's answer is to be explained: what a model offers, and a place of the scene as the core wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import slicer
import slicer.util
import vtk
from meddl.errors import VolumeError

from meddl_slicer import nodes
from meddl_slicer.evaluation_run import labels_of

if TYPE_CHECKING:
    from meddl.models import ModelBundle
    from meddl.volume import Volume

Place = Literal["found", "crosshair", "region"]

#: Kinds of answers that have a place in the image that can be chosen.
WITH_PLACE = ("structure", "box", "image")


def kind_of(task: str) -> str:
    """Return what there is to explain of a model for ``task``: "class", "structure", ...; "" for nothing."""
    from meddl.saliency.target import KINDS

    return KINDS.get(task, "")


def names_of(bundle: ModelBundle | None) -> tuple[str, ...]:
    """Return the names of the classes, structures, boxes or landmarks that a model may find; () where it tells none."""
    from meddl.models import class_names

    kind = kind_of(bundle.task) if bundle is not None else ""
    if kind == "structure":
        return tuple(dict.fromkeys(segment.name for segment in bundle.segments))
    names = class_names(bundle) if kind in ("class", "box", "landmark") else ()
    # A single score says yes or no.
    return (f"no {names[0]}", *names) if kind == "class" and len(names) == 1 else names


def target_of(
    kind: str,
    name: str,
    place: Place = "found",
    region: slicer.vtkMRMLNode | None = None,
    input_node: slicer.vtkMRMLVolumeNode | None = None,
) -> dict[str, Any]:
    """Return the target as :meth:`meddl.saliency.target.Target.to_dict` does.

    Args:
        kind: as of :func:`kind_of`.
        name: of what is explained; "" for what the model is surest of.
        place: all that the model has found, the voxel (for boxes: the nearest one) at the crosshair, or a region.
        region: a ROI, or a segmentation of which the segments that are shown count.
        input_node: the image, on whose grid the region is told.

    Raises:
        VolumeError: the region is empty, outside of the image, or under a nonlinear transform.
    """
    target: dict[str, Any] = {"kind": kind, "name": name, "position": None, "region": None}
    if kind not in WITH_PLACE or place == "found":
        return target
    if place == "crosshair":
        return {**target, "position": crosshair()}
    if region is None:
        raise VolumeError("No region is chosen. Choose a ROI or a segmentation.")
    if kind == "box":
        return {**target, "position": _center(region)}
    return {**target, "region": region_volume(region, input_node)}


def crosshair() -> tuple[float, float, float]:
    """Return the crosshair's place in the world (RAS mm); the origin where nobody has moved it yet."""
    node = crosshair_node()
    place = node.GetCrosshairRAS() if node is not None else (0.0, 0.0, 0.0)
    return float(place[0]), float(place[1]), float(place[2])


def crosshair_node() -> slicer.vtkMRMLCrosshairNode | None:
    """Return the scene's crosshair; there is none in a scene without views."""
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")


def inside(place: tuple[float, float, float], input_node: slicer.vtkMRMLVolumeNode) -> bool:
    """Tell whether a place in the world lies in an image."""
    index = np.linalg.inv(nodes.affine_to_world(input_node)) @ [*place, 1.0]
    size = np.array(input_node.GetImageData().GetDimensions())
    return bool(((index[:3] >= -0.5) & (index[:3] <= size - 0.5)).all())


def region_volume(region: slicer.vtkMRMLNode, input_node: slicer.vtkMRMLVolumeNode) -> Volume:
    """Return a region as a mask ``(1, I, J, K)``; of a box smaller than a voxel the one that it lies in.

    Raises:
        VolumeError: there is nothing in it.
    """
    if isinstance(region, slicer.vtkMRMLSegmentationNode):
        return mask_of(region, input_node)
    nodes.parent_to_world(region)  # a bent one is refused
    mask = _roi_mask(region, input_node)
    if not mask.any() and inside(_center(region), input_node):  # between the voxels' middles
        index = np.linalg.inv(nodes.affine_to_world(input_node)) @ [*_center(region), 1.0]
        mask[tuple(np.clip(np.rint(index[:3]).astype(int), 0, np.array(mask.shape) - 1))] = 1
    if not mask.any():
        raise VolumeError(f'The region "{region.GetName()}" lies outside of "{input_node.GetName()}".')
    from meddl.volume import Volume

    return Volume(mask[None], nodes.affine_to_world(input_node), name=region.GetName())


def mask_of(segmentation: slicer.vtkMRMLSegmentationNode, input_node: slicer.vtkMRMLVolumeNode) -> Volume:
    """Return where the segments of a segmentation are that are shown, as a mask ``(1, I, J, K)``.

    Raises:
        VolumeError: there is no such voxel.
    """
    labels, segments = labels_of(segmentation, input_node)
    shown = _shown(segmentation)
    mask = np.zeros(labels.shape, np.uint8)
    for segment in segments:
        if segment["name"] in shown:
            mask[labels.array[segment["layer"]] == segment["label"]] = 1
    if not mask.any():
        raise VolumeError(f'No voxel of "{segmentation.GetName()}" is in a segment that is shown.')
    return labels.with_array(mask[None])


def _shown(segmentation: slicer.vtkMRMLSegmentationNode) -> set[str]:
    display, content = segmentation.GetDisplayNode(), segmentation.GetSegmentation()
    return {
        content.GetSegment(identifier).GetName()
        for identifier in content.GetSegmentIDs()
        if display is None or display.GetSegmentVisibility(identifier)
    }


def _center(region: slicer.vtkMRMLNode) -> tuple[float, float, float]:
    bounds = [0.0] * 6
    region.GetRASBounds(bounds)
    return (bounds[0] + bounds[1]) / 2, (bounds[2] + bounds[3]) / 2, (bounds[4] + bounds[5]) / 2


def _roi_mask(roi: slicer.vtkMRMLMarkupsROINode, input_node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Return ``(I, J, K)``: 1 where a voxel's middle is in the box, which may lie askew."""
    size = input_node.GetImageData().GetDimensions()
    mask = np.zeros(size, np.uint8)
    place = vtk.vtkMatrix4x4()
    place.DeepCopy(roi.GetObjectToWorldMatrix())
    to_box = np.linalg.inv(slicer.util.arrayFromVTKMatrix(place)) @ nodes.affine_to_world(input_node)
    half = np.array(roi.GetSize()) / 2
    corners = np.array(np.meshgrid(*[(-1, 1)] * 3, indexing="ij")).reshape(3, -1) * half[:, None]
    found = (np.linalg.inv(to_box) @ np.vstack([corners, np.ones(8)]))[:3]
    low = np.clip(np.floor(found.min(axis=1)), 0, size).astype(int)
    high = np.clip(np.ceil(found.max(axis=1)) + 1, 0, size).astype(int)
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    steps = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    is_in = np.ones([len(each) for each in steps], bool)
    for axis in range(3):
        along = [to_box[axis, n] * steps[n] for n in range(3)]
        at = along[0][:, None, None] + along[1][None, :, None] + along[2][None, None, :] + to_box[axis, 3]
        is_in &= np.abs(at) <= half[axis]
    mask[part] = is_in
    return mask
