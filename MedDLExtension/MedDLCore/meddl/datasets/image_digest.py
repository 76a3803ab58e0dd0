"""Telling that two files hold the same image."""

from __future__ import annotations

import hashlib

import numpy as np

from meddl.volume import Volume

_NOTHING = "0" * 16


def image_digest(volume: Volume) -> str:
    """Return the SHA-256 of an image's voxels in the order of the patient's axes: right, anterior, superior.

    The same image has the same digest whatever file, data type or axis order it is stored in, and wherever its header
    places it. Values are compared as 32-bit floats, so that a copy which went through another number format is still
    known; of values that are no numbers only their place counts. The digest of an image with the same value everywhere
    begins with sixteen zeros (see :func:`telling_parts`).

    Example:
        >>> stored = np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4)
        >>> flipped = Volume(stored[:, ::-1].astype(np.float64), np.diag([-2.0, 1.0, 1.0, 1.0]))
        >>> image_digest(Volume(stored, np.diag([2.0, 1.0, 1.0, 1.0]))) == image_digest(flipped)
        True
    """
    array = _in_order_of_patient(volume)
    first, is_plain = np.float32(np.nan), True
    digest = hashlib.sha256(f"{array.shape}".encode())
    for index in range(array.shape[3]):
        with np.errstate(over="ignore"):  # beyond 32 bits: infinite, in every copy
            values = array[..., index].astype("<f4", order="C")
        values += np.float32(0)  # -0 is 0
        values[np.isnan(values)] = np.nan  # there are many
        digest.update(values.data)
        first = values.flat[0] if index == 0 else first
        is_plain = is_plain and bool((values == first).all())
    return _NOTHING + digest.hexdigest()[len(_NOTHING) :] if is_plain else digest.hexdigest()


def telling_parts(digest: str) -> tuple[str, ...]:
    """Return the images of :attr:`meddl.datasets.facts.CaseFacts.digest` by which a case is known among others.

    Images with one value everywhere, as fill the place of a channel that was not acquired, are alike in patients who
    have nothing to do with each other: they are left out, but for a case that has nothing else.
    """
    parts = tuple(part for part in digest.split("-") if part)
    return tuple(part for part in parts if not part.startswith(_NOTHING)) or parts


def _in_order_of_patient(volume: Volume) -> np.ndarray:
    """Return a view of the voxels whose axes point nearest to R, A and S."""
    code = volume.orientation
    order = [next(axis for axis, letter in enumerate(code) if letter in pair) for pair in ("RL", "AP", "SI")]
    array = volume.array.transpose(0, *(axis + 1 for axis in order))
    flips = tuple(slice(None, None, 1 if code[axis] in "RAS" else -1) for axis in order)
    return array[(slice(None), *flips)]
