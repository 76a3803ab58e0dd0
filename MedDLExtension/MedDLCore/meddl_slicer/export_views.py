"""A case of an export in the slice views."""

from __future__ import annotations

import slicer
import slicer.util

from meddl_slicer.export_cases import CaseRow, SceneLabel
from meddl_slicer.scene_guard import alive


def show_case(row: CaseRow) -> bool:
    """Show a case's first image, with its segmentation and no other; returns False for one that is not in the scene."""
    images = [
        one for one in row.images.values() if isinstance(one, slicer.vtkMRMLVolumeNode) and alive(one) is not None
    ]
    if not images:
        return False
    slicer.util.setSliceViewerLayers(background=images[0], foreground=None, label=None, fit=True)
    mine = row.label.nodes if isinstance(row.label, SceneLabel) else ()
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        display = node.GetDisplayNode()
        if display is not None:
            display.SetVisibility(any(node is one for one in mine))
    return True
