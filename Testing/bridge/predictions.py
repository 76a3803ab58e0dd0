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


def named(task: str, volume: Volume, **more: Any) -> dict[str, Any]:
    """A prediction of any task, with answers that differ in all axes."""
    center = volume.affine @ [1.5, 2.0, 2.5, 1.0]
    rotated = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    results: dict[str, dict[str, Any]] = {
        "segmentation": prediction_for(volume),
        "classification": {
            "classes": [
                {"name": "MR", "probability": 0.07, "code": ""},
                {"name": "CT", "probability": 0.93, "code": "DCM^CT^Computed Tomography"},
            ],
            "exclusive": True,
            "calibrated": True,
            "evidence": [],
            "uncertainty": None,
        },
        "detection": {
            "boxes": [
                {"label": "Kidney", "score": 0.6, "center": [1.0, 2.0, 3.0], "size": [4.0, 5.0, 6.0], "axes": rotated},
                {"label": "Liver", "score": 0.9, "center": center[:3], "size": [9.0, 3.0, 7.0], "axes": np.eye(3)},
                {"label": "Kidney", "score": 0.5, "center": [-9.0, 2.0, 3.0], "size": [4.0, 5.0, 6.0], "axes": rotated},
            ]
        },
        "landmarks": {
            "points": [
                {"name": "AC", "position": center[:3], "score": 0.98},
                {"name": "PC", "position": [4.0, -5.0, 6.0], "score": 0.2},
            ]
        },
        "reconstruction": {"image": volume.with_array(volume.array * 0.5), "difference": None, "quality": None},
    }
    return {"task": task, "provenance": PROVENANCE, **results[task], **more}


def uncertainty_for(volume: Volume) -> dict[str, Any]:
    """An entropy map that grows along one axis, and intervals for all structures."""
    entropy = np.broadcast_to(
        np.linspace(0, 1, volume.shape[0], dtype=np.float32)[None, :, None, None], (1, *volume.shape)
    )
    return {
        "method": "flips",
        "passes": 8,
        "entropy": volume.with_array(np.asfortranarray(entropy[0])[None]),
        "intervals": {segment["name"]: (0.5, 2.0) for segment in SEGMENTS},
        "sentence": "Least sure at the border.",
    }
