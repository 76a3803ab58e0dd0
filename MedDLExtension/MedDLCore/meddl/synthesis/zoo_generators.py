"""Generators of MONAI's Model Zoo: latent diffusion and GANs, without running the scripts that come with them."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Callable, Container, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from meddl.errors import ModelError
from meddl.models import content
from meddl.models.allowed_targets import short_name
from meddl.models.bundle import ModelBundle
from meddl.models.config_tree import is_component
from meddl.models.metadata_values import as_mapping, as_text, image_format
from meddl.models.restricted_config import RestrictedConfig
from meddl.models.trust import TrustStore
from meddl.randomness import normal_field, uniform_field
from meddl.synthesis.facts import SynthesisFacts
from meddl.synthesis.generators import Cancel, Generator, checked, load_network, running

_SCHEDULERS = ("DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "RFlowScheduler")
_SIZE_IN_WORDS = re.compile(
    r"(?<![\d.])(\d{1,3}(?:\.\d{1,6})?)\s{0,3}(?:x\s{0,3}\d{1,3}(?:\.\d{1,6})?\s{0,3}){0,2}mm", re.IGNORECASE
)
_STEPS = 50
_LARGEST = 1 << 30
_LEVELS = 16  # each halves or doubles an image
_DENOISERS = ("network_def", "diffusion_def", "diffusion_unet_def")


def zoo_generator(bundle: ModelBundle, trust: TrustStore, device: Callable[[], Any]) -> Generator | None:
    """Return the generator in a bundle that MedDL has not trained; None for models of other kinds.

    Raises:
        ModelError: there is one that cannot be run here.
    """
    if bundle.task != "generation":
        return None
    tree = bundle.config()
    if "autoencoder_def" in tree and as_mapping(tree.get("noise_scheduler")):
        if reason := _own_way(tree):
            raise ModelError(f"The model '{bundle.name}' cannot be run here: {reason}. Run it with MONAI's own program "
                             "(python -m monai.bundle run), and take what it makes.")  # fmt: skip
        return LatentDiffusion(bundle, trust, device)
    if short_name(as_text(as_mapping(tree.get("network_def")).get("_target_"))) == "Generator":
        return NoiseToImage(bundle, trust, device)
    raise ModelError(f"The model '{bundle.name}' makes images in a way that is not known here. Run it with MONAI's own "
                     "program (python -m monai.bundle run), and take what it makes.")  # fmt: skip


def _own_way(tree: Mapping[str, Any]) -> str:
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
    """

    batch = 1

    def __init__(self, bundle: ModelBundle, trust: TrustStore, device: Callable[[], Any]) -> None:
        self._bundle, self._trust, self._find_device = bundle, trust, device
        config = bundle.restricted_config()
        tree = bundle.config()
        self._denoiser_id = _denoiser_id(tree)
        shape = config.get("latent_shape", None)
        if not _is_shape(shape, (3, 4)):
            raise ModelError(f"The model '{bundle.name}' does not tell the shape of its noise.")
        self._latent = tuple(int(each) for each in shape)
        decoder = config.get("autoencoder_def", raw=True)
        channels = config.get("autoencoder_def::channels", None) or as_mapping(decoder).get("num_channels")
        if not isinstance(channels, list) or not 0 < len(channels) <= _LEVELS:
            raise ModelError(f"The model '{bundle.name}' does not tell how its decoder is made.")
        factor = 1 << (len(channels) - 1)
        size = tuple(each * factor for each in self._latent[1:])
        self.facts, self.notes = _told(bundle, "ddpm", size)
        self._steps = _steps_of(config)
        self._scheduler()  # what cannot be made is told at once

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of the features."""
        return self._latent

    def made(self, noise: np.ndarray, labels: np.ndarray | None, cancel: Cancel) -> np.ndarray:
        """Return images ``(N, 1, *size)``."""
        import torch

        scheduler = self._scheduler()()
        denoiser, decoder = self._networks
        features = torch.from_numpy(np.ascontiguousarray(noise, np.float32)).to(self._device)
        scheduler.set_timesteps(self._steps)
        times = scheduler.timesteps
        with running(self._bundle.name):
            for now, after in zip(times, [*times[1:], 0], strict=True):
                cancel()
                at = torch.full((len(features),), float(now), device=self._device)
                answer = denoiser(features, timesteps=at)
                # A flow is told where it goes to; a diffusion takes its own steps.
                more = (after,) if type(scheduler).__name__ == "RFlowScheduler" else ()
                features = scheduler.step(answer, now, features, *more)[0]
            cancel()
            images = decoder.decode_stage_2_outputs(features)
        return checked(images.float().cpu().numpy(), (len(noise), 1, *self.facts.size), self._bundle.name)

    @cached_property
    def _device(self) -> Any:
        return self._find_device()

    @cached_property
    def _networks(self) -> tuple[Any, Any]:
        places = (
            (self._denoiser_id, ("load_diffusion_path", "trained_diffusion_path"), "model"),
            ("autoencoder_def", ("load_autoencoder_path", "trained_autoencoder_path"), "model_autoencoder"),
        )
        found = [
            _quietly(load_network, self._bundle, self._trust, id, _weights(self._bundle, keys, name), self._device)
            for id, keys, name in places
        ]
        return found[0], found[1]

    def _scheduler(self) -> Callable[[], Any]:
        """Return what makes the scheduler; one of MONAI's, with numbers and words only."""
        config = self._bundle.restricted_config()
        given = as_mapping(config.get("noise_scheduler", raw=True))
        name = short_name(as_text(given.get("_target_")))
        if name not in _SCHEDULERS:
            raise ModelError(f"The model '{self._bundle.name}' takes its steps by {name or 'nothing'}, which is not "
                             f"known here. Known are: {', '.join(_SCHEDULERS)}.")  # fmt: skip
        arguments = {key: config.get(f"noise_scheduler::{key}") for key in given if not key.startswith("_")}
        if strange := [key for key, value in arguments.items() if not isinstance(value, str | int | float | bool)]:
            raise ModelError(f"The model '{self._bundle.name}' tells its scheduler {strange[0]}, which is no number.")

        def make() -> Any:
            from monai.networks import schedulers

            try:
                return getattr(schedulers, name)(**arguments)
            except (TypeError, ValueError) as error:
                raise ModelError(
                    f"The scheduler of '{self._bundle.name}' cannot be made.", details=str(error)
                ) from error

        return make


