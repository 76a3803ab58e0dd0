"""The winning class at every voxel of a finer or coarser grid, from classes that can win there only.

Linear interpolation never leaves the range of the values it starts from. So within a tile of the network's grid a class
whose largest score is below another one's least cannot win anywhere, and need not be interpolated; where one class is
left, nothing need be. The answer is that of interpolating all classes in float32 and taking the largest, the first on a
tie: ``torch.nn.functional.interpolate(scores).argmax`` but for the rounding of the last bit, which decides only where
two classes tie to that bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from meddl.inference.strongest import strongest

if TYPE_CHECKING:
    import torch

    from meddl.inference.index_map import AxisMap

TILE = (8, 16, 16)
"""In voxels of the network's grid: small tiles are pruned better, large ones cost fewer calls."""
TILE_OF_ONE = (8, 64, 64)
"""For a single channel, where a call does less."""

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

    def tiles(self, size: int) -> Iterator[tuple[slice, slice, torch.Tensor | None]]:
        """Yield (target range, block range, weights) for tiles of ``size`` block voxels.

        The weights are a matrix ``(target voxels, block voxels)`` of the tile; None where it would change nothing.
        """
        if not len(self.low):
            return
        numbers = self.low // size
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1), len(numbers)]
        for begin, end in pairwise(edges):
            part = Along(self.low[begin:end], self.high[begin:end], self.weight[begin:end])
            first = int(part.low.min())
            # A neighbor that does not count need not be there.
            last = int(np.where(part.weight > 0, part.high, part.low).max())
            yield slice(int(begin), int(end)), slice(first, last + 1), part.matrix(first, last + 1 - first)

    def matrix(self, first: int, size: int) -> torch.Tensor | None:
        """Return the weights for a tile of ``size`` block voxels from ``first`` on."""
        import torch

        low, high = self.low - first, np.minimum(self.high - first, size - 1)
        rows = np.arange(len(low))
        if len(low) == size and not self.weight.any() and (low == rows).all():
            return None
        # A product with a matrix of weights beats gathering neighbors by index, on the CPU by far.
        matrix = np.zeros((len(low), size), dtype=np.float32)
        matrix[rows, low] = 1 - self.weight
        matrix[rows, high] += self.weight
        return torch.from_numpy(matrix)


Cell = tuple[Along, Along, Along]
Weights = tuple["torch.Tensor | None", "torch.Tensor | None", "torch.Tensor | None"]


def largest_channel(block: torch.Tensor, along: Cell, order: tuple[int, ...], out: np.ndarray) -> None:
    """Write the number of the channel with the largest interpolated score to ``out``.

    Args:
        block: ``(C, i, j, k)`` float32 or float16, two channels or more.
        along: the target voxels along each of the block's axes.
        order: in which the axes are interpolated.
        out: of the target voxels' shape, an integer type.
    """

    def decide(target: tuple[slice, ...], source: tuple[slice, ...], weights: Weights) -> None:
        tile = block[(slice(None), *source)]
        kept = contenders(tile)
        if len(kept) > 1:
            tile = tile if len(kept) == block.shape[0] else tile[kept]
            out[target] = np.asarray(kept)[strongest(interpolated(tile, weights, order))[0].cpu().numpy()]
        else:
            out[target] = kept[0]

    _for_each_tile(along, TILE, decide, parallel=block.device.type == "cpu")


def positive(block: torch.Tensor, along: Cell, order: tuple[int, ...], out: np.ndarray) -> None:
    """Write 1 to ``out`` where the interpolated score is above zero, 0 elsewhere.

    Args:
        block: ``(i, j, k)``.
        along, order, out: as for :func:`largest_channel`.
    """

    def decide(target: tuple[slice, ...], source: tuple[slice, ...], weights: Weights) -> None:
        tile = block[source][None]
        least, most = (float(each) for each in extremes(tile))
        if least > 0 or most <= 0:
            # A mean of positive numbers is positive, however it is rounded.
            out[target] = least > 0
            return
        out[target] = (interpolated(tile, weights, order)[0] > 0).cpu().numpy()

    _for_each_tile(along, TILE_OF_ONE, decide, parallel=block.device.type == "cpu")


def contenders(tile: torch.Tensor) -> list[int]:
    """Return the channels of ``(C, i, j, k)`` that can be the largest somewhere between its voxels."""
    import torch

    least, most = extremes(tile)
    bar = least.max()
    return torch.nonzero(most >= bar - ROUNDING * (bar.abs() + most.abs()))[:, 0].tolist()


def extremes(tile: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the least and the largest value of each channel of ``(C, i, j, k)``, ``(C,)`` float32."""
    # A copy in one piece first: reducing a slice along three axes takes many times longer.
    flat = tile.flatten(1)
    return flat.amin(dim=1).float(), flat.amax(dim=1).float()


def interpolated(tile: torch.Tensor, weights: Weights, order: tuple[int, ...]) -> torch.Tensor:
    """Return ``(C, i, j, k)`` interpolated along the axes that have weights, float32."""
    value = tile.float()
    for axis in order:
        matrix = weights[axis]
        if matrix is None:
            continue
        matrix = matrix.to(value.device)
        if axis == 0:
            value = (matrix @ value.flatten(2)).unflatten(2, value.shape[2:])
        elif axis == 1:
            value = matrix @ value
        else:
            value = value @ matrix.T
    return value


def _for_each_tile(along: Cell, size: tuple[int, int, int], work: Callable[..., None], *, parallel: bool) -> None:
    """Do the work for each (target ranges, block ranges, weights)."""
    import torch

    second, third = list(along[1].tiles(size[1])), list(along[2].tiles(size[2]))
    tiles = [
        tuple(zip(first, other, last, strict=True))
        for first in along[0].tiles(size[0])
        for other in second
        for last in third
    ]
    threads = torch.get_num_threads()
    if not parallel or threads == 1 or len(tiles) == 1:
        for tile in tiles:
            work(*tile)
        return
    # Many small products: one thread for each beats many threads for one, most of all on a busy machine.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(lambda tile: work(*tile), tiles):
                pass
    finally:
        torch.set_num_threads(threads)
