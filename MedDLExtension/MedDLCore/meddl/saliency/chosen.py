"""Where in the patient a target lies: its place on the network's grid, and in words."""

from __future__ import annotations

import numpy as np

from meddl.errors import UsageError
from meddl.inference.words import place_in_words
from meddl.saliency.placing import mask_on
from meddl.saliency.target import Target
from meddl.volume import Grid


def chosen_part(target: Target, grid: Grid) -> np.ndarray | None:
    """Return the place that the user chose, on the network's grid; None where nothing was chosen."""
    if target.position is not None:
        mask = np.zeros(grid.shape, dtype=bool)
        mask[_index(target.position, grid)] = True
        return mask
    if target.region is None:
        return None
    if not (target.region.array > 0).any():
        raise UsageError("The chosen region is empty. Choose another one.")
    mask = mask_on(target.region, grid)
    if not mask.any():
        raise UsageError("The chosen region lies outside of what the network sees. Choose another one.")
    return mask


def place_of(target: Target) -> str:
    """Return where the target is, in words that tell it from other places; "" for all of it."""
    if target.position is not None:
        return f" at {place_in_words(np.asarray(target.position))}"
    if target.region is None:
        return ""
    region = target.region
    index = np.argwhere(region.array[0] > 0)
    middle = region.affine[:3, :3] @ index.mean(axis=0) + region.affine[:3, 3]
    return f" in {len(index) * region.voxel_volume_ml:.3g} ml round {place_in_words(middle)}"


def _index(position: tuple[float, ...], grid: Grid) -> tuple[int, int, int]:
    index = nearest_index(position, grid)
    if (index < 0).any() or (index >= grid.shape).any():
        raise UsageError("The chosen point lies outside of what the network sees. Choose another one.")
    return int(index[0]), int(index[1]), int(index[2])


def nearest_index(position: tuple[float, ...], grid: Grid) -> np.ndarray:
    """Return the index ``(3,)`` of the voxel whose middle is nearest, which may lie beyond the grid's ends."""
    index: np.ndarray = np.rint(np.linalg.inv(grid.affine) @ [*position, 1.0])[:3].astype(int)
    return index
