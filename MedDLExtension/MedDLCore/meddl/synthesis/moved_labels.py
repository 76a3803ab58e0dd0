"""New anatomy out of label maps: turned, scaled, shifted and bent, as another person's might be."""

from __future__ import annotations

import math

import numpy as np

from meddl.randomness import Stream, normal_field

TURN = 10.0
"""Degrees at most, about the last axis of patches."""
SCALE = 0.1
SHIFT = 0.05
"""Share of the size at most."""
BEND = 0.015
"""Share of the size that a point is bent away by, as a standard deviation."""
_SMOOTH = 0.2
"""Share of the size that bends are smooth over, as the width of a Gaussian."""


def moved_labels(labels: np.ndarray, stream: Stream) -> np.ndarray:
    """Return label maps, each moved by chance. Never mirrored: sides have names.

    Args:
        labels: ``(N, *size)``; what comes in from outside continues the border.
        stream: of what is left to chance.
    """
    return np.stack([_moved(each, stream.child(number)) for number, each in enumerate(labels)])


def _moved(labels: np.ndarray, stream: Stream) -> np.ndarray:
    from scipy.ndimage import gaussian_filter, map_coordinates

    size = np.array(labels.shape)
    dimensions = len(size)
    angle = math.radians(stream.uniform(-TURN, TURN))
    matrix = np.eye(dimensions)
    matrix[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    matrix *= np.array([stream.uniform(1 - SCALE, 1 + SCALE) for _ in size])
    shift = np.array([stream.uniform(-SHIFT, SHIFT) for _ in size]) * size
    center = ((size - 1) / 2).reshape(-1, *[1] * dimensions)
    place = np.indices(labels.shape) - center
    source = np.tensordot(matrix, place, axes=1) + center + shift.reshape(center.shape)
    for axis in range(dimensions):
        bend = gaussian_filter(normal_field(stream.token(), labels.shape).astype(np.float64), _SMOOTH * size.min())
        source[axis] += bend / max(float(bend.std()), 1e-12) * BEND * size[axis]
    # Membership is interpolated and the largest wins: nearest voxels would leave ragged outlines.
    values = np.unique(labels)
    shares = np.stack(
        [map_coordinates((labels == v).astype(np.float32), source, order=1, mode="nearest") for v in values]
    )
    return values[shares.argmax(axis=0)].astype(labels.dtype)
