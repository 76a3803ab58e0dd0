"""The grid that a case is brought to: turned, straightened, cropped, with other voxels."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from meddl.datasets.geometry.voxel_map import SAME_VOXELS
from meddl.datasets.options import GridOptions
from meddl.errors import UsageError
from meddl.inference.shear import straight_grid
from meddl.volume import Grid, is_sheared

_MAX_VOXELS = 1 << 31
_LETTERS = ("RL", "AP", "SI")

Box = tuple[tuple[int, int], ...]
"""First index and the one after the last, along I, J and K."""


def check_grid_options(options: GridOptions) -> None:
    """Find out, before any image is read, whether the choices make sense.

    Raises:
        UsageError: they do not.
    """
    if options.orientation and not _is_code(options.orientation):
        raise UsageError(
            f"'{options.orientation}' is no orientation. Give three letters, one each of R or L, A or P and S or I, "
            "for instance RAS."
        )
    spacing = options.spacing_mm
    if spacing and (len(spacing) not in (1, 3) or not all(math.isfinite(each) and each >= 0 for each in spacing)):
        raise UsageError(
            "The spacing must be one or three lengths in mm along the image's axes; 0 leaves an axis as it is."
        )
    if not (math.isfinite(options.margin_mm) and options.margin_mm >= 0):
        raise UsageError(f"The margin must be a length in mm from 0 on, not {options.margin_mm:g}.")
    if options.crop not in ("none", "foreground", "label", "roi"):
        raise UsageError(f"{options.crop!r} is nothing to crop to. Choose one of: none, foreground, label, roi.")
    if options.crop == "roi":
        roi = options.roi
        if len(roi) != 6 or not all(map(math.isfinite, roi)) or any(roi[n] > roi[n + 3] for n in range(3)):
            raise UsageError("The region must be its lowest and its highest R, A, S in mm: six numbers.")


def oriented(grid: Grid, code: str) -> Grid:
    """Return the grid of the very same voxels with its axes turned and mirrored towards ``code``; "" leaves it."""
    if not code or code == grid.orientation:
        return grid
    axes = [next(n for n, letter in enumerate(grid.orientation) if _pair(letter) == _pair(wanted)) for wanted in code]
    index = np.zeros((4, 4))
    index[3, 3] = 1
    for new, (old, wanted) in enumerate(zip(axes, code, strict=True)):
        mirrored = grid.orientation[old] != wanted
        index[old, new] = -1 if mirrored else 1
        index[old, 3] = grid.shape[old] - 1 if mirrored else 0
    return Grid((grid.shape[axes[0]], grid.shape[axes[1]], grid.shape[axes[2]]), grid.affine @ index)


def straightened(grid: Grid) -> Grid:
    """Return a grid with right angles, which files and networks need.

    Where that moves no voxel by more than the tolerance for equal grids, the voxels are the very same; else (a tilted
    gantry) it is another grid that covers all of this one.
    """
    if not is_sheared(grid.affine):
        return grid
    left, _, right = np.linalg.svd(grid.affine[:3, :3] / grid.spacing)
    affine = np.eye(4)
    affine[:3, :3] = (left @ right) * grid.spacing
    center = (np.array(grid.shape) - 1) / 2
    affine[:3, 3] = grid.affine[:3, :3] @ center + grid.affine[:3, 3] - affine[:3, :3] @ center
    near = Grid(grid.shape, affine)
    moved = np.linalg.inv(grid.affine[:3, :3]) @ (near.corners() - grid.corners())
    return near if np.abs(moved).max() <= SAME_VOXELS else straight_grid(grid)


def spaced(grid: Grid, spacing_mm: tuple[float, ...]) -> Grid:
    """Return a grid with other voxels that covers all of ``grid``, centered on it.

    Args:
        spacing_mm: along the axes, or one for all; 0 leaves an axis. Axes of a single voxel stay (pictures).

    Raises:
        UsageError: there would be too many voxels.
    """
    if not spacing_mm:
        return grid
    wanted = spacing_mm if len(spacing_mm) == 3 else (spacing_mm[0],) * 3
    affine, shape = grid.affine.copy(), list(grid.shape)
    for axis, (count, old, new) in enumerate(zip(grid.shape, grid.spacing, wanted, strict=True)):
        # The same, but for what a file's header rounds: leave it, so that the voxels stay.
        if count == 1 or new == 0 or count * abs(old / new - 1) <= SAME_VOXELS:
            continue
        shape[axis] = max(1, math.ceil(count * old / new - 0.01))
        affine[:3, axis] *= new / old
        # The middle stays: both ends reach equally far beyond.
        affine[:3, 3] += grid.affine[:3, axis] * (count - 1) / 2 - affine[:3, axis] * (shape[axis] - 1) / 2
    if math.prod(shape) > _MAX_VOXELS:
        told = " x ".join(map(str, shape))
        raise UsageError(f"With this spacing an image would have {told} voxels, too many. Choose a larger spacing.")
    return Grid((shape[0], shape[1], shape[2]), affine)


def cropped(grid: Grid, box: Box) -> Grid:
    """Return the part of a grid."""
    shift = np.eye(4)
    shift[:3, 3] = [low for low, _ in box]
    shape = [high - low for low, high in box]
    return Grid((shape[0], shape[1], shape[2]), grid.affine @ shift)


def box_of_points(grid: Grid, points: np.ndarray, *, centers: bool) -> Box | None:
    """Return the part of ``grid`` that holds the box of ``points`` ``(3, n)`` in RAS mm; None if it lies outside.

    Args:
        centers: take the voxels whose centers lie between the points; else those that reach between them.
    """
    index = np.linalg.inv(grid.affine)[:3] @ np.vstack([points, np.ones(points.shape[1])])
    low, high = index.min(axis=1), index.max(axis=1)
    if centers:
        first, last = np.ceil(low - 1e-6), np.floor(high + 1e-6)
    else:
        first, last = np.floor(low - 0.5 + SAME_VOXELS) + 1, np.ceil(high + 0.5 - SAME_VOXELS) - 1
    first, last = np.maximum(first, 0), np.minimum(last, np.array(grid.shape) - 1)
    if (first > last).any():
        return None
    return tuple((int(a), int(b) + 1) for a, b in zip(first, last, strict=True))


def edges_of(grid: Grid, box: Box) -> np.ndarray:
    """Return the RAS mm coordinates (3, 8) of the outer corners of a part of ``grid``."""
    corners = np.array(list(product(*((low - 0.5, high - 0.5) for low, high in box)))).T
    return grid.affine[:3, :3] @ corners + grid.affine[:3, 3:]


def with_margin(grid: Grid, box: Box, margin_mm: float) -> Box:
    """Return the box with a margin on each side, as far as the grid reaches."""
    more = [math.ceil(margin_mm / length - 1e-6) for length in grid.spacing]
    sides = zip(box, more, grid.shape, strict=True)
    return tuple((max(0, low - by), min(count, high + by)) for (low, high), by, count in sides)


def union(boxes: list[Box]) -> Box:
    """Return the box round all of them."""
    return tuple((min(low for low, _ in sides), max(high for _, high in sides)) for sides in zip(*boxes, strict=True))


def _is_code(code: str) -> bool:
    return len(code) == 3 and sorted(_pair(letter) for letter in code) == sorted(_LETTERS)


def _pair(letter: str) -> str:
    return next((pair for pair in _LETTERS if letter in pair), "")
