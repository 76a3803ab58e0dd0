"""A network that sees blocks of voxels as one place each: for patches, where all time goes at their voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

_MOST = 16


class Folded(nn.Module):
    """A network at a fraction of the resolution, and a look at each voxel beside it.

    Blocks of voxels become channels (Shi et al. 2016, "Real-time single image and video super-resolution", the other
    way round), so that with blocks of 2 x 2 x 2 the network has an eighth of the places to look at. What it answers
    and what it was given make the voxels of each block together: a voxel's own label, or noise, need not go through it.

    Args:
        network: takes ``(B, in_channels * a * b * c, I / a, J / b, K / c)`` and answers ``features`` channels.
        fold: a, b and c: voxels of a block along each axis.
        in_channels, out_channels: of this network.
        features: that ``network`` answers.

    Raises:
        ValueError: a block that is none.

    Example::

        network = Folded(BasicUNet(3, 9 * 8, 32), (2, 2, 2), 9, 1, 32)
        image = network(torch.rand(2, 9, 32, 32, 32))  # (2, 1, 32, 32, 32)
    """

    def __init__(
        self, network: nn.Module, fold: Sequence[int], in_channels: int, out_channels: int, features: int
    ) -> None:
        super().__init__()
        if len(fold) not in (2, 3) or any(not 1 <= each <= _MOST for each in fold):
            raise ValueError(f"fold must be 1 to {_MOST} voxels along two or three axes, not {tuple(fold)}")
        self.network = network
        self.fold = tuple(int(each) for each in fold)
        block = math.prod(self.fold)
        conv = (nn.Conv2d, nn.Conv3d)[len(self.fold) - 2]
        self.last: nn.Module = conv(features + in_channels * block, out_channels * block, 1)
        with torch.no_grad():
            weight, bias = self.last.weight, self.last.bias
            weight[:, features:] = 0.0
            # All voxels of a block begin alike: else the blocks are seen as a grid until they have learned better.
            weight.view(out_channels, block, *weight.shape[1:])[:] = weight[::block, None].clone()
            bias.view(out_channels, block)[:] = bias[::block, None].clone()

    def forward(self, x: torch.Tensor, *told: torch.Tensor) -> torch.Tensor:
        """Return ``(B, out_channels, I, J, K)`` for ``(B, in_channels, I, J, K)`` and what else the network is told."""
        inputs = folded(x, self.fold)
        return unfolded(self.last(torch.cat([self.network(inputs, *told), inputs], dim=1)), self.fold)


def folded(images: torch.Tensor, fold: Sequence[int]) -> torch.Tensor:
    """Return ``(B, C, I, J, K)`` as ``(B, C * a * b * c, I / a, J / b, K / c)``: a channel's block stays together."""
    count, channels, *size = images.shape
    dims = len(size)
    small = [length // by for length, by in zip(size, fold, strict=True)]
    parts = [each for pair in zip(small, fold, strict=True) for each in pair]
    order = (0, 1, *range(3, 2 + 2 * dims, 2), *range(2, 2 + 2 * dims, 2))
    return images.reshape(count, channels, *parts).permute(order).reshape(count, channels * math.prod(fold), *small)


def unfolded(images: torch.Tensor, fold: Sequence[int]) -> torch.Tensor:
    """Return what :func:`folded` was given."""
    count, channels, *small = images.shape
    dims, left = len(small), channels // math.prod(fold)
    order = (0, 1, *(axis for number in range(dims) for axis in (2 + dims + number, 2 + number)))
    size = [length * by for length, by in zip(small, fold, strict=True)]
    return images.reshape(count, left, *fold, *small).permute(order).reshape(count, left, *size)
