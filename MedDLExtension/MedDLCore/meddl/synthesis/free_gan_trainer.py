"""What a GAN that makes images of chance alone does with a batch of examples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from meddl.networks.generation import GeneratorNetwork
from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.networks import discriminator_config, encoder_config, make_network
from meddl.synthesis.trainer import CLIP, Trainer

_LIKENESS = 5.0


class FreeGanTrainer(Trainer):
    """A generator that is told nothing learns beside an encoder (Larsen et al. 2016, "Autoencoding beyond pixels").

    What the encoder finds in a real image the generator makes that image of again, while the encoder's numbers are kept
    like chance. Once it knows its way the discriminator compares images of chance alone with real ones: relativistic
    (Jolicoeur-Martineau 2019), with a penalty on its slope (Mescheder et al. 2018). By itself it leads a generator
    nowhere in as few steps.
    """

    columns = ("likeness", "generator", "discriminator")

    def __init__(self, config: SynthesisConfig, network: GeneratorNetwork) -> None:
        super().__init__(config, network)
        device = next(network.parameters()).device
        self._discriminator: nn.Module = make_network(discriminator_config(config, 0)).to(device)
        self._encoder: nn.Module = make_network(encoder_config(config)).to(device)
        rate, taught = config.learning_rate, [*network.parameters(), *self._encoder.parameters()]
        self._optimizer = torch.optim.Adam(taught, rate, betas=(0.5, 0.99))
        self._other = torch.optim.Adam(self._discriminator.parameters(), 0.5 * rate, betas=(0.5, 0.99))

    def _learn(self, images: torch.Tensor, conditions: torch.Tensor | None) -> dict[str, float]:
        mean, spread = self._encoder(images).chunk(2, dim=1)
        spread = spread.clamp(-8.0, 4.0)  # the logarithm of a variance
        known = mean + torch.randn_like(mean) * (0.5 * spread).exp()
        again = self._network.made(known)
        likeness = F.l1_loss(again, images)
        surprise = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum(dim=1).mean()
        loss = _LIKENESS * likeness + _SURPRISE * surprise
        fooled = apart = torch.zeros(())
        if self._steps >= _ALONE:
            more, fooled, apart = self._compared(images, again)
            loss = loss + more
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), CLIP[self._config.kind])
        self._optimizer.step()
        losses = {"likeness": likeness, "generator": fooled, "discriminator": apart}
        return {name: float(value.detach()) for name, value in losses.items()}

    def _compared(self, images: torch.Tensor, again: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Teach the discriminator; return what the generator learns from it, and how both fare."""
        count = images.shape[0]
        free = self._network.made(torch.randn((count, *self._network.noise_shape), device=images.device))
        both = _grainy(torch.cat([images, free.detach()]))
        punished = self._steps % _PENALTY_EVERY == 0
        seen = self._discriminator(both.requires_grad_(punished))
        real, false = seen[-1][:count], seen[-1][count:]
        loss = apart = F.softplus(false - real).mean()
        if punished:
            each = seen[-1].flatten(1).mean(dim=1).sum()
            (slope,) = torch.autograd.grad(each, both, create_graph=True)
            loss = loss + 0.5 * _PENALTY * _PENALTY_EVERY * slope.square().flatten(1).sum(dim=1).mean()
        self._other.zero_grad(set_to_none=True)
        loss.backward()
        self._other.step()

        with _fixed(self._discriminator):
            found = self._discriminator(_grainy(torch.cat([images, again, free])))
        fooled = F.softplus(found[-1][:count].detach() - found[-1][2 * count :]).mean()
        alike = [F.l1_loss(each[count : 2 * count], each[:count].detach()) for each in found[:-1]]
        return _FOOLED * fooled + _FOUND * sum(alike, torch.zeros((), device=images.device)), fooled, apart

    def _parts(self) -> dict[str, Any]:
        return {
            "discriminator": self._discriminator,
            "encoder": self._encoder,
            "optimizer": self._optimizer,
            "other_optimizer": self._other,
        }


_ALONE = 200
"""Steps without the discriminator."""
_FOOLED, _SURPRISE, _FOUND = 0.3, 0.01, 1.0
_PENALTY, _PENALTY_EVERY, _GRAIN = 0.05, 8, 0.03


def _grainy(images: torch.Tensor) -> torch.Tensor:
    return images + _GRAIN * torch.randn_like(images)


@contextmanager
def _fixed(network: nn.Module) -> Iterator[None]:
    """Let gradients go through a network, not into it."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
