"""Images and label maps whose content has moved, on the grid where they were or on a part of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from meddl.augmentation.world_map import Movement
from meddl.volume import Grid, Volume

_SLAB = 1 << 21
"""Voxels that are worked on at once: it bounds the memory of large images."""
_EXACT = 1e-4
_TIE = 1e-5


def moved_image(image: Volume, movement: Movement, target: Grid, fill: float) -> Volume:
    """Return an image (float32) after a movement, linearly interpolated, ``fill`` where nothing came from.

    Whole-voxel shifts and mirrored axes are exact.
    """
    import torch

    copied = _copied(image.array, movement.index_map(image.grid, target), target.shape, fill)
    if copied is not None:
        return Volume(copied, target.affine, image.name, image.meta)
    out = np.full((image.channels, *target.shape), fill, np.float32)
    for start, slab in _slabs(target):
        index = movement.indices(image.grid, slab)
        block = _needed(index, image.shape)
        if block is None:
            continue
        index -= np.array([each.start for each in block], np.float32)
        array = image.array[(slice(None), *block)].astype(np.float32)
        array -= np.float32(fill)
        last = np.array(array.shape[1:], np.float32) - 1
        index *= np.where(last > 0, 2 / np.maximum(last, 1), 0).astype(np.float32)
        index -= np.where(last > 0, 1, 0).astype(np.float32)
        grid = torch.from_numpy(np.ascontiguousarray(index[..., ::-1]))[None]
        source = torch.from_numpy(np.ascontiguousarray(array))[None]
        moved = torch.nn.functional.grid_sample(source, grid, padding_mode="zeros", align_corners=True)
        out[:, start : start + slab.shape[0]] += moved[0].numpy()
    return Volume(out, target.affine, image.name, image.meta)


def moved_labels(labels: Volume, movement: Movement, target: Grid) -> Volume:
    """Return label maps after a movement: each voxel gets the label that most of it belongs to.

    Every label's membership is interpolated linearly and the greatest wins, which is what interpolating one volume per
    label and taking the maximum gives, at the cost of the voxels on surfaces only. On a tie a structure wins over the
    background, of several the one with the least value.
    """
    copied = _copied(labels.array, movement.index_map(labels.grid, target), target.shape, 0)
    if copied is not None:
        return Volume(copied, target.affine, labels.name, labels.meta)
    out = np.zeros((labels.channels, *target.shape), labels.array.dtype)
    for start, slab in _slabs(target):
        index = movement.indices(labels.grid, slab)
        block = _needed(index, labels.shape)
        if block is None:
            continue
        index = index.reshape(-1, 3) - np.array([each.start for each in block], np.float32)
        for layer, goal in zip(labels.array, out, strict=True):
            goal[start : start + slab.shape[0]] = _Layer(layer[block]).at(index).reshape(slab.shape)
    return Volume(out, target.affine, labels.name, labels.meta)


def _needed(index: np.ndarray, shape: tuple[int, int, int]) -> tuple[slice, ...] | None:
    """Return the part of a source that positions lie in, with two voxels round it; None where they lie beside it."""
    block = []
    for axis, count in enumerate(shape):
        part = index[..., axis]
        if count == 1:  # a picture has no depth to leave
            block.append(slice(0, 1))
            continue
        low, high = max(0, math.floor(float(part.min())) - 2), min(count, math.ceil(float(part.max())) + 3)
        if low >= high:
            return None
        if high - low == 1:  # one voxel alone would count as a picture without depth
            low, high = max(0, low - 1), min(count, high + 1)
        block.append(slice(low, high))
    return tuple(block)


class _Layer:
    """One layer of labels, with a rim of background round what is labeled."""

    def __init__(self, array: np.ndarray) -> None:
        used = [np.flatnonzero(array.any(axis=tuple(n for n in range(3) if n != axis))) for axis in range(3)]
        self.is_empty = used[0].size == 0
        self.flat_axes = np.array([size == 1 for size in array.shape])
        if self.is_empty:
            self.values = np.zeros(1, array.dtype)
            return
        low = np.array([each[0] for each in used])
        high = np.array([each[-1] + 1 for each in used])
        rim = 2
        self.origin = low - rim
        part = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        mode = [(0, 0) if flat else (rim, rim) for flat in self.flat_axes]
        self.origin = np.where(self.flat_axes, low, self.origin)
        self.array = np.pad(part, mode)
        self.steps = np.array([self.array.shape[1] * self.array.shape[2], self.array.shape[2], 1])
        self.values = self.array.reshape(-1)
        self.mixed = self._mixed().reshape(-1)

    def _mixed(self) -> np.ndarray:
        """Return where the eight voxels from one on are not alike."""
        mixed = np.zeros(self.array.shape, bool)
        alike = self.array
        for axis in range(3):
            if self.array.shape[axis] > 1:
                first = tuple(slice(None, -1) if n == axis else slice(None) for n in range(3))
                after = tuple(slice(1, None) if n == axis else slice(None) for n in range(3))
                differ = alike[first] != alike[after]
                joined = mixed[first] | mixed[after] | differ
                mixed[first] = joined
        return mixed

    def at(self, index: np.ndarray) -> np.ndarray:
        """Return the label at each of the positions ``(N, 3)``."""
        out = np.zeros(len(index), self.values.dtype)
        if self.is_empty:
            return out
        position = index - self.origin.astype(np.float32)
        position[:, self.flat_axes] = 0
        base = np.floor(position).astype(np.int32)
        last = np.array(self.array.shape) - np.where(self.flat_axes, 1, 2)
        inside = ((base >= 0) & (base <= last)).all(axis=1)
        where = np.flatnonzero(inside)
        base = base[where]
        flat = base @ self.steps
        out[where] = self.values[flat]
        mixed = self.mixed[flat]
        if mixed.any():
            out[where[mixed]] = self._decided(position[where[mixed]] - base[mixed].astype(np.float32), flat[mixed])
        return out

    def _decided(self, share: np.ndarray, flat: np.ndarray) -> np.ndarray:
        labels, weights = [], []
        for i in (0, 1):
            for j in (0, 1):
                for k in (0, 1):
                    corner = np.array([i, j, k])
                    if (corner.astype(bool) & self.flat_axes).any():
                        continue
                    labels.append(self.values[flat + int(corner @ self.steps)])
                    weights.append(np.where(corner, share, 1 - share).prod(axis=1, dtype=np.float32))
        best = np.full(len(flat), -1.0, np.float32)
        winner = np.zeros(len(flat), self.values.dtype)
        for label in labels:
            score = sum((other == label) * weight for other, weight in zip(labels, weights, strict=True))
            ahead = score > best + _TIE
            tied = np.abs(score - best) <= _TIE
            ahead |= tied & (label != 0) & ((winner == 0) | (label < winner))
            best = np.where(ahead, np.maximum(score, best), best)
            winner = np.where(ahead, label, winner)
        return winner


def _slabs(grid: Grid) -> Iterator[tuple[int, Grid]]:
    thick = max(1, _SLAB // (grid.shape[1] * grid.shape[2]))
    for start in range(0, grid.shape[0], thick):
        affine = grid.affine.copy()
        affine[:3, 3] += start * affine[:3, 0]
        yield start, Grid((min(thick, grid.shape[0] - start), *grid.shape[1:]), affine)


def _copied(
    array: np.ndarray, index_map: np.ndarray | None, shape: tuple[int, int, int], fill: float
) -> np.ndarray | None:
    """Return the voxels where they only change their places: axes mirrored or shifted by whole voxels; else None."""
    if index_map is None:
        return None
    signs, shift = np.rint(np.diag(index_map)[:3]), np.rint(index_map[:3, 3])
    exact = np.eye(4)
    exact[:3, :3], exact[:3, 3] = np.diag(signs), shift
    reach = np.array([*shape, 1])
    if not np.isin(signs, (-1, 1)).all() or (np.abs(index_map - exact)[:3] @ reach).max() > _EXACT:
        return None
    out = np.full((len(array), *shape), fill, array.dtype)
    goal, source = [slice(None)], [slice(None)]
    for size, count, sign, start in zip(array.shape[1:], shape, signs.astype(int), shift.astype(int), strict=True):
        # Target voxels whose origin start + sign * n lies within the source.
        ends = sorted(((0 - start) * sign, (size - 1 - start) * sign))
        first, last = max(0, ends[0]), min(count - 1, ends[1])
        if first > last:
            return out
        begin, end = start + sign * first, start + sign * last
        goal.append(slice(first, last + 1))
        source.append(slice(begin, end + sign if end + sign >= 0 else None, sign))
    out[tuple(goal)] = array[tuple(source)]
    return out
