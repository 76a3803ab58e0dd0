"""Images for a model: which file is which channel, and reading them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.errors import UsageError
from meddl.volume import read_frames, read_volume

if TYPE_CHECKING:
    from meddl.models import ModelBundle


def in_channel_order(bundle: ModelBundle, inputs: Mapping[str, Path]) -> tuple[Path, ...]:
    """Return the files of a case in the order of the model's input channels.

    One image alone is taken whatever it is called: it may hold all channels.

    Raises:
        UsageError: a channel has no image, or an image no channel.
    """
    if len(inputs) == 1:
        return tuple(inputs.values())
    names = [channel.name for channel in bundle.channels]
    given = {name.lower(): path for name, path in inputs.items()}
    if len(given) < len(inputs):
        raise UsageError("Two images are given for the same channel.")
    missing = [name for name in names if name.lower() not in given]
    if missing or len(given) > len(names):
        listed = ", ".join(names)
        what = f"There is no image for {missing[0]}" if missing else "There are more images than channels"
        raise UsageError(f"{what}. The model '{bundle.name}' takes: {listed}.")
    return tuple(given[name.lower()] for name in names)


def reads_frames(bundle: ModelBundle) -> bool:
    """Say whether a model reads a sequence of time frames."""
    return bundle.sequence_axis == "frames"


def read_images(bundle: ModelBundle, paths: Sequence[Path], series_uid: str | None = None) -> dict[str, Any]:
    """Return the images as the inference job takes them: ``volumes``, or ``frames`` for a model that reads those.

    Raises:
        VolumeError, UsageError: as :func:`meddl.volume.read_volume`.
    """
    if len(paths) == 1 and reads_frames(bundle):
        return {"frames": list(read_frames(paths[0], series_uid=series_uid))}
    if len(paths) == 1:
        # All channels in one file: a 4-D image, or a vector for each voxel.
        several = len(bundle.channels) > 1
        return {"volumes": [read_volume(paths[0], series_uid=series_uid, multichannel=several)]}
    return {"volumes": [read_volume(path, series_uid=series_uid) for path in paths]}
