"""Grids whose voxels lie on each other: voxels are only reordered, none is computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meddl.volume import Grid, Volume

SAME_VOXELS = 0.02
"""Voxels that are as near as this, in voxels, are the same: headers round what scanners and programs tell."""


@dataclass(frozen=True)
class VoxelMap:
    """How the voxels of a target lie on those of a source.

    Attributes:
        axes: the source axis along each target axis.
        signs: 1, or -1 where it is mirrored.
        starts: source index at target index 0, along each target axis.
        off_mm: how far the farthest voxel is from being exactly there.
    """

    axes: tuple[int, int, int]
    signs: tuple[int, int, int]
    starts: tuple[int, int, int]
    off_mm: float


def voxel_map(source: Grid, target: Grid) -> VoxelMap | None:
    """Return how voxels lie on voxels; None if they do not, so that values in between are needed."""
    index_map = np.linalg.inv(source.affine) @ target.affine
    turn = np.rint(index_map[:3, :3])
    is_turn = np.abs(turn).sum(axis=0).tolist() == [1, 1, 1] == np.abs(turn).sum(axis=1).tolist()
    if not is_turn:
        return None
    middle = (np.array(target.shape) - 1) / 2
    # Rounded in the middle, where an error of the spacing has grown least.
    shift = np.rint(index_map[:3, :3] @ middle + index_map[:3, 3] - turn @ middle)
    last = np.array(target.shape) - 1
    corners = np.array(np.meshgrid(*[(0, n) for n in last], indexing="ij")).reshape(3, 8)
    off = (index_map[:3, :3] - turn) @ corners + (index_map[:3, 3] - shift)[:, None]
    if np.abs(off).max() > SAME_VOXELS:
        return None
    axes = [int(axis) for axis in np.abs(turn).argmax(axis=0)]
    signs = [int(turn[axis, n]) for n, axis in enumerate(axes)]
    starts = [int(shift[axis]) for axis in axes]
    off_mm = float(np.linalg.norm(source.affine[:3, :3] @ off, axis=0).max())
    return VoxelMap(
        (axes[0], axes[1], axes[2]), (signs[0], signs[1], signs[2]), (starts[0], starts[1], starts[2]), off_mm
    )


def reordered(volume: Volume, target: Grid, found: VoxelMap, fill: float = 0) -> Volume:
    """Return the same voxels in the order of ``target``, ``fill`` where there are none.

    Where the target lies within the volume the array is a view of the volume's, and the volume itself where it already
    is on this grid.
    """
    turned = volume.array.transpose(0, *(axis + 1 for axis in found.axes))
    sources, targets = [], []
    sides = zip(found.signs, found.starts, turned.shape[1:], target.shape, strict=True)
    for sign, start, count, wanted in sides:
        if sign > 0:
            first, last = max(0, -start), min(wanted, count - start)  # target indices, the last one excluded
            sources.append(slice(first + start, last + start))
        else:
            first, last = max(0, start - count + 1), min(wanted, start + 1)
            low = start - last  # the source index before the lowest one
            sources.append(slice(start - first, low if low >= 0 else None, -1))
        if first >= last:
            return Volume(_filled(volume, target, fill), target.affine, volume.name, volume.meta)
        targets.append(slice(first, last))
    part = turned[(slice(None), *sources)]
    if part.shape[1:] == target.shape:
        in_place = found.axes == (0, 1, 2) and found.signs == (1, 1, 1) and found.starts == (0, 0, 0)
        if in_place and volume.shape == target.shape and np.array_equal(volume.affine, target.affine):
            return volume
        return Volume(part, target.affine, volume.name, volume.meta)
    array = _filled(volume, target, fill)
    array[(slice(None), *targets)] = part
    return Volume(array, target.affine, volume.name, volume.meta)


def empty_for(channels: int, shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """Return an array ``(C, I, J, K)`` with I changing fastest in memory, as images come out of files and go in."""
    return np.empty((channels, *reversed(shape)), dtype=dtype).transpose(0, 3, 2, 1)


def _filled(volume: Volume, target: Grid, fill: float) -> np.ndarray:
    array = empty_for(volume.channels, target.shape, volume.array.dtype)
    array[...] = fill
    return array
