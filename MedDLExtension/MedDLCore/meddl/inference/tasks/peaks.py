"""Peaks of heat maps: where a detector or a landmark model points."""

from __future__ import annotations

import numpy as np


def local_maxima(heat: np.ndarray, threshold: float, most: int) -> np.ndarray:
    """Return the voxels ``(n, 3)`` of ``(i, j, k)`` that reach ``threshold`` and no neighbor exceeds, highest first.

    Args:
        heat: 0 to 1.
        threshold: least height.
        most: at most so many.
    """
    from scipy.ndimage import maximum_filter

    candidates = np.argwhere((heat >= threshold) & (heat == maximum_filter(heat, size=3, mode="constant")))
    order = np.argsort(-heat[tuple(candidates.T)], kind="stable")
    return candidates[order[:most]]


def centroid(heat: np.ndarray, peak: np.ndarray, radius: int = 2) -> np.ndarray:
    """Return the center of mass ``(3,)`` of ``heat`` in the box of ``radius`` voxels round ``peak``, in voxels.

    What is lower than half the peak does not count, so that a broad floor does not draw the point to the box's center.
    """
    start = np.maximum(peak - radius, 0)
    part = heat[tuple(slice(low, high) for low, high in zip(start, peak + radius + 1, strict=True))].astype(np.float64)
    weights = np.maximum(part - 0.5 * heat[tuple(peak)], 0)
    if weights.sum() <= 0:
        return peak.astype(np.float64)
    index = np.stack(np.meshgrid(*(np.arange(size) for size in part.shape), indexing="ij"), axis=-1)
    return start + (index * weights[..., None]).sum(axis=(0, 1, 2)) / weights.sum()


def to_world(index: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return RAS mm of voxel coordinates ``(..., 3)``."""
    return np.asarray(index) @ affine[:3, :3].T + affine[:3, 3]
