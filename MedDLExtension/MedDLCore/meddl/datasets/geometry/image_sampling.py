"""Images on another grid: linear where it is finer, a weighted mean where it is coarser."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from meddl.datasets.geometry.axis_weights import AxisWeights, axis_weights
from meddl.datasets.geometry.voxel_map import empty_for
from meddl.volume import Grid, Volume, resample_to

_FINE_VOXELS = 1 << 22


def resampled_image(volume: Volume, target: Grid, fill: float) -> Volume:
    """Return an image on ``target``, with its own data type (whole numbers are rounded) and ``fill`` outside of it.

    Voxels that are no numbers count as ``fill``. Outside is what lies more than half a voxel beyond the outer centers.
    """
    index_map = np.linalg.inv(volume.affine) @ target.affine
    out = empty_for(volume.channels, target.shape, volume.array.dtype)
    out[...] = fill
    axes = axis_weights(index_map, volume.shape, target.shape)
    for channel, goal in zip(volume.array, out, strict=True):
        if axes is not None:
            _parallel(channel, axes, goal, fill)
        else:
            _turned(channel, volume.affine, target, index_map, goal, fill)
    return Volume(out, target.affine, volume.name, volume.meta)


def _parallel(channel: np.ndarray, axes: tuple[AxisWeights, ...], out: np.ndarray, fill: float) -> None:
    """Go through the source plane by plane: each is brought to the target's size once, then planes are mixed."""
    inside = tuple(next(axis.inside for axis in axes if axis.target == n) for n in range(3))
    if any(part.start == part.stop for part in inside):
        return
    # The planes lie along what changes slowest in the target's memory.
    order = sorted(range(3), key=lambda source: -axes[source].target)
    planes, rows, columns = (axes[source] for source in order)
    source = channel.transpose(order)
    view = out[inside].transpose([axes[n].target for n in order])
    rows_matrix, columns_matrix = _sparse(rows, source.shape[1]), _sparse(columns, source.shape[2])
    mix = planes.weights / planes.weights.sum(axis=1, keepdims=True)
    kept: dict[int, np.ndarray] = {}
    for number in range(len(planes)):
        needed = {int(planes.first[number]) + tap: mix[number, tap] for tap in np.flatnonzero(mix[number]).tolist()}
        kept = {index: plane for index, plane in kept.items() if index in needed}
        for index in needed:
            if index not in kept:
                plane = _numbers(source[index], fill)
                kept[index] = (columns_matrix @ (rows_matrix @ plane).T).T
        mixed = [weight * kept[index] for index, weight in needed.items()]
        view[number] = _as(functools.reduce(np.add, mixed), out.dtype)


def _sparse(axis: AxisWeights, count: int) -> Any:
    """Return the weights as a sparse matrix: it sums each value in one order, whatever the machine."""
    from scipy.sparse import csr_matrix

    rows, taps = np.nonzero(axis.weights)
    weights = axis.weights / axis.weights.sum(axis=1, keepdims=True)
    return csr_matrix((weights[rows, taps], (rows, axis.first[rows] + taps)), shape=(len(axis), count))


def _turned(
    channel: np.ndarray, affine: np.ndarray, target: Grid, index_map: np.ndarray, out: np.ndarray, fill: float
) -> None:
    """Sample on a grid that is turned as the target and as fine as the source, slab by slab, and take means of that."""
    parts = subdivisions(index_map)
    thick = max(1, _FINE_VOXELS // (math.prod(target.shape[:2]) * math.prod(parts)))
    for start in range(0, target.shape[2], thick):
        stop = min(start + thick, target.shape[2])
        fine = _subdivided(target, start, stop, parts)
        block = _needed(channel, affine, fine)
        if block is None:
            continue
        array = _numbers(block.array, fill)
        default = float("nan")
        sampled = resample_to(Volume(array, block.affine), fine, default=default).array[0]
        mean = _mean(sampled, parts)
        out[:, :, start:stop] = _as(np.where(np.isnan(mean), fill, mean), out.dtype)


def subdivisions(index_map: np.ndarray) -> tuple[int, int, int]:
    """Return into how many parts a target voxel falls along each axis so that none is larger than a source voxel."""
    steps = np.abs(index_map[:3, :3]).max(axis=0)
    parts = [max(1, math.ceil(step - 0.1)) for step in steps]
    return parts[0], parts[1], parts[2]


def _subdivided(target: Grid, start: int, stop: int, parts: tuple[int, int, int]) -> Grid:
    affine = target.affine.copy()
    affine[:3, :3] = target.affine[:3, :3] / parts
    first = np.array([0, 0, start]) - 0.5 + 0.5 / np.array(parts)
    affine[:3, 3] = target.affine[:3, :3] @ first + target.affine[:3, 3]
    counts = (target.shape[0], target.shape[1], stop - start)
    return Grid((counts[0] * parts[0], counts[1] * parts[1], counts[2] * parts[2]), affine)


def _needed(channel: np.ndarray, affine: np.ndarray, grid: Grid) -> Volume | None:
    """Return what of a source the samples of ``grid`` need; None if that is nothing."""
    corners = np.linalg.inv(affine)[:3] @ np.vstack([grid.corners(), np.ones(8)])
    low = np.maximum(np.floor(corners.min(axis=1)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(axis=1)).astype(int) + 2, channel.shape)
    if (low >= high).any():
        return None
    shift = np.eye(4)
    shift[:3, 3] = low
    part = channel[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return Volume(part[np.newaxis], affine @ shift)


def _mean(fine: np.ndarray, parts: tuple[int, int, int]) -> np.ndarray:
    """Return means over the parts of each voxel; NaN where none is a number."""
    if parts == (1, 1, 1):
        return fine
    counts = [size // part for size, part in zip(fine.shape, parts, strict=True)]
    split = fine.reshape(counts[0], parts[0], counts[1], parts[1], counts[2], parts[2])
    known = np.isfinite(split)
    total = np.where(known, split, 0).sum(axis=(1, 3, 5), dtype=np.float64)
    number = known.sum(axis=(1, 3, 5))
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _numbers(array: np.ndarray, fill: float) -> np.ndarray:
    """Return the values as floats, ``fill`` for what is no number."""
    numbers = array.astype(np.float64)
    if array.dtype.kind == "f" and not np.isfinite(numbers).all():
        numbers[~np.isfinite(numbers)] = fill
    return numbers


def _as(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return values >= 0.5 if dtype.kind == "b" else values.astype(dtype)
