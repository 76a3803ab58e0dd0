"""A network that sees blocks of voxels as one place each: for patches, where all time goes at their voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

_MOST = 16


class Folded(nn.Module):
    """A network at a fraction of the resolution, and two convolutions at all of it.

    Blocks of voxels become channels (Shi et al. 2016, "Real-time single image and video super-resolution", the other
    way round), so that with blocks of 2 x 2 x 2 the network has an eighth of the places to look at. What it answers is
    enlarged smoothly, for voxels that came out of channels would show the blocks as a grid; beside what was given it
    makes the answer: a voxel's own label need not go through the network.

    Args:
        network: takes ``(B, in_channels * a * b * c, I / a, J / b, K / c)`` and answers ``features`` channels.
        fold: a, b and c: voxels of a block along each axis.
        in_channels, out_channels: of this network.
        features: that ``network`` answers, and of the layer before the last.

    Raises:
        ValueError: a block that is none.

    Example::

        network = Folded(BasicUNet(3, 9 * 8, 16), (2, 2, 2), 9, 1, 16)
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
        conv: type[nn.Module] = (nn.Conv2d, nn.Conv3d)[len(self.fold) - 2]
        self.near = conv(features + in_channels, features, 3, padding=1)
        self.last = conv(features, out_channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``(B, out_channels, I, J, K)`` for ``(B, in_channels, I, J, K)``."""
        found = self.network(folded(x, self.fold))
        mode = ("bilinear", "trilinear")[len(self.fold) - 2]
        large = F.interpolate(found, size=x.shape[2:], mode=mode, align_corners=False)
        return self.last(F.leaky_relu(self.near(torch.cat([large, x], dim=1)), 0.1))


def folded(images: torch.Tensor, fold: Sequence[int]) -> torch.Tensor:
    """Return ``(B, C, I, J, K)`` as ``(B, C * a * b * c, I / a, J / b, K / c)``: a channel's block stays together."""
    count, channels, *size = images.shape
    dims = len(size)
    small = [length // by for length, by in zip(size, fold, strict=True)]
    parts = [each for pair in zip(small, fold, strict=True) for each in pair]
    order = (0, 1, *range(3, 2 + 2 * dims, 2), *range(2, 2 + 2 * dims, 2))
    return images.reshape(count, channels, *parts).permute(order).reshape(count, channels * math.prod(fold), *small)
