"""What a model's input channels are: for instance the four MR sequences that a tumor model looks at together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meddl.models.metadata_values import as_mapping, as_text, image_format, own_value


@dataclass(frozen=True)
class Channel:
    """One image that a model takes.

    Attributes:
        name: what the model's authors call it, for instance ``T1c``.
        modality: of the image, or "" where they do not tell.
        hints: words, in lower case, by which such an image can be known from its name.
    """

    name: str
    modality: str = ""
    hints: tuple[str, ...] = ()


def channels_from_metadata(metadata: Mapping[str, Any]) -> tuple[Channel, ...]:
    """Return a model's input images in order.

    They are ``meddl.channels`` where the bundle has it, else its first input's ``channel_def``. A color image is one
    image of three channels. Where nothing is told, or the count does not fit, channels are numbered.
    """
    image = image_format(metadata, "inputs")
    count = image.get("num_channels")
    count = count if type(count) is int and 0 < count <= 256 else 1
    modality = as_text(image.get("modality"))
    own = own_value(metadata, "channels")
    if isinstance(own, list) and own and all(isinstance(each, Mapping) for each in own):
        return tuple(_own_channel(each, index, modality) for index, each in enumerate(own))
    if is_color(image):
        return (Channel("image", modality),)
    named = as_mapping(image.get("channel_def"))
    names = [as_text(named.get(str(index))) for index in range(count)]
    if count == 1:
        return (Channel(names[0] or "image", modality),)
    return tuple(
        Channel(name or f"channel {index + 1}", modality, (name.lower(),) if name else ())
        for index, name in enumerate(names)
    )


def is_color(image: Mapping[str, Any]) -> bool:
    """Tell from an input's description whether its three channels are red, green and blue."""
    if image.get("num_channels") != 3:
        return False
    names = {str(name).strip().lower() for name in as_mapping(image.get("channel_def")).values()}
    words = f"{image.get('format', '')} {image.get('modality', '')} {image.get('type', '')}".lower()
    if names & {"r", "g", "b", "red", "green", "blue", "rgb"} or "rgb" in words:
        return True
    # Three unnamed channels of a flat image: photographs, and X-rays that were saved as such.
    shape = image.get("spatial_shape")
    return len(names) < 3 and isinstance(shape, list) and len(shape) == 2


def _own_channel(facts: Mapping[str, Any], index: int, modality: str) -> Channel:
    name = as_text(facts.get("name")) or f"channel {index + 1}"
    hints = facts.get("hints")
    words = [as_text(hint).lower() for hint in hints] if isinstance(hints, list) else []
    return Channel(name, as_text(facts.get("modality")) or modality, tuple(dict.fromkeys([*words, name.lower()])))
