"""Numbers (probabilities, entropy, an image) from the network's grid to the image's, by linear interpolation."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from meddl.inference.index_map import AxisMap, axis_maps
from meddl.inference.oblique import block_of

if TYPE_CHECKING:
    import torch

    from meddl.volume import Grid


def restore_values(
    array: np.ndarray | torch.Tensor, source_affine: np.ndarray, grid: Grid, fill: float = 0.0
) -> np.ndarray:
    """Return ``array`` interpolated on ``grid``.

    Args:
        array: ``(C, i, j, k)`` on the network's grid.
        source_affine: 4x4, the network grid's voxel index to RAS mm.
        grid: where the numbers are wanted.
        fill: outside the network's field of view, which ends half a voxel beyond its outer voxel centers.

    Returns:
        ``(C, I, J, K)`` float32.
    """
    import torch

    values = array if isinstance(array, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(array))
    values = values.detach().cpu()
    index_map = np.linalg.inv(source_affine) @ grid.affine
    out = np.full((values.shape[0], *grid.shape), fill, dtype=np.float32)
    axes = axis_maps(index_map, tuple(values.shape[1:]), grid.shape)
    for channel, target in zip(values, out, strict=True):
        if axes is None:
            _oblique(channel, index_map, target)
        else:
            _parallel(channel, axes, target)
    return out


def _parallel(channel: torch.Tensor, axes: tuple[AxisMap, ...], out: np.ndarray) -> None:
    import torch

    view = out.transpose([axis.target for axis in axes])[tuple(axis.inside for axis in axes)]
    if not view.size:
        return
    value = channel.float()
    # The axis that shrinks most goes first: the others then have less to do.
    for number in sorted(range(3), key=lambda number: len(axes[number]) / channel.shape[number]):
        axis = axes[number]
        weight = torch.from_numpy(axis.weight).reshape([-1 if each == number else 1 for each in range(3)])
        low = value.index_select(number, torch.from_numpy(axis.low))
        if axis.weight.any():
            high = value.index_select(number, torch.from_numpy(axis.high))
            low.mul_(1 - weight).addcmul_(high, weight)
        value = low
    view[...] = value.numpy()


def _oblique(channel: torch.Tensor, index_map: np.ndarray, out: np.ndarray) -> None:
    from torch.nn.functional import grid_sample

    for corner in product(*(range(0, size, 32) for size in out.shape)):
        target = tuple(slice(at, min(at + 32, size)) for at, size in zip(corner, out.shape, strict=True))
        found = block_of(channel[None], target, index_map)
        if found is None:
            continue
        block, where, inside = found
        sampled = grid_sample(block[None].float(), where, "bilinear", "border", align_corners=False)[0, 0]
        out[target] = np.where(inside, sampled.numpy(), out[target])
