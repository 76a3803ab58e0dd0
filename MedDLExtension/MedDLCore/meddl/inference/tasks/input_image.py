"""Making an image such as a network can take it: at right angles, and a single slice where it wants one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from meddl.errors import ModelError
from meddl.inference.run import Run
from meddl.inference.shear import SHEAR_TOLERANCE, without_shear
from meddl.volume import Volume, is_sheared

if TYPE_CHECKING:
    from meddl.inference.stage import Stage


def straightened(image: Volume, run: Run) -> Volume:
    """Return the image with its axes at right angles, resampled if they are not; the run's notes tell of it."""
    if not is_sheared(image.affine, SHEAR_TOLERANCE):
        return image
    run.note("The image's axes are not at right angles: the network saw it resampled to a straight grid.")
    with run.watch.step("deshear"):
        return without_shear(image)


def refuse_stack(image: Volume, stage: Stage) -> None:
    """Refuse a volume where the network takes a single slice and no slice can be chosen for the user.

    Raises:
        ModelError: as said.
    """
    if stage.flat and image.shape[2] > 1:
        raise ModelError(
            f"The model '{stage.bundle.name}' takes a single slice; this image has {image.shape[2]}. Give it the "
            "slice alone."
        )


def slice_of(image: Volume, index: int) -> Volume:
    """Return one slice along the last axis, as a volume of one slice at its place."""
    affine = np.array(image.affine)
    affine[:3, 3] += affine[:3, 2] * index
    return Volume(image.array[..., index : index + 1], affine, image.name, image.meta)


def first_axis_fastest(array: np.ndarray) -> np.ndarray:
    """Return the same ``(C, I, J, K)`` with each channel stored as Slicer keeps voxels, the first axis fastest.

    Slicer can then take a result's memory over as it is: copying it would keep its main thread busy.
    """
    ordered = np.empty((*array.shape[1:], array.shape[0]), array.dtype, order="F")
    # Channel by channel, plane by plane: a copy that turns the axes around keeps to the processor's cache.
    for channel in range(array.shape[0]):
        for plane in range(array.shape[2]):
            ordered[:, plane, :, channel] = array[channel, :, plane]
    return np.moveaxis(ordered, -1, 0)
