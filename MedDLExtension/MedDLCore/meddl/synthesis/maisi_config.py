"""The numbers of a MAISI bundle's inference config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meddl.errors import ModelError
from meddl.models.allowed_targets import short_name
from meddl.models.bundle import ModelBundle
from meddl.models.metadata_values import as_mapping, as_text
from meddl.models.restricted_config import RestrictedConfig
from meddl.synthesis.maisi_networks import CONTROL, DECODER, SHRINK, UNET
from meddl.synthesis.zoo_reading import LEVELS, is_shape

_CLASSES = {UNET: "DiffusionModelUNetMaisi", CONTROL: "ControlNetMaisi", DECODER: "AutoencoderKlMaisi"}
_WINDOW = [96, 96, 96]
_OVERLAP = 0.6667
_LEAST = 8
"""Features along a side of a window: smaller ones would take days."""
_CT = 1
"""For networks that know several modalities."""


@dataclass(frozen=True)
class MaisiConfig:
    """What a bundle tells of its networks.

    Attributes:
        latent: channels of the features.
        bits: planes in which a label map is shown.
        needs_region: the network is told the parts of the body.
        first: channels of the network's first level; more where a deeper one takes more memory.
        decoder: channels of the decoder's last level; more likewise.
        window: features that are decoded at once, along each axis.
        overlap: of such windows.
        modality: that the network is told, where it knows several.
    """

    latent: int
    bits: int
    needs_region: bool
    first: int
    decoder: int
    window: tuple[int, ...]
    overlap: float
    modality: int


def is_maisi(tree: Mapping[str, Any]) -> bool:
    """Say whether a config is that of a MAISI generator."""
    return all(short_name(as_text(as_mapping(tree.get(id)).get("_target_"))) == name for id, name in _CLASSES.items())


def maisi_config(bundle: ModelBundle) -> MaisiConfig:
    """Return what a bundle tells.

    Raises:
        ModelError: it makes no sense.
    """
    config = bundle.restricted_config()
    levels = config.get(f"{DECODER}::num_channels", None)
    if not isinstance(levels, list) or len(levels) != SHRINK.bit_length():
        raise ModelError(f"The decoder of '{bundle.name}' does not make {SHRINK} voxels of one, as MAISI's does.")
    window = config.get("autoencoder_sliding_window_infer_size", _WINDOW)
    overlap = config.get("autoencoder_sliding_window_infer_overlap", _OVERLAP)
    possible = is_shape(window, (3,)) and min(window) >= _LEAST
    if not possible or not isinstance(overlap, int | float) or not 0 <= overlap < 0.95:
        raise ModelError(f"The config of '{bundle.name}' does not tell how images are decoded.")
    return MaisiConfig(
        _whole(bundle, config, "latent_channels", 4, 64),
        _whole(bundle, config, f"{CONTROL}::conditioning_embedding_in_channels", 8, 8),
        config.get(f"{UNET}::include_top_region_index_input", False) is True,
        _widest(bundle, config, UNET),
        _widest(bundle, config, DECODER),
        tuple(int(each) for each in window),
        float(overlap),
        _whole(bundle, config, "modality", _CT, 1000),
    )


def _widest(bundle: ModelBundle, config: RestrictedConfig, id: str) -> int:
    """Return how many channels at the finest level take the memory of any: the next one has an eighth of the places."""
    levels = config.get(f"{id}::num_channels", None)
    if not isinstance(levels, list) or not 0 < len(levels) <= LEVELS or any(type(each) is not int for each in levels):
        raise ModelError(f"The config of '{bundle.name}' does not tell the channels of '{id}'.")
    return max(-(-channels // 8**level) for level, channels in enumerate(levels))


def _whole(bundle: ModelBundle, config: RestrictedConfig, id: str, usual: int, most: int) -> int:
    value = config.get(id, usual)
    if type(value) is not int or not 1 <= value <= most:
        raise ModelError(f"The config of '{bundle.name}' tells '{id}' as {str(value)[:40]!a}.")
    return value
