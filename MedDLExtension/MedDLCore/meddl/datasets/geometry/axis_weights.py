"""Which source voxels a target's voxel is made of, along axes that are parallel.

Where the target is as fine as the source or finer that is linear interpolation. Where it is coarser it is the mean of
what linear interpolation gives over the length of the new voxel, shortened by that of the old one (in squares), so that
the one goes over into the other: nothing aliases, and what rises evenly stays exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_POSITIONS = 4096
"""Positions of labels are multiples of this part of a voxel, so that mirrored grids give mirrored labels."""
_WEIGHTS = 2.0**17
"""Three of them multiplied, and the products summed, stay below 2**53."""


@dataclass(frozen=True, eq=False)
class AxisWeights:
    """Where a target axis takes its values from along a source axis.

    Attributes:
        target: number of the target axis.
        inside: its indices whose voxel centers lie in the source's field of view; the arrays are for these.
        first: the first source index of each.
        weights: ``(n, taps)`` of the source indices from there on, not normalized; 0 beyond the source's ends.
    """

    target: int
    inside: slice
    first: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """Return the first source index that target indices ``start`` to ``stop`` need, and the one after the last."""
        low, high = self._ends
        # Positions rise or fall along the axis, so the ends of a range are at its ends.
        return min(low[start], low[stop - 1]), max(high[start], high[stop - 1]) + 1

    def matrix(self, start: int, stop: int, low: int, high: int) -> np.ndarray:
        """Return the weights ``(target, source)`` of target indices ``start`` to ``stop`` on the range they need."""
        matrix = np.zeros((stop - start, high - low))
        weights = self.weights[start:stop]
        rows, taps = np.nonzero(weights)
        matrix[rows, self.first[start:stop][rows] + taps - low] = weights[rows, taps]
        return matrix

    @cached_property
    def _ends(self) -> tuple[list[int], list[int]]:
        """The first and the last source index with a weight, by target index."""
        used = self.weights > 0
        last = self.weights.shape[1] - 1
        return (self.first + used.argmax(axis=1)).tolist(), (self.first + last - used[:, ::-1].argmax(axis=1)).tolist()


def axis_weights(
    index_map: np.ndarray, source_shape: tuple[int, ...], shape: tuple[int, ...], *, whole: bool = False
) -> tuple[AxisWeights, AxisWeights, AxisWeights] | None:
    """Return the weights along each source axis; None if the grids are turned against each other.

    Args:
        index_map: 4x4, target index to source index.
        source_shape, shape: voxels of source and target.
        whole: weights are whole numbers whose products a float64 holds exactly, whatever order they are summed in: what
            is decided by comparing sums is the same on every machine, and in every order of the axes.
    """
    linear = np.abs(index_map[:3, :3])
    if np.any(np.sort(linear, axis=0)[1] * shape > 0.05 * np.maximum(1, linear.max(axis=0))):
        return None
    sources = [int(axis) for axis in linear.argmax(axis=0)]
    if sorted(sources) != [0, 1, 2]:
        return None
    middle = (np.array(shape) - 1) / 2
    at = index_map[:3, :3] @ middle + index_map[:3, 3]
    found = []
    for source, count in enumerate(source_shape):
        target = sources.index(source)
        step = float(index_map[source, target])
        along = at[source] + step * (np.arange(shape[target]) - middle[target])
        found.append(_weights(target, along, abs(step), count, whole))
    return found[0], found[1], found[2]


def _weights(target: int, along: np.ndarray, step: float, count: int, whole: bool) -> AxisWeights:
    along = np.where(np.abs(along - np.rint(along)) < 1e-6, np.rint(along), along)
    if whole:
        along = np.rint(along * _POSITIONS) / _POSITIONS
    within = np.flatnonzero((along >= -0.5 - 1e-6) & (along <= count - 0.5 + 1e-6))
    inside = slice(int(within[0]), int(within[-1]) + 1) if within.size else slice(0, 0)
    along = np.clip(along[within], -0.5, count - 0.5)
    # Half of the length over which the mean is taken; hardly coarser is as good as equally fine.
    half = math.sqrt(max(0.0, round(step, 9) ** 2 - 1)) / 2 if step > 1 + 1e-6 else 0.0
    reach = math.ceil(1 + half)
    first = np.rint(along).astype(np.int64) - reach
    index = first[:, None] + np.arange(2 * reach + 1)
    away = np.abs(along[:, None] - index)
    weights = (_risen(away + half) - _risen(away - half)) / (2 * half) if half else np.maximum(0, 1 - away)
    weights[(index < 0) | (index >= count)] = 0
    if whole:
        weights = np.rint(weights * _WEIGHTS)
    return AxisWeights(target, inside, first, np.maximum(weights, 0))


def _risen(x: np.ndarray) -> np.ndarray:
    """Return the integral up to ``x`` of a triangle of height 1 from -1 to 1: that of a voxel's part in its line."""
    x = np.clip(x, -1, 1)
    return np.where(x < 0, (1 + x) ** 2 / 2, 1 - (1 - x) ** 2 / 2)
