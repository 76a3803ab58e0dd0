"""Which voxel of the network's grid a voxel of the image's grid lies on, where the two grids' axes are parallel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class AxisMap:
    """Where the voxels of a target axis lie along a source axis.

    Attributes:
        target: number of the target axis.
        inside: its indices that lie in the source's field of view, one range; the arrays below are for these.
        low, high: the neighboring source indices.
        weight: of ``high``, float32, 0 to 1.
        nearest: the nearest source index; half-way coordinates go up, as in torch's "nearest-exact".
    """

    target: int
    inside: slice
    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray
    nearest: np.ndarray

    def __len__(self) -> int:
        return len(self.low)


def axis_maps(
    index_map: np.ndarray,
    source_shape: tuple[int, ...],
    shape: tuple[int, ...],
    tolerance: float = 1e-4,
    nearest_axes: tuple[int, ...] = (),
) -> tuple[AxisMap, AxisMap, AxisMap] | None:
    """Return, for each source axis, the map of the target axis that runs along it; None if the grids are turned.

    Args:
        index_map: 4x4, target index to source index.
        source_shape: voxels of the source.
        shape: voxels of the target.
        tolerance: how far axes may be from parallel.
        nearest_axes: source axes along which the nearest voxel alone counts.
    """
    linear = np.abs(index_map[:3, :3])
    largest = linear.max(axis=0)
    if np.any(np.sort(linear, axis=0)[1] > tolerance * largest):
        return None
    sources = [int(axis) for axis in linear.argmax(axis=0)]
    if sorted(sources) != [0, 1, 2]:
        return None
    maps = []
    for source, size in enumerate(source_shape):
        target = sources.index(source)
        step, start = float(index_map[source, target]), float(index_map[source, 3])
        along = _axis_map(target, step, start, shape[target], size)
        if source in nearest_axes:
            along = replace(along, low=along.nearest, high=along.nearest, weight=np.zeros_like(along.weight))
        maps.append(along)
    return maps[0], maps[1], maps[2]


def _axis_map(target: int, step: float, start: float, count: int, size: int) -> AxisMap:
    along = start + step * np.arange(count)
    within = np.flatnonzero((along >= -0.5 - 1e-6) & (along <= size - 0.5 + 1e-6))
    inside = slice(int(within[0]), int(within[-1]) + 1) if within.size else slice(0, 0)
    at = np.clip(along[within], 0, size - 1)
    # A hair off a voxel is on it: affines come out of files and matrix products.
    at = np.where(np.abs(at - np.rint(at)) < 1e-6, np.rint(at), at)
    low = np.floor(at).astype(np.int64)
    return AxisMap(
        target,
        inside,
        low,
        np.minimum(low + 1, size - 1),
        (at - low).astype(np.float32),
        np.minimum(np.floor(at + 0.5 + 1e-6).astype(np.int64), size - 1),
    )
