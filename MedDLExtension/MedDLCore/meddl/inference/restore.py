"""From the network's grid back to the image's: scores in, a label map on the wanted grid out.

Both grids are known by their affines, so one map of voxel indices holds whatever the preprocessing did (reorient,
resample, resize, crop, pad). Scores are interpolated before the decision, never labels after it, except where the model
asks for nearest neighbor, in which case the two orders agree.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

    from meddl.volume import Grid

Interpolation = Literal["linear", "nearest"]

_SLAB_VOXELS = 4_000_000
"""Voxels interpolated at a time: keeps the extra memory at some tens of megabytes for any number of classes."""


def restore_labels(
    scores: torch.Tensor,
    source_affine: np.ndarray,
    grid: Grid,
    *,
    threshold: float = 0.5,
    interpolation: Interpolation = "linear",
) -> np.ndarray:
    """Return the label map of ``scores`` on ``grid``: of several channels the largest wins (the first is background).

    Args:
        scores: ``(C, i, j, k)`` on the network's grid.
        source_affine: 4x4, the network grid's voxel index to RAS mm.
        grid: where the labels are wanted.
        threshold: for a single channel only: label 1 is where it is reached.
        interpolation: of the scores.

    Returns:
        ``(I, J, K)`` uint8, or uint16 for more than 255 labels; 0 outside the network's field of view.
    """
    index_map = np.linalg.inv(source_affine) @ grid.affine
    axes = _axis_aligned(index_map)
    if axes is None:
        return _restore_oblique(scores, index_map, grid.shape, threshold, interpolation)
    return _restore_separable(scores, index_map, axes, grid.shape, threshold, interpolation)


def _axis_aligned(index_map: np.ndarray, tolerance: float = 1e-4) -> tuple[int, int, int] | None:
    """Return, for each target axis, the source axis it runs along; None if the grids are turned or sheared."""
    linear = np.abs(index_map[:3, :3])
    largest = linear.max(axis=0)
    if np.any(np.sort(linear, axis=0)[1] > tolerance * largest):
        return None
    axes = tuple(int(axis) for axis in linear.argmax(axis=0))
    return axes if sorted(axes) == [0, 1, 2] else None  # type: ignore[return-value]


def _restore_separable(
    scores: torch.Tensor,
    index_map: np.ndarray,
    axes: tuple[int, int, int],
    shape: tuple[int, int, int],
    threshold: float,
    interpolation: Interpolation,
) -> np.ndarray:
    import torch

    scores = scores.permute(0, *(1 + axis for axis in axes))
    sizes = scores.shape[1:]
    # Coordinates in the source along each target axis, and which of them lie in the source's field of view.
    coordinates, inside = [], []
    for target_axis, source_axis in enumerate(axes):
        step, start = index_map[source_axis, target_axis], index_map[source_axis, 3]
        along = start + step * np.arange(shape[target_axis])
        within = np.flatnonzero((along >= -0.5 - 1e-6) & (along <= sizes[target_axis] - 0.5 + 1e-6))
        inside.append(within)
        coordinates.append(np.clip(along[within], 0, sizes[target_axis] - 1))
    labels = np.zeros(shape, dtype=_label_type(scores.shape[0]))
    if any(within.size == 0 for within in inside):
        return labels
    # The field of view is one box, for indices along an axis are consecutive.
    box = tuple(slice(int(within[0]), int(within[-1]) + 1) for within in inside)
    if interpolation == "nearest":
        decided = _decide(_margins(scores, threshold))
        for axis, along in enumerate(coordinates):
            # Half-way coordinates go up, as in torch's "nearest-exact".
            index = torch.from_numpy(np.minimum(np.floor(along + 0.5 + 1e-6).astype(np.int64), sizes[axis] - 1))
            decided = decided[(slice(None),) * axis + (index.to(decided.device),)]
        labels[box] = decided.cpu().numpy().astype(labels.dtype)
        return labels
    scores = _margins(scores, threshold)
    rows = max(1, _SLAB_VOXELS // max(1, len(coordinates[1]) * len(coordinates[2])))
    out = labels[box]
    for start in range(0, len(coordinates[0]), rows):
        slab = [coordinates[0][start : start + rows], coordinates[1], coordinates[2]]
        out[start : start + rows] = _decide_interpolated(
            scores, partial(_interpolate_separable, coordinates=slab)
        )
    return labels


def _restore_oblique(
    scores: torch.Tensor,
    index_map: np.ndarray,
    shape: tuple[int, int, int],
    threshold: float,
    interpolation: Interpolation,
) -> np.ndarray:
    import torch
    from torch.nn.functional import grid_sample

    labels = np.zeros(shape, dtype=_label_type(scores.shape[0]))
    reduced = _margins(scores, threshold)
    sizes = torch.tensor(scores.shape[1:], dtype=torch.float32, device=scores.device)
    linear = torch.tensor(index_map[:3, :3], dtype=torch.float32, device=scores.device)
    offset = torch.tensor(index_map[:3, 3], dtype=torch.float32, device=scores.device)
    axis = [torch.arange(size, dtype=torch.float32, device=scores.device) for size in shape]
    rows = max(1, _SLAB_VOXELS // max(1, shape[1] * shape[2]))
    mode = "bilinear" if interpolation == "linear" else "nearest"
    for start in range(0, shape[0], rows):
        target = torch.stack(torch.meshgrid(axis[0][start : start + rows], axis[1], axis[2], indexing="ij"), dim=-1)
        source = target @ linear.T + offset
        inside = ((source >= -0.5) & (source <= sizes - 0.5)).all(dim=-1)
        # grid_sample wants -1..1 and the last axis first.
        where = (2 * (source + 0.5) / sizes - 1).flip(-1)[None]

        def sample(channel: torch.Tensor, where: torch.Tensor = where) -> torch.Tensor:
            return grid_sample(channel[None, None].float(), where, mode, "border", align_corners=False)[0, 0]

        slab = _decide_interpolated(reduced, sample)
        labels[start : start + rows] = np.where(inside.cpu().numpy(), slab, 0)
    return labels


def _label_type(channels: int) -> type[np.unsignedinteger]:
    return np.uint8 if channels <= 256 else np.uint16


def _margins(scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return scores such that a single channel is label 1 where it is above zero.

    Two competing channels become their difference: interpolation is linear, so half of it can be saved.
    """
    if scores.shape[0] == 2:
        return scores[1:] - scores[:1]
    if scores.shape[0] == 1:
        # "Reached" includes equality, which "above zero" does not.
        return scores - float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
    return scores


