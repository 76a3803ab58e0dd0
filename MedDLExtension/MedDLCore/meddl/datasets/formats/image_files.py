"""Images of a dataset as files of their own: volumes, and flat pictures as PNG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from meddl.batch.naming import safe_names
from meddl.datasets.case import PreparedCase
from meddl.errors import MedDLError, VolumeError
from meddl.volume import Volume, read_volume, whole_file, write_volume

PNG = ".png"


def is_picture(volume: Volume) -> bool:
    """Say whether a PNG holds the volume without loss: one slice along K, gray of 8 or 16 bits or color of 8."""
    kind = (volume.channels, volume.array.dtype.str[1:])
    return volume.shape[2] == 1 and kind in ((1, "u1"), (1, "u2"), (3, "u1"))


def write_images(case: PreparedCase, folder: Path, place: str, ending: str) -> list[str]:
    """Write all channels of a case into ``folder / place`` and return their paths, relative to ``folder``.

    One channel is called as the case, several have the channel's name behind it.

    Args:
        ending: of the files; "" makes .png of pictures, .nii.gz of all else.

    Raises:
        VolumeError: an image cannot be written, does not fit into a PNG that was asked for, or has values that are no
            numbers.
    """
    check_numbers(case.name, case.images.values())
    stems = file_stems(case.name, tuple(case.images))
    (folder / place).mkdir(parents=True, exist_ok=True)
    paths = []
    for stem, volume in zip(stems, case.images.values(), strict=True):
        path = f"{place}/{stem}{ending or (PNG if is_picture(volume) else '.nii.gz')}"
        write_image(volume, folder / path)
        paths.append(path)
    return paths


def file_stems(case: str, channels: Sequence[str]) -> list[str]:
    """Return the file name without ending of each channel, distinct also where upper and lower case are one."""
    if len(channels) == 1:
        return [case]
    names = safe_names(channels)
    joined = [name.replace(" ", "_") for name in names]
    distinct = len({name.casefold() for name in joined}) == len(joined)
    return [f"{case}_{name}" for name in (joined if distinct else names)]


def check_numbers(name: str, images: Iterable[Volume]) -> None:
    """Find out whether all values of a case's images are numbers.

    Raises:
        VolumeError: some are not; training would not get over them.
    """
    for image in images:
        if image.array.dtype.kind == "f" and not np.isfinite(image.array).all():
            raise VolumeError(
                f"An image of {name} has values that are no numbers (NaN or infinite), which spoil a training. "
                "Replace them first, for instance by the value of air."
            )


def write_image(volume: Volume, path: Path) -> None:
    """Write a volume to a file, by its ending; a .png holds its pixels only, I to the right and J downwards."""
    if path.name.endswith(PNG):
        _write_png(volume, path)
    else:
        write_volume(volume, path)


def _write_png(volume: Volume, path: Path) -> None:
    if not is_picture(volume):
        raise VolumeError(
            "A PNG holds one slice of 8 or 16 bits in gray, or of 8 bits in color, which an image of the dataset is "
            "not. Let the images end in .nii.gz."
        )
    from PIL import Image

    pixels = np.ascontiguousarray(volume.array[:, :, :, 0].transpose(2, 1, 0))
    image = Image.fromarray(pixels if volume.channels == 3 else pixels[:, :, 0])
    with whole_file(path) as file:
        image.save(file, format="PNG")


def read_back(root: Path, path: str, *, multichannel: bool = False) -> Volume | str:
    """Return an image of a dataset, or a sentence that says what is wrong with its file.

    Args:
        multichannel: the images of a 4-D file are values of one voxel.
    """
    try:
        volume = read_volume(root / path, multichannel=multichannel)
    except MedDLError as error:
        return f"{path} cannot be read: {error}"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or 'the system refused it'}."
    if volume.array.dtype.kind == "f" and not np.isfinite(volume.array).all():
        return f"{path} has values that are no numbers."
    return volume
