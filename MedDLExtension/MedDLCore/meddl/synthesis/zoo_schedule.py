"""How a Zoo generator's noise becomes features, step by step: MONAI's schedulers, as a bundle's config has them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import ModelError, UsageError
from meddl.models.allowed_targets import short_name
from meddl.models.bundle import ModelBundle
from meddl.models.metadata_values import as_mapping, as_text
from meddl.synthesis.config import Kind
from meddl.synthesis.generators import Cancel

if TYPE_CHECKING:
    import torch

_KNOWN = ("DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "RFlowScheduler")
_STEPS = 50
_MOST_STEPS = 1000
_MOST_TIMES = 10_000


class Schedule:
    """The steps of a bundle's ``noise_scheduler``.

    A diffusion that was made for all of its training times (DDPM) takes fewer steps as DDIM (Song et al. 2021), which
    needs no other training: leaving out steps of DDPM itself would leave noise in the image.

    Args:
        bundle: with the config.
        steps: for an image; 0: as many as the config tells.

    Attributes:
        steps: for an image.
        notes: what the user should know, in sentences.

    Raises:
        ModelError: it is no scheduler of MONAI's, or one that cannot be made.
        UsageError: it cannot take so many steps.
    """

    def __init__(self, bundle: ModelBundle, steps: int = 0) -> None:
        self._bundle = bundle
        config = bundle.restricted_config()
        given = as_mapping(config.get("noise_scheduler", raw=True))
        self._name = short_name(as_text(given.get("_target_")))
        if self._name not in _KNOWN:
            raise ModelError(f"The model '{bundle.name}' takes its steps by {self._name or 'nothing'}, which is not "
                             f"known here. Known are: {', '.join(_KNOWN)}.")  # fmt: skip
        self._arguments = {key: config.get(f"noise_scheduler::{key}") for key in given if not key.startswith("_")}
        if strange := [
            key for key, value in self._arguments.items() if not isinstance(value, str | int | float | bool)
        ]:
            raise ModelError(f"The model '{bundle.name}' tells its scheduler {strange[0]}, which is no number.")
        times = self._arguments.get("num_train_timesteps", 1000)
        if type(times) is not int or not 1 <= times <= _MOST_TIMES:
            raise ModelError(f"The scheduler of '{bundle.name}' divides the way from noise to an image in {times!r}.")
        if steps > times:
            raise UsageError(f"{steps} steps were asked for, and '{bundle.name}' takes {times} at the most.")
        self.steps = steps or min(self._told_steps(times), times)
        self.notes: tuple[str, ...] = ()
        if self._name == "DDPMScheduler" and self.steps < times:
            self._take_fewer(times)

    @property
    def kind(self) -> Kind:
        """Of the generator."""
        return "rectified_flow" if self._name == "RFlowScheduler" else "ddpm"

    def features(
        self, noise: np.ndarray, answer: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], cancel: Cancel
    ) -> torch.Tensor:
        """Return what the noise becomes, float32 on the processor.

        All chance comes from the noise, also that of the steps in between, so that no device and no program that draws
        numbers beside it makes another image.

        Args:
            noise: ``(N, C, ...)``.
            answer: the network's: of features as they are, and their times ``(N,)``.
            cancel: called before each step.
        """
        import torch

        features = torch.from_numpy(np.ascontiguousarray(noise, np.float32))
        scheduler = self._made(features[0, 0].numel())
        times = scheduler.timesteps
        chance = torch.Generator().manual_seed(seed_of(noise))
        for now, after in zip(times, [*times[1:], 0], strict=True):
            cancel()
            at = torch.full((len(features),), float(now))
            told = answer(features, at).float().cpu()
            if self._name == "RFlowScheduler":  # a flow is told where it goes to
                features = scheduler.step(told, now, features, after)[0]
            elif self._name == "DDPMScheduler":
                features = scheduler.step(told, now, features, generator=chance)[0]
            else:
                features = scheduler.step(told, now, features)[0]
        return features

    def _told_steps(self, times: int) -> int:
        config = self._bundle.restricted_config()
        for method, arguments in config.method_calls("noise_scheduler"):
            steps = arguments.get("num_inference_steps")
            if method == "set_timesteps" and type(steps) is int and 0 < steps <= _MOST_STEPS:
                return steps
        steps = config.get("num_inference_steps", _STEPS)
        return steps if type(steps) is int and 0 < steps <= _MOST_STEPS else min(_STEPS, times)

    def _take_fewer(self, times: int) -> None:
        if str(self._arguments.get("variance_type", "")).startswith("learned"):
            raise UsageError(f"The model '{self._bundle.name}' takes all of its {times} steps: ask for no fewer.")
        self._name = "DDIMScheduler"
        self._arguments.pop("variance_type", None)
        self.notes = (f"The model was made for {times} steps and takes {self.steps} here, by DDIM instead of DDPM: the "
                      "image may be the worse for it.",)  # fmt: skip

    def _made(self, numbers: int) -> Any:
        from monai.networks import schedulers

        try:
            scheduler = getattr(schedulers, self._name)(**self._arguments)
            if self._name == "RFlowScheduler":
                scheduler.set_timesteps(self.steps, input_img_size_numel=numbers)
            else:
                scheduler.set_timesteps(self.steps)
        except (TypeError, ValueError, LookupError, ArithmeticError) as error:
            raise ModelError(f"The scheduler of '{self._bundle.name}' cannot be made.", details=str(error)) from error
        return scheduler


def seed_of(noise: np.ndarray) -> int:
    """Return the seed of what is drawn between the steps: one for each noise."""
    data = np.ascontiguousarray(noise, np.float32).tobytes()
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1
