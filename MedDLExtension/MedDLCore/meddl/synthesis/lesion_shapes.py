"""Shapes of lesions: smooth blobs by chance, or the shape of a real one, turned and scaled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from meddl.randomness import Stream, normal_field
from meddl.volume import Volume

_LATTICE = 9
_REACH = 2.5
"""Radii up to which a blob's surface is uneven."""


class Shape(ABC):
    """A shape round the origin, whatever its size: the lesion is the voxels of the least level."""

    facts: dict[str, Any]

    @abstractmethod
    def level(self, points: np.ndarray, radius: float) -> np.ndarray:
        """Return how far out points ``(N, 3)`` (mm from the center) lie, of a lesion as large as a ball of ``radius``
        mm: least in its middle."""


class RandomShape(Shape):
    """A ball whose surface is pushed in and out by a smooth field.

    Args:
        irregularity: 0 is a ball, 1 as uneven as lesions are.
    """

    def __init__(self, stream: Stream, irregularity: float) -> None:
        self._field = normal_field(stream.token(), (_LATTICE,) * 3)
        self._amplitude = 0.8 * irregularity
        self.facts = {"from": "random", "irregularity": irregularity}

    def level(self, points: np.ndarray, radius: float) -> np.ndarray:
        """Return the distance from the center in radii, uneven."""
        from scipy.ndimage import map_coordinates

        near = points / radius
        index = np.clip((near / _REACH + 1) / 2, 0, 1) * (_LATTICE - 1)
        uneven = map_coordinates(self._field, index.T, order=3, mode="nearest")
        distance = np.sqrt((near**2).sum(axis=1))
        # In the very middle nothing is pushed, so that it stays the middle.
        return np.asarray(distance + self._amplitude * uneven * np.minimum(distance, 1.0) * 0.5)


class ExampleShape(Shape):
    """The largest piece of a real lesion, turned by chance, as large as is wanted.

    Args:
        mask: ``(1, I, J, K)``.
        turned: turn it in any way; else about the body's axis only, as thick slices take.
    """

    def __init__(self, mask: Volume, stream: Stream, name: str) -> None:
        from scipy import ndimage

        pieces, count = ndimage.label(mask.array[0] > 0)
        largest = 1 + int(np.argmax(np.bincount(pieces.reshape(-1), minlength=count + 1)[1:]))
        found = np.argwhere(pieces == largest)
        low, high = found.min(axis=0), found.max(axis=0) + 1
        piece = np.pad(pieces[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] == largest, 4)
        spacing = mask.spacing
        inside = ndimage.distance_transform_edt(piece, sampling=spacing)
        outside = ndimage.distance_transform_edt(~piece, sampling=spacing)
        self._distance = (outside - inside).astype(np.float32)
        self.center = mask.affine[:3, :3] @ found.mean(axis=0) + mask.affine[:3, 3]
        self._to_index = np.linalg.inv(mask.affine)
        self._start = low - 4
        self.radius = _radius_of(len(found) * mask.voxel_volume_ml)
        self.turn = _turned(stream, spacing.max() > 2.5 * spacing.min())
        self.facts = {"from": name or "example", "volume_ml": round(len(found) * mask.voxel_volume_ml, 3)}

    def level(self, points: np.ndarray, radius: float) -> np.ndarray:
        """Return the distance from the example's surface in its own mm."""
        from scipy.ndimage import map_coordinates

        index = self._to_index[:3, :3] @ self.in_example(points, radius).T + self._to_index[:3, 3:]
        index -= self._start[:, None]
        limits = np.array(self._distance.shape)[:, None] - 1
        near = np.clip(index, 0, limits)
        beyond = np.sqrt(((index - near) ** 2).sum(axis=0))
        return np.asarray(map_coordinates(self._distance, near, order=1) + beyond * 1e3)

    def in_example(self, points: np.ndarray, radius: float) -> np.ndarray:
        """Return where points (mm from the center) lie in the example's image, RAS mm."""
        return (points * (self.radius / radius)) @ self.turn.T + self.center


def radius_of(volume_ml: float) -> float:
    """Return the radius in mm of a ball."""
    return _radius_of(volume_ml)


def _radius_of(volume_ml: float) -> float:
    return float((volume_ml * 1000.0 * 3 / (4 * np.pi)) ** (1 / 3))


def _turned(stream: Stream, flat: bool) -> np.ndarray:
    """Return a rotation by chance (Shoemake 1992, Uniform random rotations); ``flat`` only about the body's axis."""
    if flat:
        angle = stream.uniform(0, 2 * np.pi)
        return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    a, b, c = (stream.uniform() for _ in range(3))
    one, other = np.sqrt(1 - a), np.sqrt(a)
    x, y = one * np.sin(2 * np.pi * b), one * np.cos(2 * np.pi * b)
    z, w = other * np.sin(2 * np.pi * c), other * np.cos(2 * np.pi * c)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
