"""Slices through an image along its own voxel axes, turned as radiologists look at them; nothing is resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from meddl.volume import Volume

_OBLIQUE = 0.999
"""Cosine: axes nearer to those of the body count as straight."""

_ACROSS = (("axial", 2, 0, 1), ("coronal", 1, 0, 2), ("sagittal", 0, 1, 2))
"""Name; world axis through it, from right to left, and from bottom to top of the picture, as 0, 1, 2 for R, A, S."""

_SIDES = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True, eq=False)
class Plane:
    """A slice of voxels as it is drawn: rows from top to bottom, columns from left to right.

    Attributes:
        name: "axial", "coronal" or "sagittal".
        sides: letters of the body's sides at the left, right, top and bottom.
        size_mm: width and height.
        at: column and row of the point that it goes through.
        place: where it lies, in words.
        through: the voxel axis that it is at right angles to.
    """

    name: str
    sides: tuple[str, str, str, str]
    size_mm: tuple[float, float]
    at: tuple[int, int]
    place: str
    through: int
    _index: int
    _axes: tuple[int, int]
    _flips: tuple[bool, bool]
    _affine: np.ndarray

    def of(self, array: np.ndarray) -> np.ndarray:
        """Return the slice ``(rows, columns)`` of an array ``(I, J, K)``."""
        cut = np.take(array, self._index, axis=self.through)
        row, column = self._axes
        cut = cut if row < column else cut.T
        return np.asarray(cut[:: -1 if self._flips[0] else 1, :: -1 if self._flips[1] else 1])

    def points(self, shape: Sequence[int]) -> np.ndarray:
        """Return the places ``(rows, columns, 3)`` of the slice's voxels in RAS mm, for an image of that shape."""
        index = np.zeros((*self.of(np.broadcast_to(np.int8(0), tuple(shape))).shape, 3))
        for axis in range(3):
            along = np.arange(shape[axis]).reshape([-1 if n == axis else 1 for n in range(3)])
            index[..., axis] = self.of(np.broadcast_to(along, tuple(shape)))
        return np.asarray(index @ self._affine[:3, :3].T + self._affine[:3, 3])


def planes_through(image: Volume, index: Sequence[int]) -> tuple[Plane, ...]:
    """Return the three slices through a voxel; of a flat image the one that is no line."""
    axes = _body_axes(image.affine)  # voxel axis of each of R, A, S
    directions = image.affine[:3, :3] / image.spacing
    planes = []
    for name, through, across, up in _ACROSS:
        voxel_axes = [axes[through], axes[across], axes[up]]
        if image.shape[voxel_axes[1]] == 1 or image.shape[voxel_axes[2]] == 1:
            continue
        grows = [directions[world, axis] > 0 for world, axis in zip((through, across, up), voxel_axes, strict=True)]
        # Rows go from top to bottom: against "up"; columns from the patient's right or front to the left or back.
        flips = (bool(grows[2]), bool(grows[1]))
        column, row = voxel_axes[1], voxel_axes[2]
        at = tuple(
            image.shape[axis] - 1 - int(index[axis]) if flip else int(index[axis])
            for axis, flip in ((column, flips[1]), (row, flips[0]))
        )
        size = (image.shape[column] * image.spacing[column], image.shape[row] * image.spacing[row])
        sides = (_SIDES[across][1], _SIDES[across][0], _SIDES[up][1], _SIDES[up][0])
        number, count = int(index[voxel_axes[0]]) + 1, image.shape[voxel_axes[0]]
        planes.append(
            Plane(
                name,
                sides,
                (float(size[0]), float(size[1])),
                (at[0], at[1]),
                f"slice {number} of {count}",
                voxel_axes[0],
                int(index[voxel_axes[0]]),
                (row, column),
                flips,
                image.affine,
            )
        )
    return tuple(planes)


def is_oblique(image: Volume) -> bool:
    """Say whether the voxel axes run otherwise than those of the body: slices are only nearly axial, and so on."""
    directions = np.abs(image.affine[:3, :3] / image.spacing)
    return bool(directions.max(axis=0).min() < _OBLIQUE)


def peak_of(values: np.ndarray) -> tuple[int, int, int]:
    """Return the voxel of a map ``(I, J, K)`` with most evidence for the answer; where there is none, most against it.

    Where several neighbors share the highest value, as with blocks, it is the one in their middle.
    """
    strength = np.nan_to_num(values, nan=0.0)
    if strength.max() <= 0:
        strength = np.abs(strength)
    found = np.argwhere(strength >= strength.max() * (1 - 1e-6))
    if len(found) > len(strength.ravel()) // 2:  # the same everywhere
        found = np.array([np.array(strength.shape) // 2])
    middle = found.mean(axis=0)
    i, j, k = found[np.argmin(((found - middle) ** 2).sum(axis=1))]
    return int(i), int(j), int(k)


def _body_axes(affine: np.ndarray) -> tuple[int, int, int]:
    """Return which voxel axis runs most along R, A and S, each one once."""
    lengths = np.abs(affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
    return max(permutations(range(3)), key=lambda order: float(sum(lengths[n, order[n]] for n in range(3))))  # type: ignore[return-value]
