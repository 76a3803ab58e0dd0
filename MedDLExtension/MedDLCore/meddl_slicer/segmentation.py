"""A prediction as a segmentation node: on the input's grid, named, coded, colored, filed and signed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import slicer.util
import vtk
from meddl.errors import VolumeError

from meddl_slicer import nodes, provenance, study

if TYPE_CHECKING:
    from meddl.volume import Volume

#: Terminology of a structure whose model gives none: Slicer's own default, "tissue".
_TISSUE = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~"
    "Anatomic codes - DICOM master list~^^~^^"
)

#: How a segment is shown: names of the display node's properties, with Slicer's usual values.
_LOOKS: dict[str, Any] = {
    "Visibility": True,
    "Visibility3D": True,
    "Visibility2DFill": True,
    "Visibility2DOutline": True,
    "Opacity3D": 1.0,
    "Opacity2DFill": 1.0,
    "Opacity2DOutline": 1.0,
}


def apply_segmentation(
    prediction: Mapping[str, Any],
    input_node: slicer.vtkMRMLScalarVolumeNode,
    segmentation_node: slicer.vtkMRMLSegmentationNode | None = None,
) -> slicer.vtkMRMLSegmentationNode:
    """Show ``prediction`` in the scene as segments that overlay ``input_node`` voxel for voxel.

    In an existing segmentation, a structure of the same name keeps its identifier and how it is shown. The
    segmentation comes to lie under the input's parent transform and in its study folder, takes its grid as
    reference geometry, and carries names, colors, terminology and provenance. Segments of one layer share a labelmap.
    Surfaces that were shown are made anew as soon as the result is on the screen.

    Args:
        prediction: ``{"labels": Volume, "segments": [{"label", "name", "color", "terminology", "layer"}, ...],
            "provenance": {...}}`` as the inference task returns it; labels are ``(layers, I, J, K)`` on the input's
            grid. Their memory may be taken over: they must not be changed afterwards.
        input_node: the volume that was segmented.
        segmentation_node: the node to write into; its segments are replaced. A new node when ``None``.

    Raises:
        VolumeError: the labels do not fit the volume. Nothing in the scene has changed then, and an output node keeps
            its segments.
    """
    check_fit(prediction["labels"], input_node)
    _check_labels(prediction["labels"], prediction["segments"])
    segments = _segments(prediction["labels"], prediction["segments"], nodes.affine_to_parent(input_node))
    had_surface = False
    looks: dict[str, dict[str, Any]] = {}
    if segmentation_node is None:
        name = slicer.mrmlScene.GenerateUniqueName(_default_name(prediction, input_node))
        segmentation_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    else:
        had_surface = segmentation_node.GetSegmentation().ContainsRepresentation(_surface_name())
        looks = _looks(segmentation_node)
    with slicer.util.NodeModify(segmentation_node):
        segmentation_node.SetAndObserveTransformNodeID(input_node.GetTransformNodeID())
        segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(input_node)
        _replace_segments(segmentation_node, segments)
        segmentation_node.CreateDefaultDisplayNodes()
        provenance.write(segmentation_node, prediction["provenance"])
    if had_surface:
        _soon(lambda: _make_surfaces(segmentation_node))
    # Last: a slice view's controller hides segments that take the place of others while the events above are told.
    _restore_looks(segmentation_node, looks)
    study.place_beside(segmentation_node, input_node)
    return segmentation_node


def detached(
    prediction: Mapping[str, Any],
    frame_node: slicer.vtkMRMLScalarVolumeNode,
    like: slicer.vtkMRMLSegmentationNode,
) -> slicer.vtkMRMLSegmentationNode:
    """Return ``prediction`` as a segmentation node outside of the scene, for a sequence.

    Args:
        prediction: as for :func:`apply_segmentation`.
        frame_node: the frame that was segmented, as its sequence keeps it.
        like: the node that will show it; structures of the same name have the same identifiers.
    """
    check_fit(prediction["labels"], frame_node)
    _check_labels(prediction["labels"], prediction["segments"])
    segments = _segments(prediction["labels"], prediction["segments"], nodes.affine_to_parent(frame_node))
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(like.GetName())
    shown = like.GetSegmentation()
    identifiers = {shown.GetSegment(one).GetName(): one for one in shown.GetSegmentIDs()}
    named = [(identifiers.pop(segment.GetName(), ""), segment) for segment in segments]
    _set_segments(node.GetSegmentation(), named, _labelmap_name())
    if segments:
        converter = slicer.vtkSegmentationConverter
        geometry = converter.SerializeImageGeometry(segments[0].GetRepresentation(_labelmap_name()))
        node.GetSegmentation().SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), geometry)
    provenance.write(node, prediction["provenance"])
    return node


def show_in_3d(segmentation_node: slicer.vtkMRMLSegmentationNode, visible: bool = True) -> None:
    """Show the segments as surfaces in the 3D views, or take the surfaces away."""
    if visible:
        segmentation_node.CreateClosedSurfaceRepresentation()
        segmentation_node.CreateDefaultDisplayNodes()
        segmentation_node.GetDisplayNode().SetVisibility3D(True)
    else:
        segmentation_node.RemoveClosedSurfaceRepresentation()


def is_shown_in_3d(segmentation_node: slicer.vtkMRMLSegmentationNode | None) -> bool:
    """Whether the segments have surfaces for the 3D views."""
    return segmentation_node is not None and segmentation_node.GetSegmentation().ContainsRepresentation(_surface_name())


def _soon(call: Callable[[], None]) -> None:
    """Call from the event loop, so that what is ready can be drawn first; at once in a scene without application."""
    if getattr(slicer, "app", None) is None:
        call()
    else:
        import qt

        qt.QTimer.singleShot(0, call)


def _make_surfaces(segmentation_node: slicer.vtkMRMLSegmentationNode) -> None:
    if segmentation_node.GetScene() is not None:  # the user may have deleted it in the meantime
        segmentation_node.CreateClosedSurfaceRepresentation()


def check_fit(labels: Volume, input_node: slicer.vtkMRMLVolumeNode) -> None:
    """Refuse a result that does not lie on the grid of ``input_node``.

    Raises:
        VolumeError: the input was changed while the model was running.
    """
    image = input_node.GetImageData()
    shape = image.GetDimensions() if image is not None else (0, 0, 0)
    if tuple(labels.shape) != tuple(shape):
        raise VolumeError(
            f'The result has {_by(labels.shape)} voxels and "{input_node.GetName()}" has {_by(shape)}: the volume '
            "was changed while the model was running. Run the model again."
        )


def _check_labels(labels: Volume, described: Sequence[Mapping[str, Any]]) -> None:
    layers = max((int(segment.get("layer", 0)) for segment in described), default=0) + 1
    if layers > labels.channels:
        raise VolumeError(f"The result has {labels.channels} label maps where its structures lie in {layers}.")
    if labels.array.dtype.kind not in "ui":
        raise VolumeError(f"The result holds values of type {labels.array.dtype}; labels are whole numbers.")


def _segments(labels: Volume, described: Sequence[Mapping[str, Any]], affine: np.ndarray) -> list[vtk.vtkObject]:
    """Build all segments, those of one layer over one shared labelmap, without touching the scene."""
    layers: dict[int, vtk.vtkObject] = {}
    segments = []
    for description in described:
        layer = int(description.get("layer", 0))
        if layer not in layers:
            layers[layer] = slicer.vtkOrientedImageData()
            nodes.fill_image(layers[layer], _smallest(labels.array[layer : layer + 1]), take_over=True)
            layers[layer].SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))
        segment = slicer.vtkSegment()
        segment.SetName(str(description["name"]))
        segment.SetColor(*(float(value) for value in description["color"]))
        segment.SetLabelValue(int(description["label"]))
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), description.get("terminology") or _TISSUE)
        segment.AddRepresentation(_labelmap_name(), layers[layer])
        segments.append(segment)
    return segments


def _smallest(array: np.ndarray) -> np.ndarray:
    """Return labels in the smallest type that Slicer's segmentations work in."""
    if array.dtype in (np.uint8, np.uint16, np.int16, np.int32):
        return array
    return array.astype(np.uint8 if array.max(initial=0) < 256 else np.uint16)


