"""What a rectified flow and a diffusion do with a batch of examples."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.schedulers import DDPMScheduler, RFlowScheduler
from torch import nn

from meddl.networks.generation import DIFFUSION_TIMES, SCHEDULE, GeneratorNetwork
from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.trainer import CLIP, Trainer


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
        nn.utils.clip_grad_norm_(self._network.parameters(), CLIP[self._config.kind])
        self._optimizer.step()
        return {"loss": float(loss.detach())}

    def _parts(self) -> dict[str, Any]:
        return {"optimizer": self._optimizer}


_WARMING = 50
"""Steps over which the rate of learning rises."""
