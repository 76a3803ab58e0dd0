"""What an image must be so that a scanner can be simulated on it."""

from __future__ import annotations

import numpy as np

from meddl.errors import VolumeError
from meddl.simulation.options import AXES, Axis
from meddl.volume import Grid, Volume

_PICTURES = ("png", "jpeg", "tiff")
_NO_AIR_HU = -50.0
"""Any CT of a patient has something darker: air or, where it was cut to the inside, fat."""
_MOST_HU = 70_000.0
_FAINTEST, _BRIGHTEST = 1e-20, 1e30
"""Float32 ends at 3e38, and squares of what is faint vanish."""
_TRACES = 0.01
"""Share of the voxels of a magnitude image that may lie clearly below zero; they are taken for zero."""


def check_magnitude(volume: Volume, what: str) -> None:
    """Refuse what is no MR magnitude image.

    Args:
        what: the method, as people call it.

    Raises:
        VolumeError: it is none; the message says why.
    """
    _check(volume, what)
    modality = str(volume.meta.get("modality", ""))
    if modality not in ("", "MR"):
        raise VolumeError(f"{what} takes MR images, and this one is marked as {modality}. Choose an MR image.")
    step = max(1, min(64, max(volume.shape) // 64))
    some = volume.array[0, ::step, ::step, ::step] if min(volume.shape) > 64 else volume.array[0]
    # Resampling leaves traces below zero, where edges overshoot.
    traces = -0.02 * max(float(np.percentile(some, 99.5)), 0.0)
    if float(np.mean(some < traces)) > _TRACES:
        raise VolumeError(f"{what} takes magnitude images, which have no values below 0, and the lowest value here is "
                          f"{float(volume.array.min()):g}. Choose an MR image that is neither CT nor normalized."
                          )  # fmt: skip
    if not volume.array.max() > 0:
        raise VolumeError(f"{what} has nothing to work on: the image is 0 everywhere.")
    if not _FAINTEST < (brightest := float(volume.array.max())) < _BRIGHTEST:
        raise VolumeError(f"{what} takes values that can be calculated with in 32 bits, and the largest here is "
                          f"{brightest:g}. Rescale the image first.")  # fmt: skip


def check_ct(volume: Volume, what: str) -> None:
    """Refuse what is no CT in Hounsfield units.

    Raises:
        VolumeError: it is none; the message says why.
    """
    _check(volume, what)
    modality = str(volume.meta.get("modality", ""))
    if modality not in ("", "CT"):
        raise VolumeError(f"{what} takes CT images, and this one is marked as {modality}. Choose a CT.")
    lowest, highest = float(volume.array.min()), float(volume.array.max())
    if (not modality and lowest > _NO_AIR_HU) or highest > _MOST_HU:
        raise VolumeError(f"{what} takes CT images in Hounsfield units (air -1000, water 0), and the values here are "
                          f"{lowest:g} to {highest:g}. Choose a CT, or rescale its values first.")  # fmt: skip


def axis_along(grid: Grid, axis: Axis) -> int:
    """Return the voxel axis that runs nearest to a direction of the patient."""
    pair = ("RL", "AP", "SI")[AXES.index(axis)]
    return next(number for number, letter in enumerate(grid.orientation) if letter in pair)


def _check(volume: Volume, what: str) -> None:
    if volume.channels != 1 or volume.meta.get("format") in _PICTURES:
        raise VolumeError(f"{what} takes an image of a scanner with one value per voxel, not a picture.")
    if volume.array.dtype.kind == "b":
        raise VolumeError(f"{what} takes an image, not a mask.")
    if volume.array.dtype.kind == "f" and not np.isfinite(volume.array).all():
        raise VolumeError(f"{what} takes numbers, and some voxels of the image hold none (NaN or infinite).")
    if sorted(volume.shape)[1] < 8:
        raise VolumeError(f"{what} takes images of at least 8 x 8 voxels, and this one has "
                          f"{' x '.join(map(str, volume.shape))}.")  # fmt: skip
