"""A decoder: from a vector of numbers to an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import Convolution, UpSample
from torch import nn


class VectorToImage(nn.Module):
    """Numbers become a small image of many channels, which grows twofold at each level.

    Nothing is normalized, for that would take the brightness of an image from the numbers; nothing is convolved in
    transposition, for that draws a checkerboard (Odena et al. 2016, "Deconvolution and checkerboard artifacts"). The
    last level, where convolutions cost most, is made of the one before by its sub-voxels (Shi et al. 2016).

    Args:
        latent: numbers in a vector.
        size: of the images, two or three axes; divisible by 2 as often as there are levels, less one.
        features: channels of the levels, from fine to coarse.

    Raises:
        ValueError: other than whole numbers from 1 on, no levels, or a size that cannot be halved so often.

    Example::

        images = torch.tanh(VectorToImage(32, (64, 64))(torch.randn(6, 32)))  # (6, 1, 64, 64)
    """

    def __init__(self, latent: int, size: Sequence[int], features: Sequence[int] = (8, 32, 64, 96)) -> None:
        super().__init__()
        if not all(type(each) is int and each > 0 for each in (latent, *size, *features)):
            raise ValueError("latent, size and features must be whole numbers from 1 on")
        halvings = len(features) - 1
        if halvings < 0 or len(size) not in (2, 3) or any(each % (1 << halvings) for each in size):
            raise ValueError(f"size {tuple(size)} cannot be halved {halvings} times")
        coarse = tuple(each >> halvings for each in size)
        dims = len(size)
        self.first = nn.Sequential(
            nn.Linear(latent, features[-1] * torch.Size(coarse).numel()), nn.Unflatten(1, (features[-1], *coarse))
        )
        widths = list(reversed(features))
        grown: list[nn.Module] = [_Larger(dims, *pair) for pair in pairwise(widths[:-1])]
        if halvings:
            grown += [UpSample(dims, widths[-2], widths[-1], 2, mode="pixelshuffle"), nn.LeakyReLU(0.1)]
        self.levels = nn.Sequential(*grown)
        self.last = Convolution(dims, features[0], 1, conv_only=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return images ``(B, 1, *size)`` for vectors ``(B, latent)``."""
        return self.last(self.levels(nn.functional.leaky_relu(self.first(x), 0.1)))


class _Larger(nn.Module):
    """Twice as large, and then what is to be added."""

    def __init__(self, dims: int, channels: int, fewer: int) -> None:
        super().__init__()
        self.larger = UpSample(dims, channels, fewer, 2, mode="nontrainable")
        act = ("leakyrelu", {"negative_slope": 0.1})
        self.added = nn.Sequential(*(Convolution(dims, fewer, fewer, act=act, norm=None) for _ in range(2)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        larger = self.larger(x)
        return larger + self.added(larger)


def for_plain_noise(
    state: Mapping[str, torch.Tensor], mean: torch.Tensor, factor: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return the state of a decoder that makes of noise what the one of ``state`` makes of mean + factor @ noise.

    Args:
        state: of a :class:`VectorToImage`.
        mean: ``(latent,)``.
        factor: ``(latent, latent)``.
    """
    weight, bias = state["first.0.weight"], state["first.0.bias"]
    return {**state, "first.0.weight": weight @ factor, "first.0.bias": bias + weight @ mean}
