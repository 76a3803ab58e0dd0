"""How far images and labels of a case cover one another, each on a grid of its own."""

from __future__ import annotations

import numpy as np

from meddl.volume import Grid, Volume

_SAMPLES_PER_AXIS = 24
_CHUNK = 1 << 20
_EDGE = 0.5 + 1e-3  # a voxel reaches half of its edge around its center; headers are rounded


def covered_fraction(grid: Grid, by: Grid) -> float:
    """Return which fraction 0 to 1 of the space of ``grid`` lies within ``by``, as seen from points spread evenly."""
    counts = [min(n, _SAMPLES_PER_AXIS) for n in grid.shape]
    points = [
        (np.arange(count) + 0.5) * n / count - 0.5 for n, count in zip(grid.shape, counts, strict=True)
    ]  # centers of equal parts, in voxels
    index = np.stack(np.meshgrid(*points, indexing="ij")).reshape(3, -1)
    return float(_within(index, grid, by).mean())


def outside_fraction(labels: Volume, image: Grid) -> float:
    """Return which fraction 0 to 1 of the labeled voxels of ``labels`` ``(L, I, J, K)`` lies outside of ``image``."""
    foreground = labels.array.any(axis=0)
    flat = np.flatnonzero(foreground)
    if flat.size == 0:
        return 0.0
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in labels.shape], indexing="ij")).reshape(3, -1)
    if _within(corners, labels.grid, image).all():  # a box is within if its corners are
        return 0.0
    outside = 0
    for start in range(0, flat.size, _CHUNK):
        index = np.stack(np.unravel_index(flat[start : start + _CHUNK], foreground.shape))
        outside += int((~_within(index, labels.grid, image)).sum())
    return outside / flat.size


def is_same_grid(first: Grid, second: Grid) -> bool:
    """Say whether voxels of both lie at one place: to a hundredth of a voxel, since formats round differently."""
    return first.same_as(second, tol=0.01 * float(first.spacing.min()))


def _within(index: np.ndarray, grid: Grid, other: Grid) -> np.ndarray:
    """Say for each voxel index (3, N) of ``grid`` whether ``other`` covers its place."""
    matrix = np.linalg.inv(other.affine) @ grid.affine
    there = matrix[:3, :3] @ index + matrix[:3, 3:]
    limits = np.array(other.shape)[:, np.newaxis] - 1
    return ((there >= -_EDGE) & (there <= limits + _EDGE)).all(axis=0)
