"""What a GAN that fits images to labels does with a batch of examples."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from monai.losses.adversarial_loss import PatchAdversarialLoss
from torch import nn

from meddl.networks.generation import GeneratorNetwork
from meddl.networks.labels_to_image import LabelsToImage
from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.networks import discriminator_config, make_network
from meddl.synthesis.trainer import CLIP, Trainer

_LIKENESS, _FEATURES, _VARIETY, _ENOUGH = 5.0, 5.0, 3.0, 0.04
_BLUR = 0.1
"""Noise in what the discriminator sees, or it would know real images by their last digits (Sonderby et al. 2017)."""


class GanTrainer(Trainer):
    """Least squares (Mao et al. 2017, "Least squares generative adversarial networks").

    A generator that is told the labels also learns to be near the real image of these labels (Isola et al. 2017), to
    look to the discriminator as that does (Wang et al. 2018), and to make other images of other noise (Yang et al.
    2019, "Diversity-sensitive conditional generative adversarial networks").
    """

    columns = ("generator", "discriminator")

    def __init__(self, config: SynthesisConfig, network: GeneratorNetwork) -> None:
        super().__init__(config, network)
        device = next(network.parameters()).device
        assert isinstance(network, LabelsToImage)
        self._discriminator: nn.Module = make_network(discriminator_config(config, network.labels)).to(device)
        self._loss = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)
        rate = config.learning_rate
        self._optimizer = torch.optim.Adam(network.parameters(), rate, betas=(0.5, 0.99))
        self._other = torch.optim.Adam(self._discriminator.parameters(), 0.5 * rate, betas=(0.5, 0.99))

    def _learn(self, images: torch.Tensor, conditions: torch.Tensor | None) -> dict[str, float]:
        assert conditions is not None
        count = images.shape[0]
        made, others = self._made(conditions)

        seen = self._seen(torch.cat([images, made.detach()]), torch.cat([conditions, conditions]))
        apart = 0.5 * (self._loss(seen[-1][:count], True, True) + self._loss(seen[-1][count:], False, True))
        self._other.zero_grad(set_to_none=True)
        apart.backward()

        # The generator looks at the discriminator of before its step: what that saw in the real images still holds.
        self._discriminator.requires_grad_(False)
        found = self._seen(made, conditions)
        fooled = self._loss(found[-1], True, False)
        pairs = zip(found[:-1], seen[:-1], strict=True)
        loss = fooled + _LIKENESS * F.l1_loss(made, images)
        loss = loss + _FEATURES * sum(F.l1_loss(mine, both[:count].detach()) for mine, both in pairs)
        loss = loss - _VARIETY * (made[: len(others)] - others).abs().mean().clamp(max=_ENOUGH)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._discriminator.requires_grad_(True)
        nn.utils.clip_grad_norm_(self._network.parameters(), CLIP[self._config.kind])
        self._optimizer.step()
        self._other.step()
        return {"generator": float(fooled.detach()), "discriminator": float(apart.detach())}

    def _made(self, conditions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images ``(B, 1, *size)``, and some more of the first ones' labels and other noise.

        In one go: PyTorch convolves a single patch three times as slowly on a processor as one of several.

        Args:
            conditions: ``(B, labels, *size)``.
        """
        count = len(conditions)
        some = max(1, count // 4)
        noise = torch.randn((count + some, *self._network.noise_shape), device=conditions.device)
        made = self._network.made(noise, torch.cat([conditions, conditions[:some]]))
        return made[:count], made[count:]

    def _seen(self, images: torch.Tensor, conditions: torch.Tensor) -> list[torch.Tensor]:
        return self._discriminator(torch.cat([images + _BLUR * torch.randn_like(images), conditions], dim=1))

    def _parts(self) -> dict[str, Any]:
        return {"discriminator": self._discriminator, "optimizer": self._optimizer, "other_optimizer": self._other}
