"""An image out of chance alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from meddl.networks.generation import GeneratorNetwork


class ImageFromNoise(GeneratorNetwork):
    """A generator that is told nothing of what its images show.

    Args:
        network: of MONAI, see :class:`GeneratorNetwork`.
        kind: "gan", "rectified_flow" or "ddpm".
        size: of the images.
        sampling_steps: of a flow or diffusion.
        seed: of the noise.
        low, high: the image's values at the network's -1 and 1.
        latent: numbers of noise that a "gan" makes an image of.

    Example::

        network = ImageFromNoise(Generator((64,), (64, 8, 8), (32, 16, 1), (2, 2, 2)), "gan", (64, 64), latent=64)
        images = network.generate(None, 6, generator=torch.Generator().manual_seed(1))  # (6, 1, 64, 64)
    """

    def __init__(
        self,
        network: nn.Module,
        kind: str,
        size: Sequence[int],
        sampling_steps: int = 12,
        seed: int = 0,
        low: float = -1.0,
        high: float = 1.0,
        latent: int = 64,
    ) -> None:
        noise_shape = (latent,) if kind == "gan" else (1, *size)
        super().__init__(network, kind, size, noise_shape, sampling_steps, seed, low, high)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return images ``(B, 1, *size)`` in the image's units for noise ``(B, *noise_shape)``."""
        return self.in_units(self.made(x))

    def generate(
        self,
        labels: None = None,
        count: int = 1,
        *,
        generator: torch.Generator | None = None,
        noise: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return images ``(count, 1, *size)`` in the image's units; arguments as :meth:`LabelsToImage.generate`."""
        noise = self.noise(count, generator) if noise is None else noise
        return self.in_units(self.made(noise.to(self.own_noise.device)))
