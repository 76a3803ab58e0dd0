"""Thumbnails of cases that are made of nodes."""

from __future__ import annotations

import numpy as np
import slicer
from meddl.errors import MedDLError

from meddl_slicer import export_labels, nodes
from meddl_slicer.export_cases import CaseRow, SceneLabel
from meddl_slicer.scene_guard import alive
from meddl_slicer.thumbnails import thumbnail


def thumbnail_of(row: CaseRow) -> np.ndarray | None:
    """Return a picture of a case's first image and its segmentation, or None if it is not made of nodes."""
    image = next(iter(row.images.values()), None)
    if not isinstance(image, slicer.vtkMRMLNode) or alive(image) is None:
        return None
    try:
        volume = nodes.volume_from_node(image)
    except MedDLError:
        return None
    layers = []
    label = row.label.nodes[0] if isinstance(row.label, SceneLabel) and row.label.task == "segmentation" else None
    if alive(label) is not None:
        try:
            layers = export_labels.layers_of(label)
        except MedDLError:
            pass  # the image alone is a picture, too; what is wrong with the label is said elsewhere
    return thumbnail(volume, layers, _window(image))


def _window(image: slicer.vtkMRMLVolumeNode) -> tuple[float, float] | None:
    display = image.GetDisplayNode()
    if display is None or not hasattr(display, "GetWindowLevelMin") or image.IsA("vtkMRMLVectorVolumeNode"):
        return None
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    return (low, high) if high > low else None