def _decide(scores: torch.Tensor) -> torch.Tensor:
    """Return the labels of scores ``(C, ...)``; on a tie the first channel wins."""
    if scores.shape[0] == 1:
        return scores[0] > 0
    return scores.argmax(dim=0)


def _decide_interpolated(
    scores: torch.Tensor, interpolate: Callable[[torch.Tensor], torch.Tensor]
) -> np.ndarray:
    """Interpolate one channel after the other and keep the running winner: memory does not grow with the classes."""
    import torch

    best = interpolate(scores[0])
    if scores.shape[0] == 1:
        return (best > 0).cpu().numpy().astype(np.uint8)
    winner = torch.zeros(best.shape, dtype=torch.int16, device=best.device)
    for channel in range(1, scores.shape[0]):
        value = interpolate(scores[channel])
        winner[value > best] = channel
        best = torch.maximum(best, value)
    return winner.cpu().numpy().astype(_label_type(scores.shape[0]))


def _interpolate_separable(channel: torch.Tensor, coordinates: list[np.ndarray]) -> torch.Tensor:
    """Interpolate ``(i, j, k)`` linearly at the outer product of three lists of coordinates."""
    value = channel.float()
    # The axis that shrinks most goes first: the others then have less to do.
    for axis in sorted(range(3), key=lambda axis: len(coordinates[axis]) / channel.shape[axis]):
        weights = _interpolation_matrix(coordinates[axis], channel.shape[axis]).to(value.device)
        if axis == 0:
            value = (weights @ value.reshape(value.shape[0], -1)).reshape(-1, *value.shape[1:])
        elif axis == 1:
            value = weights @ value
        else:
            value = value @ weights.T
    return value


def _interpolation_matrix(coordinates: np.ndarray, size: int) -> torch.Tensor:
    # A product with a matrix of weights beats gathering neighbors by index, on the CPU by far.
    import torch

    low = np.floor(coordinates).astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    weight = (coordinates - low).astype(np.float32)
    matrix = np.zeros((len(coordinates), size), dtype=np.float32)
    rows = np.arange(len(coordinates))
    matrix[rows, low] = 1 - weight
    matrix[rows, high] += weight
    return torch.from_numpy(matrix)
