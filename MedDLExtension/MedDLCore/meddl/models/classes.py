"""What the classes of a classifier, a detector or a landmark model are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meddl.models.metadata_values import as_mapping, image_format, own_value, printable
from meddl.models.segments import channel_names

if TYPE_CHECKING:
    from meddl.models.bundle import ModelBundle


def class_names(bundle: ModelBundle) -> tuple[str, ...]:
    """Return the names of a model's output channels, in order: ``meddl.classes`` or MONAI's ``channel_def``.

    Channels that nobody has named up to the last that has a name are called by their number; none are named: ().
    """
    own = own_value(bundle.metadata, "classes")
    if isinstance(own, list) and own:
        named = {index: str(as_mapping(each).get("name", "")) for index, each in enumerate(own)}
    else:
        named = channel_names(bundle.metadata)
    count = max(named, default=-1) + 1
    return tuple(printable(named.get(index, "")).strip() or f"class {index}" for index in range(count))


def output_channels(bundle: ModelBundle) -> int | None:
    """Return how many channels the network's answer has, or None where the bundle does not tell."""
    count = image_format(bundle.metadata, "outputs").get("num_channels")
    return count if type(count) is int and count > 0 else None
