"""Images whose voxel axes are not at right angles (CT with a tilted gantry, sheared transforms).

Networks see an array as if its axes were at right angles, so such an image is resampled to a straight grid first.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from meddl.volume import Grid, Volume, resample_to

SHEAR_TOLERANCE = 1e-3
"""Below it a shear moves no voxel of a usual image by a whole one."""


def straight_grid(grid: Grid) -> Grid:
    """Return the grid with right angles that covers ``grid``; its first axis and the plane of its first two stay."""
    columns = grid.affine[:3, :3]
    first = columns[:, 0] / np.linalg.norm(columns[:, 0])
    second = columns[:, 1] - first * (first @ columns[:, 1])
    second /= np.linalg.norm(second)
    third = np.cross(first, second)
    third *= np.sign(third @ columns[:, 2])
    directions = np.stack([first, second, third], axis=1)
    spacing = np.abs(np.einsum("ij,ij->j", directions, columns))
    # All eight outer corners, so that no voxel's edge is lost.
    corners = np.array(list(product(*((-0.5, size - 0.5) for size in grid.shape))))
    along = (corners @ columns.T + grid.affine[:3, 3]) @ directions
    low, high = along.min(axis=0), along.max(axis=0)
    shape = np.maximum(1, np.ceil((high - low) / spacing - 1e-6)).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = directions @ (low + spacing / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def without_shear(volume: Volume) -> Volume:
    """Return ``volume`` resampled linearly to :func:`straight_grid`; outside it the image's least value."""
    return resample_to(volume, straight_grid(volume.grid), default=float(np.nanmin(volume.array)))
