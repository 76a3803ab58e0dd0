"""GANs of the Model Zoo: a few numbers become an image."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from meddl.errors import ModelError
from meddl.models.bundle import ModelBundle
from meddl.models.trust import TrustStore
from meddl.randomness import normal_field, uniform_field
from meddl.synthesis.generators import Cancel, Generator, checked, load_network, running
from meddl.synthesis.sampling import AS_TOLD, Sampling
from meddl.synthesis.zoo_reading import LEVELS, is_shape, told_facts


class NoiseToImage(Generator):
    """MONAI's ``Generator`` of a GAN.

    Raises:
        ModelError: the config does not tell what it takes.
        UsageError: it cannot be sampled so.
    """

    def __init__(
        self, bundle: ModelBundle, trust: TrustStore, device: Callable[[], Any], sampling: Sampling = AS_TOLD
    ) -> None:
        super().__init__(bundle, trust, device)
        sampling.only(bundle.name)
        config = bundle.restricted_config()
        latent, start, strides = (
            config.get(f"network_def::{name}", None) for name in ("latent_shape", "start_shape", "strides")
        )
        latent = [latent] if isinstance(latent, int) else latent
        if (
            not is_shape(latent, (1, 2, 3, 4))
            or not is_shape(start, (3, 4))
            or not is_shape(strides, range(1, LEVELS + 1))
        ):
            raise ModelError(f"The model '{bundle.name}' does not tell the shape of its noise or image.")
        self._latent = tuple(int(each) for each in latent)
        scale = math.prod(int(each) for each in strides)
        self.facts, self.notes = told_facts(bundle, "gan", tuple(int(each) * scale for each in start[1:]))
        text = str(bundle.config())
        # What it was trained with, as its own inference config draws it.
        self._is_uniform = "torch.rand(" in text and "torch.randn(" not in text
        self._sigmoid = bool(re.search(r"'sigmoid': True", text))
        self.axes = "LPS" if len(self.facts.size) == 2 else "RAS"  # as pictures lie: to the right, and down

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of the numbers."""
        return self._latent

    def noise(self, token: str) -> np.ndarray:
        """Return numbers as the generator was trained with."""
        if not self._is_uniform:
            return normal_field(token, self._latent)
        return ((uniform_field(token, self._latent) + 1.0) / 2.0).astype(np.float32)

    def made(self, noise: np.ndarray, labels: np.ndarray | None, cancel: Cancel) -> np.ndarray:
        """Return images ``(N, 1, *size)``."""
        import torch

        cancel()
        with running(self._bundle.name):
            images = self._network(torch.from_numpy(np.ascontiguousarray(noise, np.float32)).to(self._device))
            images = torch.sigmoid(images) if self._sigmoid else images
        return checked(images.float().cpu().numpy(), (len(noise), 1, *self.facts.size), self._bundle.name)

    @cached_property
    def _network(self) -> Any:
        weights = self._bundle.weights_path or self._bundle.path / "models" / "model.pt"
        return load_network(self._bundle, self._trust, "network_def", weights, self._device)
