"""An image cut into blocks that can be covered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from meddl.saliency.methods.method import Work

BLOCKS_ALONG = 4
"""Big blocks along the longest axis, where the user names no size."""

SMALL_IN_BIG = 4
"""Small blocks along the edge of a big one, likewise."""

_SAME = 1e-5
"""Share of the image's range below which a covered block looks as before."""


def block_edges(image: torch.Tensor, work: Work) -> tuple[tuple[int, int, int], int]:
    """Return the edges of the smallest blocks in voxels, and how many of them a big block has along an axis."""
    size, spacing = image.shape[2:], work.spacing_mm
    longest = max(count * mm for count, mm in zip(size, spacing, strict=True))
    big = work.options.block_mm or longest / BLOCKS_ALONG
    small = min(work.options.finest_mm or big / SMALL_IN_BIG, big)
    edges = [min(max(round(small / mm), 1), count) for count, mm in zip(size, spacing, strict=True)]
    return (edges[0], edges[1], edges[2]), max(round(big / small), 1)


class Blocks:
    """An image cut into blocks, numbered along k first.

    Args:
        image: ``(1, C, i, j, k)``.
        baseline: what covers it, in its shape.
        edges: of a block in voxels.
        in_big: blocks along the edge of a big one.

    Attributes:
        counts: blocks along each axis.
        live: numbers of the blocks that look different when covered; the others cannot change any answer.
        places: ``(n, 3)`` of all blocks, counted in blocks.
        weight: how much covering changes each block in all.
    """

    def __init__(self, image: torch.Tensor, baseline: torch.Tensor, edges: tuple[int, int, int], in_big: int) -> None:
        import torch

        self.image, self.baseline, self.edges, self.in_big = image, baseline, edges, in_big
        self.counts = tuple(-(-size // edge) for size, edge in zip(image.shape[2:], edges, strict=True))
        self.total = int(np.prod(self.counts))
        along = [torch.arange(size) // edge for size, edge in zip(image.shape[2:], edges, strict=True)]
        i, j, k = torch.meshgrid(*along, indexing="ij")
        self._numbers = ((i * self.counts[1] + j) * self.counts[2] + k).to(image.device)
        change = (image - baseline).abs().amax(dim=1)[0]
        most = torch.zeros(self.total, device=image.device)
        most.scatter_reduce_(0, self._numbers.flatten(), change.flatten(), "amax")
        self.weight = self.summed(change)
        limit = _SAME * float(image.max() - image.min())
        self.live = np.flatnonzero(most.cpu().numpy() > limit)
        self.places = np.stack(np.unravel_index(np.arange(self.total), self.counts), axis=1)

    def summed(self, values: torch.Tensor) -> np.ndarray:
        """Return the sum of ``(i, j, k)`` values over each block."""
        import torch

        total = torch.zeros(self.total, device=values.device, dtype=torch.float64)
        sums: np.ndarray = total.scatter_add_(0, self._numbers.flatten(), values.flatten().double()).cpu().numpy()
        return sums

    def painted(self, effects: np.ndarray) -> torch.Tensor:
        """Return each block's effect on its voxels ``(1, 1, i, j, k)``."""
        import torch

        return torch.from_numpy(effects).to(self._numbers.device)[self._numbers][None, None]

    def covered(self, chosen: np.ndarray, how_far: float = 1.0) -> torch.Tensor:
        """Return the image with the blocks ``chosen`` covered."""
        import torch

        if len(chosen) == 1 and how_far == 1.0:
            i, j, k = (
                slice(int(at) * edge, (int(at) + 1) * edge)
                for at, edge in zip(self.places[chosen[0]], self.edges, strict=True)
            )
            image = self.image.clone()
            image[:, :, i, j, k] = self.baseline[:, :, i, j, k]
            return image
        marked = torch.zeros(self.total, device=self.image.device)
        marked[torch.from_numpy(chosen).to(self.image.device)] = how_far
        return torch.lerp(self.image, self.baseline, marked[self._numbers][None, None])

    def apart(self, every: int) -> list[np.ndarray]:
        """Return the live blocks in groups, in each of which they lie ``every`` blocks apart along each axis."""
        places = self.places[self.live] % every
        return self._groups(places)

    def inside(self, big: int) -> list[np.ndarray]:
        """Return the live blocks by the big block of ``big`` along each axis that they are in."""
        return self._groups(self.places[self.live] // big)

    def _groups(self, places: np.ndarray) -> list[np.ndarray]:
        if not len(places):
            return []
        _, group = np.unique(places, axis=0, return_inverse=True)
        group = group.reshape(-1)
        return [self.live[group == number] for number in range(group.max() + 1)]
