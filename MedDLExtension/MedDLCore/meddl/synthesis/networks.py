"""The networks of a generator as a bundle's config describes them, and the discriminator that a GAN learns from."""

from __future__ import annotations

import math
from typing import Any

from meddl.synthesis.config import SynthesisConfig

NOISE_CHANNELS = 4
LATENT = 32
_TOKENS = 512
"""Attention over more positions than 8 x 8 x 8 takes more time than all else."""
_FEATURES = {
    ("gan", True): (16, 32, 32, 64, 64),
    ("gan", False): (8, 32, 64, 96),
    ("rectified_flow", True): (16, 32, 48, 64),
    ("rectified_flow", False): (16, 32, 48, 64),
    ("ddpm", True): (16, 32, 48, 64),
    ("ddpm", False): (16, 32, 48, 64),
}
_FOLDED = (32, 32, 64, 64, 64)
"""Where blocks of voxels are one place to the network."""
_NEAR = 16
"""Channels at the voxels themselves there."""
_SEEDS = 10_000
_SEEN = {1: 16, 2: 34, 3: 70}
"""Voxels that one answer of a discriminator of so many layers looks at, along each axis."""
_LEFT = 3
"""Places along an axis that its last two convolutions need."""


def network_config(config: SynthesisConfig, labels: int, low: float, high: float) -> dict[str, Any]:
    """Return what ``network_def`` of the bundle's config makes the generator of.

    Args:
        config: kind and size of the generator.
        labels: values of label maps, the background among them; 0 for a generator that is not conditioned.
        low, high: the image's values at the network's -1 and 1.
    """
    own: dict[str, Any] = {
        "network": _network(config, labels),
        "kind": config.kind,
        "size": list(config.size),
        "sampling_steps": config.sampling_steps,
        "seed": config.seed % _SEEDS,
        "low": float(low),
        "high": float(high),
    }
    if not labels:
        return {"_target_": "meddl.networks.ImageFromNoise", **own, "latent": LATENT}
    return {"_target_": "meddl.networks.LabelsToImage", **own, "labels": labels, "noise_channels": NOISE_CHANNELS}


def features_of(config: SynthesisConfig) -> tuple[int, ...]:
    """Return the channels of the network's levels, from fine to coarse."""
    if config.features:
        return config.features
    known = _FEATURES[config.kind, config.conditioned]
    if math.prod(config.fold) > 1:
        return _FOLDED
    return known if config.kind == "gan" else known[: _levels(config, len(known))]


def discriminator_config(config: SynthesisConfig, labels: int) -> dict[str, Any]:
    """Return what the discriminator of a GAN is made of: it sees the image with the label map that it should fit."""
    if not labels:
        return {
            "_target_": "PatchDiscriminator",
            "spatial_dims": config.dimensions,
            "channels": 24 if config.dimensions == 2 else 16,
            "in_channels": 1,
            # Without a label map nothing but the discriminator tells the shape of the whole: it looks that far.
            "num_layers_d": _layers(config.size),
            "norm": None,
        }
    return {
        "_target_": "PatchDiscriminator",
        "spatial_dims": config.dimensions,
        "channels": 24 if config.dimensions == 2 else 16,
        "in_channels": 1 + labels,
        "num_layers_d": 2,
        "norm": "INSTANCE",
    }


def encoder_config(config: SynthesisConfig) -> dict[str, Any]:
    """Return what tells the noise of an image is made of: its mean, and the logarithm of its variance."""
    halvings = min(4, (min(config.size) // 4).bit_length() - 1)
    return {
        "_target_": "Regressor",
        "in_shape": [1, *config.size],
        "out_shape": [2 * LATENT],
        "channels": [16, 32, 64, 64][:halvings],
        "strides": [2] * halvings,
        "num_res_units": 0,
        "norm": "BATCH",
    }


def make_network(definition: dict[str, Any]) -> Any:
    """Return the module that such a description makes, with random weights."""
    from pathlib import Path

    from meddl.models.restricted_config import RestrictedConfig

    tree = {"network_def": definition}
    return RestrictedConfig(tree, bundle_root=Path(), source="inference.json").get("network_def")


def _network(config: SynthesisConfig, labels: int) -> dict[str, Any]:
    if config.kind != "gan":
        return _denoiser(config, labels)
    network = _gan(config, labels)
    if math.prod(config.fold) == 1:
        return network
    return {
        "_target_": "meddl.networks.Folded",
        "network": network,
        "fold": list(config.fold),
        "in_channels": labels + NOISE_CHANNELS,
        "out_channels": 1,
        "features": _NEAR,
    }


def _gan(config: SynthesisConfig, labels: int) -> dict[str, Any]:
    features = features_of(config)
    if not labels:
        return {
            "_target_": "meddl.networks.VectorToImage",
            "latent": LATENT,
            "size": list(config.size),
            "features": list(features),
        }
    return {
        "_target_": "BasicUNet",
        "spatial_dims": config.dimensions,
        "in_channels": (labels + NOISE_CHANNELS) * math.prod(config.fold),
        "out_channels": _NEAR if math.prod(config.fold) > 1 else 1,
        # Five levels, and what comes before the image.
        "features": [*features[:5], *[features[-1]] * (5 - len(features)), features[0]],
        "norm": ["group", {"num_groups": _groups(features, config.folded_size, 4)}],
        # Transposed convolutions draw a checkerboard.
        "upsample": "nontrainable",
    }


def _denoiser(config: SynthesisConfig, labels: int) -> dict[str, Any]:
    features = features_of(config)
    groups = _groups(features, config.size, len(features) - 1)
    return {
        "_target_": "DiffusionModelUNet",
        "spatial_dims": config.dimensions,
        "in_channels": 1 + labels,
        "out_channels": 1,
        "channels": list(features),
        "num_res_blocks": 1,
        # MONAI's network attends at its coarsest level whatever is said here.
        "attention_levels": [False] * len(features),
        "num_head_channels": groups,
        "norm_num_groups": groups,
    }


def _layers(size: tuple[int, ...]) -> int:
    """Return how many layers see the longest side of an image and leave something of the shortest."""
    wanted = next(layers for layers in (1, 2, 3, 4) if layers == 4 or _SEEN[layers] >= max(size))
    return next(layers for layers in range(wanted, 0, -1) if min(size) >> layers >= _LEFT)


def _groups(features: tuple[int, ...], size: tuple[int, ...], halvings: int) -> int:
    """Return into how many groups channels are divided to be normalized: one number alone has no spread."""
    groups = math.gcd(8, *features)
    alone = all(each >> halvings <= 1 for each in size) and features[-1] == groups
    return max(1, groups // 2) if alone else groups


def _levels(config: SynthesisConfig, most: int) -> int:
    """Return how often an example is halved, and one: until attention is cheap, as far as the size goes."""
    for levels in range(3, most + 1):
        divisor = 1 << (levels - 1)
        if math.prod(size // divisor for size in config.size) <= _TOKENS:
            return levels
    return most
