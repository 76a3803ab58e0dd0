"""Several images of one patient as the channels of one: brought to the first one's grid through world coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from meddl.errors import ModelError
from meddl.volume import Grid, Volume

_SAMPLES_PER_AXIS = 24
LITTLE_OVERLAP = 0.5
"""Below it a note is written: part of what the network sees is then padding."""


@dataclass(frozen=True, eq=False)
class Combined:
    """The image of all channels, and what should be said about how it was made."""

    volume: Volume
    notes: tuple[str, ...]


def overlap_fraction(grid: Grid, other: Grid) -> float:
    """Return which part of ``grid`` lies within ``other``, 0 to 1, to about one percent.

    Needs numpy only and takes no time: panels call it while the user chooses.

    Example:
        >>> unit = Grid((10, 10, 10), np.eye(4))
        >>> moved = np.eye(4)
        >>> moved[0, 3] = 5.0
        >>> overlap_fraction(unit, Grid((10, 10, 10), moved))
        0.5
    """
    axes = [(np.arange(_SAMPLES_PER_AXIS) + 0.5) / _SAMPLES_PER_AXIS * size - 0.5 for size in grid.shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    to_other = np.linalg.inv(other.affine) @ grid.affine
    index = points @ to_other[:3, :3].T + to_other[:3, 3]
    inside = ((index >= -0.5) & (index <= np.array(other.shape) - 0.5)).all(axis=1)
    return float(inside.mean())


def combine_channels(volumes: Sequence[Volume], names: Sequence[str] = ()) -> Combined:
    """Return one volume with the channels of all, on the grid of the first.

    The others are interpolated linearly; where they do not reach they have their least value.

    Args:
        volumes: at least one; each ``(C, I, J, K)``.
        names: what to call them in messages, as many as volumes.

    Raises:
        ModelError: one does not overlap the first at all.
    """
    first, notes, arrays = volumes[0], [], [volumes[0].array]
    titles = [*names, *(f"image {index + 1}" for index in range(len(names), len(volumes)))]
    for volume, title in zip(volumes[1:], titles[1:], strict=True):
        if volume.grid.same_as(first.grid):
            arrays.append(volume.array)
            continue
        fraction = overlap_fraction(first.grid, volume.grid)
        if fraction == 0.0:
            raise ModelError(
                f"The images for {titles[0]} and {title} do not overlap: they show different places. Choose images of "
                "the same patient and visit, or register them first."
            )
        if fraction < LITTLE_OVERLAP:
            notes.append(f"The image for {title} covers only {fraction:.0%} of the one for {titles[0]}.")
        arrays.append(_resampled(volume, first.grid))
        notes.append(f"The image for {title} was resampled to the grid of the one for {titles[0]}.")
    if len(arrays) == 1:
        return Combined(first, tuple(notes))
    return Combined(first.with_array(np.concatenate([array.astype(np.float32) for array in arrays])), tuple(notes))


def _resampled(volume: Volume, grid: Grid) -> np.ndarray:
    import torch

    from meddl.inference.restore import restore_values

    array = torch.from_numpy(volume.array.astype(np.float32))
    channels = [
        restore_values(array[index : index + 1], volume.affine, grid, fill=float(array[index].min()))
        for index in range(volume.channels)
    ]
    return np.concatenate(channels)
