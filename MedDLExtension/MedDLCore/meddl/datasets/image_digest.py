"""Telling that two files hold the same image."""

from __future__ import annotations

import hashlib

import numpy as np

from meddl.volume import Volume


def image_digest(volume: Volume) -> str:
    """Return the SHA-256 of an image's voxels in the order of the patient's axes: right, anterior, superior.

    The same image has the same digest whatever file, data type or axis order it is stored in, and wherever its header
    places it. Values are compared as 32-bit floats, so that a copy which went through another number format is still
    known; of values that are no numbers only their place counts.

    Example:
        >>> stored = np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4)
        >>> flipped = Volume(stored[:, ::-1].astype(np.float64), np.diag([-2.0, 1.0, 1.0, 1.0]))
        >>> image_digest(Volume(stored, np.diag([2.0, 1.0, 1.0, 1.0]))) == image_digest(flipped)
        True
    """
    array = _in_order_of_patient(volume)
    digest = hashlib.sha256(f"{array.shape}".encode())
    for index in range(array.shape[3]):
        with np.errstate(over="ignore"):  # beyond 32 bits: infinite, in every copy
            values = array[..., index].astype("<f4", order="C")
        values += np.float32(0)  # -0 is 0
        values[np.isnan(values)] = np.nan  # there are many
        digest.update(values.data)
    return digest.hexdigest()


def _in_order_of_patient(volume: Volume) -> np.ndarray:
    """Return a view of the voxels whose axes point nearest to R, A and S."""
    code = volume.orientation
    order = [next(axis for axis, letter in enumerate(code) if letter in pair) for pair in ("RL", "AP", "SI")]
    array = volume.array.transpose(0, *(axis + 1 for axis in order))
    flips = tuple(slice(None, None, 1 if code[axis] in "RAS" else -1) for axis in order)
    return array[(slice(None), *flips)]
