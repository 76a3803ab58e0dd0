"""The box around what a coarse network found, for a fine network to look into.

After deepbet (Fisch et al. 2024): the box of the slices with enough foreground, enlarged by a margin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meddl.errors import ModelError


@dataclass(frozen=True)
class Box:
    """Voxel indices ``start <= index < end`` along each axis of a grid."""

    start: tuple[int, int, int]
    end: tuple[int, int, int]


def box_around(mask: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int], target_affine: np.ndarray, *,
               margin: float, min_fraction: float) -> Box:  # fmt: skip
    """Return the box around ``mask``, in voxels of another grid whose axes run the same way.

    Args:
        mask: ``(i, j, k)``, nonzero is foreground.
        affine: 4x4, the mask's voxel index to RAS mm.
        shape: of the target grid.
        target_affine: 4x4, the target's voxel index to RAS mm.
        margin: added on each side, as a fraction of the box's size.
        min_fraction: a slice counts when more than this fraction of it is foreground.

    Raises:
        ModelError: nothing was found, or the axes of the two grids run differently.
    """
    foreground = np.asarray(mask) != 0
    to_target = np.linalg.inv(target_affine) @ affine
    steps = np.diagonal(to_target)[:3]
    if np.any(steps <= 0) or np.abs(to_target[:3, :3] - np.diag(steps)).max() > 1e-3 * steps.min():
        raise ModelError("The two stages of this cascade turn the image differently: its configs do not fit together.")
    start, end = [], []
    for axis in range(3):
        others = tuple(each for each in range(3) if each != axis)
        slices = np.flatnonzero(foreground.mean(axis=others) > min_fraction)
        if slices.size == 0:
            raise ModelError(
                "The model found nothing in this image. Check that it is of the kind the model is made for "
                "and shows the whole region."
            )
        # Edges, not centers: voxel n reaches from n - 0.5 to n + 0.5; the target's edge 0 lies at index -0.5.
        scale, offset = to_target[axis, axis], to_target[axis, 3]
        low = scale * (slices[0] - 0.5) + offset + 0.5
        high = scale * (slices[-1] + 0.5) + offset + 0.5
        center = np.rint((low + high) / 2)
        size = np.rint((1 + 2 * margin) * (high - low))
        start.append(max(0, int(center - size / 2)))
        end.append(min(shape[axis], int(center + size / 2)))
    return Box(tuple(start), tuple(end))  # type: ignore[arg-type]
