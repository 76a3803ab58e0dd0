"""Reading values of a bundle's metadata, which anybody may have written: what is not as expected counts as absent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

_TAG = re.compile(r"<(?=\s*[A-Za-z/!?])")


def as_mapping(value: object) -> Mapping[str, Any]:
    """Return ``value``, or an empty mapping if it is none."""
    return value if isinstance(value, Mapping) else {}


def as_text(value: object) -> str:
    """Return the text ``value`` in one line that can be shown, or '' if it is none."""
    return printable(value).strip() if isinstance(value, str) else ""


def printable(text: str) -> str:
    """Return a bundle's words with nothing in them that steers a terminal, a file's header or the reading order.

    Nor what Qt, which looks for it in labels, tooltips and messages, would take for HTML and load pictures for: the
    first character of a tag becomes another one that looks like it.
    """
    return _TAG.sub(
        "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}", "".join(c if c.isprintable() else " " for c in text)
    )


def own_value(metadata: Mapping[str, Any], key: str) -> Any:
    """Return ``meddl.KEY``, one of the things that a bundle says beyond MONAI's schema, or None."""
    return as_mapping(metadata.get("meddl")).get(key)


def own_part(metadata: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return ``meddl.KEY`` where that is a mapping, else an empty one."""
    return as_mapping(own_value(metadata, key))


def image_formats(metadata: Mapping[str, Any], side: Literal["inputs", "outputs"]) -> list[Mapping[str, Any]]:
    """Return what MONAI's ``network_data_format`` says of each of the network's inputs or outputs."""
    return [as_mapping(each) for each in as_mapping(as_mapping(metadata.get("network_data_format")).get(side)).values()]


def image_format(metadata: Mapping[str, Any], side: Literal["inputs", "outputs"]) -> Mapping[str, Any]:
    """Return what is said of the first input or output; an empty mapping if nothing is."""
    return next(iter(image_formats(metadata, side)), {})
