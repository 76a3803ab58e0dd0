"""An image that fits a label map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from meddl.networks.generation import GeneratorNetwork


class LabelsToImage(GeneratorNetwork):
    """A generator whose images show what a label map says.

    As a network it takes label maps and answers images, so that a bundle with it runs wherever image-to-image models
    do. Its noise is then told by its seed alone: the same label map gives the same image. :meth:`generate` takes other
    noise.

    Args:
        network: of MONAI, see :class:`GeneratorNetwork`; its conditions are the labels, one channel for each.
        kind: "gan", "rectified_flow" or "ddpm".
        labels: how many values label maps have, the background among them.
        size: of label map and image.
        sampling_steps: of a flow or diffusion.
        seed: of the noise.
        low, high: the image's values at the network's -1 and 1.
        noise_channels: of a "gan".

    Example::

        network = LabelsToImage(UNet(2, 3 + 4, 1, (16, 32), (2,)), "gan", labels=3, size=(64, 64), noise_channels=4)
        image = network(label_map)  # (B, 1, 64, 64) both
        others = network.generate(label_map, 5, generator=torch.Generator().manual_seed(1))
    """

    def __init__(
        self,
        network: nn.Module,
        kind: str,
        labels: int,
        size: Sequence[int],
        sampling_steps: int = 12,
        seed: int = 0,
        low: float = -1.0,
        high: float = 1.0,
        noise_channels: int = 4,
    ) -> None:
        if not 2 <= labels <= 256:
            raise ValueError(f"labels must be 2 to 256, the background among them, not {labels}")
        noise_shape = (noise_channels if kind == "gan" else 1, *size)
        super().__init__(network, kind, size, noise_shape, sampling_steps, seed, low, high)
        self.labels = int(labels)

    def conditions(self, labels: torch.Tensor) -> torch.Tensor:
        """Return one channel for each label ``(B, labels, ...)`` of label maps ``(B, 1, ...)``.

        Values that are no label count as background.
        """
        values = labels.round().long()
        values = torch.where((values >= 0) & (values < self.labels), values, torch.zeros_like(values))
        axis = [1, self.labels] + [1] * (labels.ndim - 2)
        return (values == torch.arange(self.labels, device=labels.device).reshape(axis)).float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return images ``(B, 1, *size)`` in the image's units for label maps ``(B, 1, *size)``."""
        conditions = self.conditions(x)
        noise = self.own_noise.expand(x.shape[0], *self.own_noise.shape[1:]).to(conditions.dtype)
        return self.in_units(self.made(noise, conditions))

    def generate(
        self,
        labels: torch.Tensor,
        count: int = 1,
        *,
        generator: torch.Generator | None = None,
        noise: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return images ``(N, 1, *size)`` in the image's units.

        Args:
            labels: ``(N, 1, *size)``, or ``(1, 1, *size)`` for ``count`` images of one label map.
            count: of images where there is one label map.
            generator: of the noise; without one it is the seed's, the same for each image.
            noise: ``(N, *noise_shape)``, in place of a generator's.
        """
        number = max(count, labels.shape[0])
        conditions = self.conditions(labels).expand(number, *[-1] * (labels.ndim - 1))
        noise = self.noise(number, generator) if noise is None else noise
        return self.in_units(self.made(noise.to(conditions.device), conditions))
