"""Boxes of the patient as boxes of voxels: a detector of images knows no other axes than the image's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meddl.inference.prediction import Box
from meddl.volume import Grid

_SAME = 1e-6


@dataclass(frozen=True, eq=False)
class PlacedBox:
    """A box on the grid of an image.

    Attributes:
        label: what it holds.
        voxel: (6,) lowest and highest I, J, K; voxel centers are whole numbers, so that the first voxel reaches from
            -0.5 to 0.5. It is the smallest box along the voxel axes that contains the part of the box which lies in
            the image.
        world: (6,) lowest and highest R, A, S in mm: the smallest box along them that contains the whole box.
        grown: share of ``voxel`` that lies beyond the box, which is 0 where its edges run along the voxel axes, and for
            flat boxes.
        cut: a part of the box lies outside of the image.
    """

    label: str
    voxel: np.ndarray
    world: np.ndarray
    grown: float
    cut: bool


def place_box(box: Box, grid: Grid) -> PlacedBox | None:
    """Return where a box is on a grid, or None if it lies outside of it.

    Example:
        >>> grid = Grid((10, 10, 10), np.diag([2.0, 2.0, 2.0, 1.0]))
        >>> place_box(Box("nodule", 1.0, np.array([4.0, 4.0, 4.0]), np.array([4.0, 4.0, 4.0])), grid).voxel.tolist()
        [1.0, 1.0, 1.0, 3.0, 3.0, 3.0]
    """
    corners = box.corners()
    inverse = np.linalg.inv(grid.affine)
    index = corners @ inverse[:3, :3].T + inverse[:3, 3]
    low, high = index.min(axis=0), index.max(axis=0)
    flat = high - low < _SAME  # drawn on a slice: as thick as the voxel it lies in
    low, high = np.where(flat, np.rint(low) - 0.5, low), np.where(flat, np.rint(high) + 0.5, high)
    first, last = np.full(3, -0.5), np.array(grid.shape) - 0.5
    inside_low, inside_high = np.maximum(low, first), np.minimum(high, last)
    if (inside_high <= inside_low).any():
        return None
    volume = float(np.prod(box.size)) / abs(float(np.linalg.det(grid.affine[:3, :3])))
    grown = 0.0 if flat.any() else 1.0 - volume / float(np.prod(high - low))
    return PlacedBox(
        box.label,
        np.concatenate([inside_low, inside_high]),
        np.concatenate([corners.min(axis=0), corners.max(axis=0)]),
        grown if grown > _SAME else 0.0,
        bool((low < first - _SAME).any() or (high > last + _SAME).any()),
    )


def is_straight(affine: np.ndarray) -> bool:
    """Say whether the voxel axes run along R, A and S, in any order and direction.

    Only then may two opposite corners of a box be moved from one space to the other, as MONAI's
    ``AffineBoxToImageCoordinated`` does.
    """
    axes = np.abs(affine[:3, :3]) / np.abs(affine[:3, :3]).max(axis=0)
    return bool(((axes > 1 - _SAME) | (axes < _SAME)).all())


def to_center_and_size(corners: np.ndarray) -> np.ndarray:
    """Return MONAI's "cccwhd" of its "xyzxyz": center, then lengths."""
    low, high = corners[:3], corners[3:]
    return np.concatenate([(low + high) / 2, high - low])
