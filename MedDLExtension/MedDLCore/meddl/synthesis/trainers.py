"""One step of learning: what a GAN, a rectified flow and a diffusion do with a batch of examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from monai.losses.adversarial_loss import PatchAdversarialLoss
from monai.networks.schedulers import DDPMScheduler, RFlowScheduler
from torch import nn

from meddl.networks.generation import DIFFUSION_TIMES, SCHEDULE, GeneratorNetwork
from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.networks import discriminator_config, encoder_config, make_network

_CLIP = {"gan": 10.0, "rectified_flow": 1.0, "ddpm": 1.0}
_AVERAGED = {"gan": 0.99, "rectified_flow": 0.995, "ddpm": 0.995}
"""How slowly the weights that are kept follow those that learn."""
_LIKENESS, _FEATURES, _VARIETY, _ENOUGH = 5.0, 5.0, 3.0, 0.04
_BLUR = 0.1
"""Noise in what the discriminator sees, or it would know real images by their last digits (Sonderby et al. 2017)."""


class Trainer(ABC):
    """Teaches one generator; chance comes from torch's own numbers, which the caller seeds before each step.

    Args:
        config: of the training.
        network: to be taught; on its device already.

    Attributes:
        columns: what the losses of a step are called.
    """

    columns: tuple[str, ...]

    def __init__(self, config: SynthesisConfig, network: GeneratorNetwork) -> None:
        self._config = config
        self._network = network
        self._steps = 0
        self._averaged = {name: value.detach().clone() for name, value in network.network.state_dict().items()}

    def step(self, images: torch.Tensor, conditions: torch.Tensor | None) -> dict[str, float]:
        """Learn from images ``(B, 1, *size)`` in -1..1 and one channel for each of their labels; return the losses."""
        self._network.train()
        losses = self._learn(images, conditions)
        self._steps += 1
        self._follow()
        return losses

    def averaged(self) -> dict[str, torch.Tensor]:
        """Return the weights that a bundle gets, as the generator's state: the mean of those of the last steps."""
        return {f"network.{name}": value.detach().cpu().contiguous() for name, value in self._averaged.items()}

    def state(self) -> dict[str, Any]:
        """Return all that the next steps depend on."""
        return {
            "steps": self._steps,
            "averaged": dict(self._averaged),
            "network": self._network.network.state_dict(),
            **{name: part.state_dict() for name, part in self._parts().items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`state` was taken.

        Raises:
            RuntimeError, LookupError, TypeError, ValueError, AttributeError: it is that of another training, or none.
        """
        self._steps = int(state["steps"])
        device = next(self._network.parameters()).device
        self._network.network.load_state_dict(state["averaged"])  # complains of what does not fit
        self._averaged = {name: value.to(device) for name, value in state["averaged"].items()}
        self._network.network.load_state_dict(state["network"])
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    @abstractmethod
    def _learn(self, images: torch.Tensor, conditions: torch.Tensor | None) -> dict[str, float]: ...

    @abstractmethod
    def _parts(self) -> dict[str, Any]: ...

    def _follow(self) -> None:
        # Early weights are forgotten quickly: they know nothing.
        kept = min(_AVERAGED[self._config.kind], self._steps / (self._steps + 10))
        for name, value in self._network.network.state_dict().items():
            if value.is_floating_point():
                self._averaged[name].lerp_(value.detach(), 1 - kept)
            else:
                self._averaged[name].copy_(value)


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
        labels = int(getattr(network, "labels", 0))
        self._discriminator: nn.Module = make_network(discriminator_config(config, labels)).to(device)
        self._loss = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)
        rate = config.learning_rate
        self._optimizer = torch.optim.Adam(network.parameters(), rate, betas=(0.5, 0.99))
        self._other = torch.optim.Adam(self._discriminator.parameters(), 0.5 * rate, betas=(0.5, 0.99))

    def _learn(self, images: torch.Tensor, conditions: torch.Tensor | None) -> dict[str, float]:
        count = images.shape[0]
        noise = torch.randn((count, *self._network.noise_shape), device=images.device)
        made = self._network.made(noise, conditions)

        twice = None if conditions is None else torch.cat([conditions, conditions])
        seen = self._seen(torch.cat([images, made.detach()]), twice)
        apart = 0.5 * (self._loss(seen[-1][:count], True, True) + self._loss(seen[-1][count:], False, True))
        self._other.zero_grad(set_to_none=True)
        apart.backward()

        # The generator looks at the discriminator of before its step: what that saw in the real images still holds.
        self._discriminator.requires_grad_(False)
        found = self._seen(made, conditions)
        loss = fooled = self._loss(found[-1], True, False)
        if conditions is not None:
            pairs = zip(found[:-1], seen[:-1], strict=True)
            loss = loss + _LIKENESS * F.l1_loss(made, images)
            loss = loss + _FEATURES * sum(F.l1_loss(mine, both[:count].detach()) for mine, both in pairs)
            loss = loss - _VARIETY * self._variety(made, noise, conditions)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._discriminator.requires_grad_(True)
        nn.utils.clip_grad_norm_(self._network.parameters(), _CLIP[self._config.kind])
        self._optimizer.step()
        self._other.step()
        return {"generator": float(fooled.detach()), "discriminator": float(apart.detach())}

    def _variety(self, made: torch.Tensor, noise: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        """Return by how much images of the same labels and other noise differ, up to what is enough."""
        some = max(1, made.shape[0] // 4)
        other = self._network.made(torch.randn_like(noise[:some]), conditions[:some])
        return (made[:some] - other).abs().mean().clamp(max=_ENOUGH)

    def _seen(self, images: torch.Tensor, conditions: torch.Tensor | None) -> list[torch.Tensor]:
        images = images + _BLUR * torch.randn_like(images)
        return self._discriminator(images if conditions is None else torch.cat([images, conditions], dim=1))

    def _parts(self) -> dict[str, Any]:
        return {"discriminator": self._discriminator, "optimizer": self._optimizer, "other_optimizer": self._other}


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
        nn.utils.clip_grad_norm_(self._network.parameters(), _CLIP[self._config.kind])
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


class FlowTrainer(Trainer):
    """The velocity from noise to images: of a rectified flow (Liu et al. 2023) or of a diffusion (Ho et al. 2020).

    The rate of learning rises for a twentieth of the steps.
    """

    columns = ("loss",)

    def __init__(self, config: SynthesisConfig, network: GeneratorNetwork) -> None:
        super().__init__(config, network)
        self._flow = RFlowScheduler(num_train_timesteps=DIFFUSION_TIMES, use_discrete_timesteps=False)
        self._diffusion = DDPMScheduler(DIFFUSION_TIMES, prediction_type="v_prediction", **SCHEDULE)
        self._optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=1e-4)

    def _learn(self, images: torch.Tensor, conditions: torch.Tensor | None) -> dict[str, float]:
        noise = torch.randn_like(images)
        if self._config.kind == "rectified_flow":
            times = self._flow.sample_timesteps(images)
            noisy, wanted = self._flow.add_noise(images, noise, times), images - noise
        else:
            times = torch.randint(0, DIFFUSION_TIMES, (images.shape[0],), device=images.device)
            noisy = self._diffusion.add_noise(images, noise, times)
            wanted = self._diffusion.get_velocity(images, noise, times)
        loss = F.mse_loss(self._network.velocity(noisy, times, conditions), wanted)
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.learning_rate * min(1.0, (self._steps + 1) / _WARMING)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), _CLIP[self._config.kind])
        self._optimizer.step()
        return {"loss": float(loss.detach())}

    def _parts(self) -> dict[str, Any]:
        return {"optimizer": self._optimizer}


_WARMING = 50
"""Steps over which the rate of learning rises."""


def make_trainer(config: SynthesisConfig, network: GeneratorNetwork) -> Trainer:
    """Return what teaches a generator of this kind."""
    if config.kind == "gan":
        return GanTrainer(config, network) if config.conditioned else FreeGanTrainer(config, network)
    return FlowTrainer(config, network)
