"""The winning class at every voxel of a finer or coarser grid, from classes that can win there only.

Linear interpolation never leaves the range of the values it starts from. So within a tile of the network's grid a class
whose largest score is below another one's least cannot win anywhere, and need not be interpolated; where one class is
left, nothing need be. The answer is that of interpolating all classes and taking the largest, the first on a tie.

What "interpolating" is, to the bit: in float32, along one axis after the other in a fixed order,
``low * (1 - weight) + high * weight``, each product and sum rounded. It does not depend on how tiles are cut, and differs
from ``torch.nn.functional.interpolate`` by rounding only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from meddl.inference.index_map import AxisMap

TILE = (8, 32, 32)
"""In voxels of the network's grid: small ones are pruned better, large ones cost fewer calls."""

ROUNDING = 4e-6
"""By which share rounding could carry an interpolated score beyond its tile's range, amply."""


@dataclass(frozen=True, eq=False)
class Along:
    """Target voxels along one source axis: for each, its two neighbors in a block and the weight of the second."""

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, axis: AxisMap, chosen: slice = slice(None), base: int = 0) -> Along:
        """Return some of an axis map's voxels, for a block that begins at source index ``base``."""
        return cls(axis.low[chosen] - base, axis.high[chosen] - base, axis.weight[chosen])

    def tiles(self, size: int) -> Iterator[tuple[slice, slice, Along]]:
        """Yield (target range, block range, the same within the block's range) for tiles of ``size`` block voxels."""
        if not len(self.low):
            return
        numbers = self.low // size
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1), len(numbers)]
        for begin, end in zip(edges[:-1], edges[1:], strict=True):
            low, high = self.low[begin:end], self.high[begin:end]
            first, last = int(low.min()), int(high.max())
            part = Along(low - first, high - first, self.weight[begin:end])
            yield slice(int(begin), int(end)), slice(first, last + 1), part

    @property
    def exact(self) -> bool:
        """Whether all voxels lie on voxels of the block."""
        return not self.weight.any()


Cell = tuple[Along, Along, Along]


def largest_channel(
    block: torch.Tensor, along: Cell, order: tuple[int, ...], out: np.ndarray, *, prune: bool = True
) -> None:
    """Write the number of the channel with the largest interpolated score to ``out``.

    Args:
        block: ``(C, i, j, k)`` float32 or float16, two channels or more.
        along: the target voxels along each of the block's axes.
        order: in which the axes are interpolated; rounding depends on it.
        out: of the target voxels' shape, an integer type.
        prune: leave out classes that cannot win; the answer is the same.
    """
    import torch

    for target, source, parts in _tiles(along):
        tile = block[(slice(None), *source)]
        if prune:
            least, most = extremes(tile)
            bar = least.max()
            kept = torch.nonzero(most >= bar - ROUNDING * (bar.abs() + most.abs()))[:, 0].tolist()
        else:
            kept = list(range(block.shape[0]))
        if len(kept) == 1:
            out[target] = kept[0]
            continue
        best = interpolated(tile[kept[0]], parts, order)
        winner = torch.full(best.shape, kept[0], dtype=torch.int16, device=block.device)
        for channel in kept[1:]:
            value = interpolated(tile[channel], parts, order)
            winner.masked_fill_(value > best, channel)
            # Not in place: the first may be the block itself.
            best = torch.maximum(best, value)
        out[target] = winner.cpu().numpy()


def positive(
    block: torch.Tensor, along: Cell, order: tuple[int, ...], out: np.ndarray, *, prune: bool = True
) -> None:
    """Write 1 to ``out`` where the interpolated score is above zero, 0 elsewhere.

    Args:
        block: ``(i, j, k)``.
        along, order, out, prune: as for :func:`largest_channel`.
    """
    for target, source, parts in _tiles(along):
        tile = block[source]
        if prune:
            least, most = (float(each) for each in extremes(tile[None]))
            if least > 0 or most <= 0:
                # A mean of positive numbers is positive, however it is rounded.
                out[target] = least > 0
                continue
        out[target] = (interpolated(tile, parts, order) > 0).cpu().numpy()


def extremes(tile: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the least and the largest value of each channel of ``(C, i, j, k)``, ``(C,)`` float32."""
    # A copy in one piece first: reducing a slice along three axes takes many times longer.
    flat = tile.flatten(1)
    return flat.amin(dim=1).float(), flat.amax(dim=1).float()


def interpolated(tile: torch.Tensor, along: Cell, order: tuple[int, ...]) -> torch.Tensor:
    """Return ``(i, j, k)`` interpolated at the voxels ``along`` the axes, float32."""
    import torch

    value = tile.float()
    for axis in order:
        part = along[axis]
        low = _taken(value, axis, part.low)
        if part.exact:
            value = low
            continue
        weight = torch.from_numpy(part.weight).to(value.device)
        weight = weight.reshape([-1 if each == axis else 1 for each in range(3)])
        high = _taken(value, axis, part.high)
        value = (low * (1 - weight)).add_(high * weight)
    return value


def _taken(value: torch.Tensor, axis: int, index: np.ndarray) -> torch.Tensor:
    import torch

    if len(index) == value.shape[axis] and (index == np.arange(len(index))).all():
        return value
    return value.index_select(axis, torch.from_numpy(index).to(value.device))


def _tiles(along: Cell) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...], Cell]]:
    second, third = list(along[1].tiles(TILE[1])), list(along[2].tiles(TILE[2]))
    for target0, source0, part0 in along[0].tiles(TILE[0]):
        for target1, source1, part1 in second:
            for target2, source2, part2 in third:
                yield (target0, target1, target2), (source0, source1, source2), (part0, part1, part2)