class NoiseToImage(Generator):
    """MONAI's ``Generator`` of a GAN: a few numbers become an image."""

    def __init__(self, bundle: ModelBundle, trust: TrustStore, device: Callable[[], Any]) -> None:
        self._bundle, self._trust, self._find_device = bundle, trust, device
        config = bundle.restricted_config()
        latent, start, strides = (
            config.get(f"network_def::{name}", None) for name in ("latent_shape", "start_shape", "strides")
        )
        latent = [latent] if isinstance(latent, int) else latent
        if (
            not _is_shape(latent, (1, 2, 3, 4))
            or not _is_shape(start, (3, 4))
            or not _is_shape(strides, range(1, _LEVELS + 1))
        ):
            raise ModelError(f"The model '{bundle.name}' does not tell the shape of its noise or image.")
        self._latent = tuple(int(each) for each in latent)
        scale = math.prod(int(each) for each in strides)
        self.facts, self.notes = _told(bundle, "gan", tuple(int(each) * scale for each in start[1:]))
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
    def _device(self) -> Any:
        return self._find_device()

    @cached_property
    def _network(self) -> Any:
        weights = self._bundle.weights_path or self._bundle.path / "models" / "model.pt"
        return load_network(self._bundle, self._trust, "network_def", weights, self._device)


def _told(bundle: ModelBundle, kind: Any, size: tuple[int, ...]) -> tuple[SynthesisFacts, tuple[str, ...]]:
    if math.prod(size) > _LARGEST:
        raise ModelError(f"The model '{bundle.name}' tells of images of {' x '.join(map(str, size))} voxels, too many.")
    metadata = bundle.metadata
    said = " ".join(as_text(metadata.get(key)) for key in ("image_classes", "description", "task"))
    found = _SIZE_IN_WORDS.search(said)
    notes = []
    if not found:
        notes.append(f"The model '{bundle.name}' does not tell the size of its voxels: 1 mm is taken.")
    notes.append(f"Nobody can tell here which patients '{bundle.name}' has learned from: make sure that none of them "
                 "is among those that judge.")  # fmt: skip
    value_range = as_mapping(as_mapping(metadata.get("autoencoder_data_format")).get("outputs")).get("pred")
    low, high = _range(as_mapping(value_range) or image_format(metadata, "outputs"))
    modality = next((name for word, name in _MODALITIES if re.search(word, said, re.IGNORECASE)), "")
    facts = SynthesisFacts(
        kind, False, size, float(found[1]) if found else 1.0, "axial", {}, low, high, modality, {"dataset": as_text(
            metadata.get("data_source"))},
    )  # fmt: skip
    return facts, tuple(notes)


_MODALITIES = ((r"\bMRI?\b", "MR"), (r"\bCT\b", "CT"), (r"x.?ray", "DX"))


def _range(said: Mapping[str, Any]) -> tuple[float, float]:
    limits = said.get("value_range")
    if isinstance(limits, list) and len(limits) == 2 and all(isinstance(each, int | float) for each in limits):
        low, high = float(limits[0]), float(limits[1])
        if low < high:
            return low, high
    return 0.0, 1.0


def _steps_of(config: RestrictedConfig) -> int:
    for method, arguments in config.method_calls("noise_scheduler"):
        steps = arguments.get("num_inference_steps")
        if method == "set_timesteps" and type(steps) is int and 0 < steps <= 1000:
            return steps
    steps = config.get("num_inference_steps", _STEPS)
    return steps if type(steps) is int and 0 < steps <= 1000 else _STEPS


def _weights(bundle: ModelBundle, keys: tuple[str, ...], name: str) -> Path:
    config = bundle.restricted_config()
    for key in keys:
        if (path := config.text(key)) is not None:
            try:
                return content.inside(bundle.path, path)
            except ModelError as error:
                raise ModelError(f"{error.message} Fetch the weights of '{bundle.name}' as the page about the model "
                                 "says, and put them into its folder 'models'.") from error  # fmt: skip
    for ending in (".safetensors", ".pt"):
        if (bundle.path / "models" / f"{name}{ending}").is_file():
            return content.inside(bundle.path, f"models/{name}{ending}")
    return bundle.path / "models" / f"{name}.pt"


def _is_shape(value: Any, lengths: Container[int]) -> bool:
    """Say whether a shape is one, of no more numbers than fit into a memory."""
    return (
        isinstance(value, list)
        and len(value) in lengths
        and all(type(each) is int and each > 0 for each in value)
        and math.prod(value) < 1 << 28
    )


def _quietly(work: Callable[..., Any], *arguments: Any) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # MONAI prints how it renames weights
        return work(*arguments)
