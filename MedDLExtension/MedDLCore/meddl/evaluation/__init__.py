"""How well an answer agrees with a reference: structures, images, boxes, points and classes.

Importing this package needs numpy only. What a figure means, and what it does not, is told where it is computed.
"""

from __future__ import annotations

from meddl.evaluation.classes import ClassAgreement, compare_class, expected_calibration_error
from meddl.evaluation.findings import (
    BoxPair,
    DetectionAgreement,
    box_overlap,
    compare_boxes,
    compare_landmarks,
)
from meddl.evaluation.images import ImageAgreement, compare_images
from meddl.evaluation.segmentations import SegmentationAgreement, StructureAgreement, compare_segmentations
from meddl.evaluation.surfaces import SurfaceAgreement, compare_surfaces

__all__ = [
    "BoxPair",
    "ClassAgreement",
    "DetectionAgreement",
    "ImageAgreement",
    "SegmentationAgreement",
    "StructureAgreement",
    "SurfaceAgreement",
    "box_overlap",
    "compare_boxes",
    "compare_class",
    "compare_images",
    "compare_landmarks",
    "compare_segmentations",
    "compare_surfaces",
    "expected_calibration_error",
]
