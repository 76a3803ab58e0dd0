"""What a GAN that makes images of chance alone does with a batch of examples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from monai.losses.adversarial_loss import PatchAdversarialLoss
from monai.losses.ssim_loss import SSIMLoss
from torch import nn

from meddl.networks.generation import GeneratorNetwork
from meddl.networks.vector_to_image import for_plain_noise
from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.networks import LATENT, discriminator_config, encoder_config, make_network
from meddl.synthesis.trainer import CLIP, Trainer

_LIKE_WINDOW, _STRUCTURE = 7, 0.3
_SURPRISE, _TOLD = 1e-3, 300
"""What a number of the encoder may tell costs as much only after so many steps: at once, it would tell nothing."""
_ALONE, _FREE = 600, 8
"""Steps without the discriminator; images of chance that it sees in a step."""
_FOOLED, _FOUND, _SLOWLY = 0.01, 0.2, 100
_PENALTY, _PENALTY_EVERY, _GRAIN = 0.05, 8, 0.03
_WARMING, _FASTEST = 50, 500
"""Steps over which the rate of learning rises, and until it falls as one by their number."""


class FreeGanTrainer(Trainer):
    """A generator that is told nothing learns beside an encoder (Larsen et al. 2016, "Autoencoding beyond pixels").

    What the encoder finds in a real image the generator makes that image of again, while the encoder's numbers are kept
    like chance (Kingma and Welling 2014). They never are quite: people and slices lie in them in some order. So their
    mean and covariance are followed, and the generator that is kept is given plain noise of that shape (a Gaussian as
    the second stage, as in Ghosh et al. 2020, "From variational to deterministic autoencoders").

    Once it knows its way a discriminator compares what is made again, and images of chance, with real ones; its slope
    at the real ones is kept low (Mescheder et al. 2018). By itself it leads a generator nowhere in as few steps.
    """

    columns = ("likeness", "generator", "discriminator")

    def __init__(self, config: SynthesisConfig, network: GeneratorNetwork) -> None:
        super().__init__(config, network)
        device = next(network.parameters()).device
        self._discriminator: nn.Module = make_network(discriminator_config(config, 0)).to(device)
        self._encoder: nn.Module = make_network(encoder_config(config)).to(device)
        self._numbers = Numbers(LATENT).to(device)
        self._structure = SSIMLoss(config.dimensions, data_range=2.0, win_size=_LIKE_WINDOW)
        self._adversarial = PatchAdversarialLoss(criterion="bce")
        taught = [*network.parameters(), *self._encoder.parameters()]
        self._optimizer = torch.optim.Adam(taught, config.learning_rate, betas=(0.9, 0.99))
        self._other = torch.optim.Adam(self._discriminator.parameters(), 0.5 * config.learning_rate, betas=(0.5, 0.99))

    def _learn(self, images: torch.Tensor, conditions: torch.Tensor | None) -> dict[str, float]:
        mean, spread = self._encoder(images).chunk(2, dim=1)
        spread = spread.clamp(-8.0, 4.0)  # the logarithm of a variance
        self._numbers.follow(mean.detach(), spread.detach().exp(), self._steps)
        again = self._network.made(mean + torch.randn_like(mean) * (0.5 * spread).exp())
        likeness = F.l1_loss(again, images)
        surprise = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum(dim=1).mean()
        loss = likeness + _STRUCTURE * self._structure(again + 1.0, images + 1.0)
        loss = loss + _SURPRISE * min(1.0, self._steps / _TOLD) * surprise
        fooled = apart = torch.zeros(())
        if self._steps >= _ALONE:
            more, fooled, apart = self._compared(images, again)
            loss = loss + more
        for group in self._optimizer.param_groups:
            group["lr"] = 1.5 * self._config.learning_rate * self._pace()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), CLIP[self._config.kind])
        self._optimizer.step()
        losses = {"likeness": likeness, "generator": fooled, "discriminator": apart}
        return {name: float(value.detach()) for name, value in losses.items()}

    def _compared(self, images: torch.Tensor, again: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Teach the discriminator; return what the generator learns from it, and how both fare."""
        count, some = images.shape[0], min(_FREE, images.shape[0])
        free = self._network.made(self._numbers.drawn(some))
        false = torch.cat([again[:some], free])
        both = _grainy(torch.cat([images, false.detach()]))
        punished = self._steps % _PENALTY_EVERY == 0
        seen = self._discriminator(both.requires_grad_(punished))
        loss = apart = 0.5 * (
            self._adversarial(seen[-1][:count], True, True) + self._adversarial(seen[-1][count:], False, True)
        )
        if punished:
            each = seen[-1][:count].flatten(1).mean(dim=1).sum()
            (slope,) = torch.autograd.grad(each, both, create_graph=True)
            loss = loss + 0.5 * _PENALTY * _PENALTY_EVERY * slope[:count].square().flatten(1).sum(dim=1).mean()
        self._other.zero_grad(set_to_none=True)
        loss.backward()
        self._other.step()

        with _fixed(self._discriminator):
            found = self._discriminator(_grainy(false))
        fooled = self._adversarial(found[-1], True, False)
        alike = [F.l1_loss(mine[:some], true[:some].detach()) for mine, true in zip(found[:-1], seen[:-1], strict=True)]
        strength = _FOOLED * min(1.0, (self._steps - _ALONE) / _SLOWLY)
        return strength * fooled + _FOUND * sum(alike, torch.zeros((), device=images.device)), fooled, apart

    def _pace(self) -> float:
        return min((self._steps + 1) / _WARMING, 1.0, _FASTEST / (self._steps + 1))

    def _kept(self) -> dict[str, torch.Tensor]:
        return for_plain_noise(self._averaged, self._numbers.mean, self._numbers.factor())

    def _parts(self) -> dict[str, Any]:
        return {
            "discriminator": self._discriminator,
            "encoder": self._encoder,
            "numbers": self._numbers,
            "optimizer": self._optimizer,
            "other_optimizer": self._other,
        }


class Numbers(nn.Module):
    """Mean and covariance of what an encoder tells of the images of the last steps, chance in it included.

    Args:
        count: numbers that it tells of an image.
    """

    mean: torch.Tensor
    squares: torch.Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("squares", torch.eye(count))

    def follow(self, means: torch.Tensor, variances: torch.Tensor, steps: int) -> None:
        """Take in a batch ``(B, count)`` after so many steps; early ones are forgotten quickly."""
        new = 1 - min(_REMEMBERED, steps / (steps + 5))
        self.mean.lerp_(means.mean(dim=0), new)
        self.squares.lerp_(means.T @ means / means.shape[0] + variances.mean(dim=0).diag(), new)

    def factor(self) -> torch.Tensor:
        """Return the lower triangle that brings noise of variance 1 to the covariance of the numbers."""
        covariance = self.squares - torch.outer(self.mean, self.mean)
        each = torch.eye(self.mean.numel(), device=self.mean.device)
        found, failed = torch.linalg.cholesky_ex(covariance + 1e-4 * each)
        if failed:  # means so far from 0 that the difference of two squares has lost its last digits
            found = torch.linalg.cholesky(covariance + (1e-4 + 1e-5 * self.squares.diagonal().max()) * each)
        return found

    def drawn(self, count: int) -> torch.Tensor:
        """Return numbers ``(count, numbers)`` by chance."""
        noise = torch.randn((count, self.mean.numel()), device=self.mean.device)
        return self.mean + noise @ self.factor().T


_REMEMBERED = 0.99


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
