"""Sums along rays through a voxel grid, slice by slice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from meddl.volume import Volume


def along_rays(
    volume: Volume,
    channel: int,
    points: np.ndarray,
    directions: np.ndarray,
    read: Callable[[np.ndarray], np.ndarray],
    add: Callable[[np.ndarray, np.ndarray, np.ndarray], None],
    *,
    linear: bool,
    each_slice: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Walk along rays from one voxel slice to the next, and add up what they meet.

    Joseph 1982, An improved algorithm for reprojecting rays through pixel images, IEEE Transactions on Medical Imaging
    1:192: each ray steps along the voxel axis that it crosses most slices of, and takes the value between the voxels of
    each slice. The image ends with the outer faces of its voxels. Any affine will do.

    Args:
        points, directions: (N, 3) RAS mm; of unit length.
        read: what is summed of a slice of the image, once for all rays.
        add: takes numbers of rays, values and the mm that they stand for; no ray twice in a call.
        linear: between voxels; else the nearest voxel's.
        each_slice: is told the fraction that is done.
    """
    array = volume.array[channel]
    slices = [np.moveaxis(array, axis, 0) for axis in range(3)]  # views
    inverse = np.linalg.inv(volume.affine)
    starts = points @ inverse[:3, :3].T + inverse[:3, 3]
    steps = directions @ inverse[:3, :3].T
    main = np.abs(steps).argmax(axis=1)
    groups = [(axis, np.flatnonzero(main == axis)) for axis in range(3)]
    total = sum(array.shape[axis] for axis, rays in groups if rays.size)
    done = 0
    for axis, rays in groups:
        if not rays.size:
            continue
        wide = [each for each in range(3) if each != axis]
        start, step = starts[rays], steps[rays]
        length = (1.0 / np.abs(step[:, axis])).astype(np.float32)
        slope = step[:, wide] / step[:, [axis]]
        zero = start[:, wide] - start[:, [axis]] * slope
        zero, slope = zero.astype(np.float32), slope.astype(np.float32)
        rows, columns = (array.shape[each] for each in wide)
        for index in range(array.shape[axis]):
            each_slice((done + index) / total)
            i, j = zero[:, 0] + index * slope[:, 0], zero[:, 1] + index * slope[:, 1]
            inside = np.flatnonzero((i >= -0.5) & (i < rows - 0.5) & (j >= -0.5) & (j < columns - 0.5))
            if not inside.size:
                continue
            plane = read(slices[axis][index])
            at = (i[inside], j[inside])
            values = _between(plane, *at) if linear else _nearest(plane, *at)
            add(rays[inside], values, length[inside])
        done += array.shape[axis]


def _between(plane: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    rows, columns = plane.shape
    i, j = np.clip(i, 0, rows - 1), np.clip(j, 0, columns - 1)
    first_i, first_j = i.astype(np.int32), j.astype(np.int32)
    share_i, share_j = i - first_i, j - first_j
    # Of the last row there is no next one; its share is 0.
    down, right = (first_i < rows - 1) * np.int32(columns), (first_j < columns - 1).astype(np.int32)
    flat, at = plane.ravel(), first_i * np.int32(columns) + first_j
    upper = flat[at] * (1 - share_j) + flat[at + right] * share_j
    lower = flat[at + down] * (1 - share_j) + flat[at + down + right] * share_j
    mixed: np.ndarray = upper + (lower - upper) * share_i
    return mixed


def _nearest(plane: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    rows, columns = plane.shape
    at = np.clip(np.floor(i + 0.5), 0, rows - 1).astype(np.int32) * np.int32(columns)
    at += np.clip(np.floor(j + 0.5), 0, columns - 1).astype(np.int32)
    found: np.ndarray = plane.ravel()[at]
    return found
