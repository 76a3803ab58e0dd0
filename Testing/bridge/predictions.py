"""Predictions with a known answer, in the form the inference task returns them."""

from __future__ import annotations

from typing import Any

import numpy as np
from meddl.volume import Volume

BRAIN = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^12738006^Brain~^^~Anatomic codes - DICOM master list~^^~^^"
)
KIDNEY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^64033007^Kidney~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
)
SEGMENTS = [
    {"label": 1, "name": "Brain", "color": (0.98, 0.98, 0.88), "terminology": BRAIN},
    {"label": 4, "name": "Left kidney: upper; lower", "color": (0.2, 0.4, 0.6), "terminology": KIDNEY},
    {"label": 7, "name": "Nothing found", "color": (1.0, 0.0, 0.0), "terminology": ""},
]
PROVENANCE = {
    "model": {"name": 'Test; model: "one" & <two>', "version": "1.2.0", "sha256": "ab" * 32, "license": "MIT"},
    "device": {"type": "cuda:0", "name": "Some GPU"},
    "parameters": {"tile": [96, 96, 96], "overlap": 0.5},
    "seconds": {"preprocess": 0.25},
}


def labels_of(shape: tuple[int, int, int], dtype: type = np.uint8) -> np.ndarray:
    """Two blocks without any symmetry: an axis swapped or mirrored anywhere shows."""
    labels = np.zeros((1, *shape), dtype)
    labels[0, 1:3, 1:2, 2:5] = 1
    labels[0, 2:, 3:, 1:3] = 4
    return labels


def prediction_for(volume: Volume, dtype: type = np.uint8) -> dict[str, Any]:
    labels = volume.with_array(labels_of(volume.shape, dtype))
    voxel_ml = abs(np.linalg.det(volume.affine[:3, :3])) / 1000
    counts = {segment["name"]: int((labels.array == segment["label"]).sum()) for segment in SEGMENTS}
    return {
        "labels": labels,
        "segments": SEGMENTS,
        "voxels": counts,
        "volumes_ml": {name: count * voxel_ml for name, count in counts.items()},
        "provenance": PROVENANCE,
    }
