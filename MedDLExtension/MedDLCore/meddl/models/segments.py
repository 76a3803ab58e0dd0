"""What the labels of a segmentation model mean."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from meddl.errors import ModelError
from meddl.models.metadata_values import as_mapping, image_format, own_part, printable
from meddl.volume import Segment


def segments_from_metadata(metadata: Mapping[str, Any], multilabel: bool = False) -> tuple[Segment, ...]:
    """Return the segments a bundle's metadata names: MONAI's ``channel_def``, refined by ``meddl.segments``.

    ``meddl.segments`` is an object ``{"1": {"name": ..., "color": [r, g, b], "terminology": ...}, ...}``. Label 0 is
    background and never a segment. Colors that are not given are spread around the color wheel.

    Args:
        metadata: of the bundle.
        multilabel: structures may overlap: each channel of the network's answer is a structure of its own, in a layer
            of its own; channel 0 is label 1.
    """
    channels = channel_names(metadata) if multilabel else _label_names(metadata)
    named = {index + int(multilabel): {"name": text} for index, text in channels.items()}
    own = own_part(metadata, "segments")
    for key, value in own.items():
        named.setdefault(_label(key), {}).update(as_mapping(value))
    segments = [_segment(label, facts) for label, facts in sorted(named.items()) if label > 0]
    if not multilabel:
        return tuple(segments)
    return tuple(replace(each, layer=each.label - 1) for each in segments if each.name.lower() not in _BACKGROUND)


_BACKGROUND = ("background", "bg")


def unnamed_segment(label: int, layer: int = 0) -> Segment:
    """Return a segment for a label of which the model tells nothing."""
    return replace(_segment(label, {}), layer=layer)


def _segment(label: int, facts: Mapping[str, Any]) -> Segment:
    color = facts.get("color", colorsys.hsv_to_rgb(label * 0.618034 % 1.0, 0.55, 0.9))
    if (
        not isinstance(color, list | tuple)
        or len(color) != 3
        or not all(isinstance(part, int | float) and 0 <= part <= 1 for part in color)
    ):
        raise ModelError(f"The color of label {label} in metadata.json is not three numbers from 0 to 1.")
    red, green, blue = (float(part) for part in color)
    terminology = facts.get("terminology", "")
    name = printable(str(facts.get("name") or "")).strip() or f"Label {label}"
    return Segment(label, name, (red, green, blue), printable(str(terminology or "")))


def channel_names(metadata: Mapping[str, Any]) -> dict[int, str]:
    """Return MONAI's ``channel_def`` of a bundle's first output: names by channel number."""
    channels = as_mapping(image_format(metadata, "outputs").get("channel_def"))
    return {_label(key): str(text) for key, text in channels.items()}


def _label_names(metadata: Mapping[str, Any]) -> dict[int, str]:
    names = channel_names(metadata)
    if image_format(metadata, "outputs").get("num_channels") == 1 and len(names) == 1:
        # One channel of scores: above the threshold is label 1, whatever the channel's number.
        return {1: next(iter(names.values()))}
    return names


def _label(key: object) -> int:
    text = str(key)
    if not (text.isascii() and text.isdecimal()) or len(text) > 5:
        raise ModelError(f"metadata.json names a label {text[:40]!a}; labels are whole numbers.")
    return int(text)
