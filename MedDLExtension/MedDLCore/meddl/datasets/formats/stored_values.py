"""Values of an image as the whole numbers of 16 bits that a DICOM file stores, and the way back from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meddl.errors import VolumeError

_MAX_VALUE = 1e15
_STEPS = 65535


@dataclass(frozen=True, eq=False)
class StoredValues:
    """Whole numbers that stand for ``array * slope + intercept``.

    Attributes:
        array: of the shape of the image, int16 or uint16.
        slope, intercept: texts of 16 characters or less, as DICOM writes decimal numbers.
        largest_error: largest difference to the image's values, 0 where nothing is lost.
    """

    array: np.ndarray
    slope: str
    intercept: str
    largest_error: float


def stored_values(array: np.ndarray) -> StoredValues:
    """Return how an image is stored.

    Whole numbers that span no more than 65536 values, of whatever type, are kept exactly, with a slope of 1 (and an
    intercept of 0 where they fit into 16 bits as they are). All others are scaled: 65536 steps from the least to the
    greatest value, so that none is more than about half a step off.

    Raises:
        VolumeError: some values are no numbers, or absurdly large.

    Example:
        >>> stored_values(np.array([0.0, 0.5, 1.0])).largest_error < 1e-5
        True
    """
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise VolumeError(
            "The image has values that are no numbers, which DICOM cannot hold. Replace them, or choose another format."
        )
    if max(abs(low), abs(high)) > _MAX_VALUE:
        raise VolumeError(
            f"The image has values up to {max(abs(low), abs(high)):.3g}, which DICOM's 16 bits cannot be scaled to. "
            "Scale the image, or choose another format."
        )
    if array.dtype.kind in "biu" or bool((array == np.rint(array)).all()):
        for dtype in (np.int16, np.uint16):
            limits = np.iinfo(dtype)
            if limits.min <= low and high <= limits.max:
                return StoredValues(array.astype(dtype), "1", "0", 0.0)
        if high - low <= _STEPS and abs(low) < 2**53:
            return StoredValues((array.astype(np.int64) - int(low)).astype(np.uint16), "1", str(int(low)), 0.0)
    slope, intercept = decimal_text((high - low) / (_STEPS - 1) or 1.0), decimal_text(low)
    stored = np.clip(np.rint((array.astype(np.float64) - float(intercept)) / float(slope)), 0, _STEPS)
    error = float(np.abs(stored * float(slope) + float(intercept) - array).max())
    return StoredValues(stored.astype(np.uint16), slope, intercept, error)


def decimal_text(number: float) -> str:
    """Return a number with as many digits as DICOM's 16 characters of a decimal string hold."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(number) + 0.0)
