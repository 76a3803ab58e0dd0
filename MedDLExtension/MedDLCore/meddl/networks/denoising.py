"""A plain network that tells the noise in an image."""

from __future__ import annotations

from itertools import pairwise

import torch
from monai.networks.blocks import Convolution
from torch import nn


class DenoisingCNN(nn.Module):
    """A chain of convolutions at full resolution that answers what is to be added to an image to free it of noise.

    After DnCNN (Zhang et al. 2017, "Beyond a Gaussian denoiser"), without its batch normalization: how strong the noise
    is must not be normalized away. Untrained, it answers zero and so changes nothing.

    Args:
        spatial_dims: 2 or 3.
        channels: of the image and of the answer.
        features: channels in between.
        layers: convolutions in all; each lets a voxel see one voxel further.

    Raises:
        ValueError: fewer than two layers.

    Example::

        network = DenoisingCNN(spatial_dims=2, channels=1)
        better = noisy + network(noisy)  # (B, 1, I, J)
    """

    def __init__(self, spatial_dims: int, channels: int, features: int = 32, layers: int = 6) -> None:
        super().__init__()
        if layers < 2:
            raise ValueError(f"layers must be 2 or more, not {layers}")
        widths = [channels, *[features] * (layers - 1)]
        self.hidden = nn.Sequential(
            *(Convolution(spatial_dims, *pair, kernel_size=3, norm=None, act="relu") for pair in pairwise(widths))
        )
        for module in self.hidden.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                # PyTorch's default would shrink the image to nothing over so many layers.
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.last = Convolution(spatial_dims, features, channels, kernel_size=3, conv_only=True)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the correction, shaped as the image ``(B, channels, ...)``."""
        return self.last(self.hidden(x))