def _replace_segments(segmentation_node: slicer.vtkMRMLSegmentationNode, segments: Sequence[vtk.vtkObject]) -> None:
    """Exchange all segments; the former ones come back if Slicer refuses one of the new."""
    segmentation = segmentation_node.GetSegmentation()
    former = [(identifier, segmentation.GetSegment(identifier)) for identifier in segmentation.GetSegmentIDs()]
    former_source = segmentation.GetSourceRepresentationName()
    identifiers = {segment.GetName(): identifier for identifier, segment in former}
    # pop: two new segments of one name are still two segments
    named = [(identifiers.pop(segment.GetName(), ""), segment) for segment in segments]
    try:
        _set_segments(segmentation, named, _labelmap_name())
    except VolumeError:
        _set_segments(segmentation, former, former_source)
        raise


def _set_segments(
    segmentation: vtk.vtkObject, segments: Sequence[tuple[str, vtk.vtkObject]], source_representation: str
) -> None:
    segmentation.RemoveAllSegments()
    segmentation.SetSourceRepresentationName(source_representation)
    for identifier, segment in segments:
        if not segmentation.AddSegment(segment, identifier):
            raise VolumeError(f'Slicer could not take in the segment "{segment.GetName()}".')


def _looks(segmentation_node: slicer.vtkMRMLSegmentationNode) -> dict[str, dict[str, Any]]:
    """Return how each segment is shown, by its identifier."""
    display = segmentation_node.GetDisplayNode()
    if display is None:
        return {}
    identifiers = segmentation_node.GetSegmentation().GetSegmentIDs()
    return {one: {name: getattr(display, f"GetSegment{name}")(one) for name in _LOOKS} for one in identifiers}


def _restore_looks(segmentation_node: slicer.vtkMRMLSegmentationNode, looks: Mapping[str, Mapping[str, Any]]) -> None:
    """Show each segment as before, and one that was not there before in Slicer's usual way."""
    display = segmentation_node.GetDisplayNode()
    with slicer.util.NodeModify(display):
        for identifier in segmentation_node.GetSegmentation().GetSegmentIDs():
            for name, usual in _LOOKS.items():
                getattr(display, f"SetSegment{name}")(identifier, looks.get(identifier, {}).get(name, usual))


def _default_name(prediction: Mapping[str, Any], input_node: slicer.vtkMRMLNode) -> str:
    """Return "T1 brain" for one structure found in "T1", else "T1 segmentation"."""
    found = prediction["segments"]
    return f"{input_node.GetName()} {found[0]['name'].lower() if len(found) == 1 else 'segmentation'}"


def _labelmap_name() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def _surface_name() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()


def _by(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)
