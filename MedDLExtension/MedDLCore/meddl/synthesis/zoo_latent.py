"""Latent diffusion of the Model Zoo: images out of chance alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from meddl.errors import ModelError
from meddl.models.bundle import ModelBundle
from meddl.models.config_tree import is_component
from meddl.models.metadata_values import as_mapping
from meddl.models.trust import TrustStore
from meddl.synthesis.generators import Cancel, Generator, checked, load_network, running
from meddl.synthesis.sampling import AS_TOLD, Sampling
from meddl.synthesis.zoo_reading import LEVELS, is_shape, told_facts, weights_file
from meddl.synthesis.zoo_schedule import Schedule

_DENOISERS = ("network_def", "diffusion_def", "diffusion_unet_def")


def own_way(tree: Mapping[str, Any]) -> str:
    """Return why a latent diffusion is none that noise and a decoder are enough for; "" where they are."""
    parts = [name for name in tree if "controlnet" in name.lower() and is_component(tree[name])]
    if parts or any("mask_generation" in name for name in tree):
        return (
            "it first makes label maps with networks of their own or takes them from files, and leads the image by "
            f"them ({parts[0] if parts else 'mask generation'}), all of it in scripts that come with it"
        )
    if not any(name in tree for name in _DENOISERS):
        return "its config tells no network that takes the noise away"
    if as_mapping(tree.get(_denoiser_id(tree))).get("with_conditioning"):
        return "its network wants to be told in numbers what to show, which nobody here can"
    return ""


def _denoiser_id(tree: Mapping[str, Any]) -> str:
    return next((name for name in _DENOISERS if name in tree), "")


class LatentDiffusion(Generator):
    """Noise becomes a small image of features, step by step, and a decoder makes the image of it (Rombach et al. 2022).

    As its own inference config has it: networks, scheduler and number of steps are taken from there.

    Raises:
        ModelError: the config does not tell what it takes.
        UsageError: it cannot be sampled so.
    """

    batch = 1

    def __init__(
        self, bundle: ModelBundle, trust: TrustStore, device: Callable[[], Any], sampling: Sampling = AS_TOLD
    ) -> None:
        super().__init__(bundle, trust, device)
        sampling.only(bundle.name, "steps")
        config = bundle.restricted_config()
        self._denoiser_id = _denoiser_id(bundle.config())
        shape = config.get("latent_shape", None)
        if not is_shape(shape, (3, 4)):
            raise ModelError(f"The model '{bundle.name}' does not tell the shape of its noise.")
        self._latent = tuple(int(each) for each in shape)
        decoder = config.get("autoencoder_def", raw=True)
        channels = config.get("autoencoder_def::channels", None) or as_mapping(decoder).get("num_channels")
        if not isinstance(channels, list) or not 0 < len(channels) <= LEVELS:
            raise ModelError(f"The model '{bundle.name}' does not tell how its decoder is made.")
        factor = 1 << (len(channels) - 1)
        size = tuple(each * factor for each in self._latent[1:])
        self._schedule = Schedule(bundle, sampling.steps)
        self.facts, notes = told_facts(bundle, self._schedule.kind, size)
        self.notes = (*notes, *self._schedule.notes)
        self.ticks = self._schedule.steps + 1

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of the features."""
        return self._latent

    @property
    def chosen(self) -> Mapping[str, Any]:
        """How images are made."""
        return {"steps": self._schedule.steps}

    def made(self, noise: np.ndarray, labels: np.ndarray | None, cancel: Cancel) -> np.ndarray:
        """Return images ``(N, 1, *size)``."""
        denoiser, decoder = self._networks
        device = self._device
        with running(self._bundle.name):
            features = self._schedule.features(
                noise, lambda given, at: denoiser(given.to(device), timesteps=at.to(device)), cancel
            )
            cancel()
            images = decoder.decode_stage_2_outputs(features.to(device))
        return checked(images.float().cpu().numpy(), (len(noise), 1, *self.facts.size), self._bundle.name)

    @cached_property
    def _networks(self) -> tuple[Any, Any]:
        places = (
            (self._denoiser_id, ("load_diffusion_path", "trained_diffusion_path"), "model"),
            ("autoencoder_def", ("load_autoencoder_path", "trained_autoencoder_path"), "model_autoencoder"),
        )
        found = [
            load_network(self._bundle, self._trust, id, weights_file(self._bundle, keys, name), self._device)
            for id, keys, name in places
        ]
        return found[0], found[1]
