"""What generators of images have in common: their noise, how an image comes out of it, and the image's units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.schedulers import DDIMScheduler, RFlowScheduler
from torch import nn

KINDS = ("gan", "rectified_flow", "ddpm")
DIFFUSION_TIMES = 1000
"""How finely the way from noise to an image is divided in training; the times that a network is told."""
SCHEDULE: dict[str, Any] = {"schedule": "scaled_linear_beta", "beta_start": 0.0015, "beta_end": 0.0205}
"""How fast an image of a diffusion ("ddpm") drowns in noise."""

_COARSE = 8
_MOST_NUMBERS = 1 << 28
"""Of an image's noise: a gigabyte."""
_Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From a velocity and a sample to the next sample."""


class GeneratorNetwork(nn.Module):
    """A network that makes images, with all that turns its answers into them.

    Args:
        network: of MONAI. Of a "gan" it takes ``(B, noise + conditions, ...)`` or a vector of noise and answers an
            image; of a flow or diffusion it takes ``(B, 1 + conditions, ...)`` and times ``(B,)`` in 0 to 1000, and
            answers the velocity.
        kind: "gan", "rectified_flow" or "ddpm".
        size: of the images, without batch and channel.
        noise_shape: of an image's noise, without batch.
        sampling_steps: of a flow or diffusion.
        seed: of the noise that is taken where none is given.
        low, high: the image's values at the network's -1 and 1.

    Attributes:
        needs_torch: other engines would unroll the steps of a flow or diffusion, which takes them minutes.
        on_step: called before each step of a flow or diffusion; what it raises ends the sampling.

    Raises:
        ValueError: an unknown kind, a size of other than two or three axes, no range of values, or
            more noise than fits into a memory.
    """

    own_noise: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        kind: str,
        size: Sequence[int],
        noise_shape: Sequence[int],
        sampling_steps: int,
        seed: int,
        low: float,
        high: float,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        if len(size) not in (2, 3) or min(size) < 1:
            raise ValueError(f"size must be two or three numbers, not {tuple(size)}")
        if not (math.isfinite(low) and math.isfinite(high) and low < high) or sampling_steps < 1:
            raise ValueError(f"low {low} must be below high {high}, and sampling_steps {sampling_steps} 1 or more")
        if max(math.prod(size), math.prod(noise_shape)) > _MOST_NUMBERS:
            raise ValueError(f"size {tuple(size)} with noise {tuple(noise_shape)} is too large")
        self.network = network
        self.kind = kind
        self.size = tuple(int(each) for each in size)
        self.noise_shape = tuple(int(each) for each in noise_shape)
        self.sampling_steps = min(int(sampling_steps), DIFFUSION_TIMES)
        self.seed = int(seed)
        self.low, self.high = float(low), float(high)
        self.needs_torch = kind != "gan"
        self.on_step: Callable[[], None] = _nothing
        # Kept, so that the network is a function of its input alone, which other engines can be made from.
        self.register_buffer("own_noise", self.noise(1), persistent=False)

    def noise(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return noise for ``count`` images; without a generator the same for each of them, told by the seed alone."""
        if generator is None:
            generator = torch.Generator().manual_seed(self.seed)
            one = torch.randn((1, *self.noise_shape), generator=generator)
            return one.expand(count, *one.shape[1:])
        return torch.randn((count, *self.noise_shape), generator=generator, device=generator.device)

    def made(self, noise: torch.Tensor, conditions: torch.Tensor | None = None) -> torch.Tensor:
        """Return images ``(B, 1, *size)`` in -1..1 for noise ``(B, *noise_shape)`` and conditions ``(B, C, *size)``."""
        if self.kind == "gan":
            inputs = noise if conditions is None else torch.cat([conditions, _coarse_and_fine(noise)], dim=1)
            return torch.tanh(self.network(inputs))
        sample = noise
        for now, step in self._way():
            self.on_step()
            times = torch.full((sample.shape[0],), float(now), device=sample.device)
            sample = step(self.velocity(sample, times, conditions), sample)
        return sample.clamp(-1.0, 1.0)

    def velocity(self, noisy: torch.Tensor, times: torch.Tensor, conditions: torch.Tensor | None) -> torch.Tensor:
        """Return where a noisy image ``(B, 1, *size)`` goes at ``times`` ``(B,)``, as a flow or diffusion is taught."""
        inputs = noisy if conditions is None else torch.cat([noisy, conditions], dim=1)
        return self.network(inputs, times.to(noisy.dtype))

    def in_units(self, images: torch.Tensor) -> torch.Tensor:
        """Return images of -1..1 with the values that they stand for."""
        return (images + 1.0) * (0.5 * (self.high - self.low)) + self.low

    def _way(self) -> Iterator[tuple[int, _Step]]:
        if self.kind == "rectified_flow":
            flow = RFlowScheduler(num_train_timesteps=DIFFUSION_TIMES)
            flow.set_timesteps(self.sampling_steps)
            times = [int(each) for each in flow.timesteps]
            for now, after in zip(times, [*times[1:], 0], strict=True):
                yield now, partial(_flow_step, flow, now, after)
        else:
            diffusion = DDIMScheduler(DIFFUSION_TIMES, prediction_type="v_prediction", **SCHEDULE)
            diffusion.set_timesteps(self.sampling_steps)
            # The scheduler's own times lie further apart than its step goes, where the steps are few.
            stride = DIFFUSION_TIMES // self.sampling_steps
            for now in range(stride * self.sampling_steps - 1, -1, -stride):
                yield now, partial(_diffusion_step, diffusion, now)


def _coarse_and_fine(noise: torch.Tensor) -> torch.Tensor:
    """Return noise whose first half of channels varies slowly: images then differ in more than their grain."""
    half = noise.shape[1] // 2
    if not half or min(noise.shape[2:]) < _COARSE:
        return noise
    dims = noise.ndim - 2
    pooled = (F.avg_pool2d if dims == 2 else F.avg_pool3d)(noise[:, :half], _COARSE)
    mode = "bilinear" if dims == 2 else "trilinear"
    # A mean of so many numbers varies that much less than one of them.
    slow = F.interpolate(pooled * _COARSE ** (dims / 2), size=noise.shape[2:], mode=mode, align_corners=False)
    return torch.cat([slow, noise[:, half:]], dim=1)


def _flow_step(flow: RFlowScheduler, now: int, after: int, answer: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    return flow.step(answer, now, sample, after)[0]


def _diffusion_step(diffusion: DDIMScheduler, now: int, answer: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    return diffusion.step(answer, now, sample)[0]


def _nothing() -> None:
    return
