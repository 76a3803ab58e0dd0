"""Stored numbers into the values they stand for, where a header says that the two differ."""

from __future__ import annotations

import math

import numpy as np

from meddl.errors import VolumeError

_MIN_SLOPE, _MAX_VALUE = 1e-15, 1e15


def checked_scaling(slope: float, intercept: float, name: str) -> tuple[float, float]:
    """Return the two as given, or raise VolumeError if they are not finite, zero or absurdly large or small."""
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        what = "not a number"
    elif slope == 0:
        what = "zero, which would make all voxels equal"
    elif not _MIN_SLOPE <= abs(slope) <= _MAX_VALUE or abs(intercept) > _MAX_VALUE:
        what = "absurdly large or small"
    else:
        return slope, intercept
    raise VolumeError(f"{name} has a broken rescale slope or intercept: it is {what}. Export the image again.")


def rescaled(array: np.ndarray, slope: float, intercept: float, name: str) -> tuple[np.ndarray, dict[str, str]]:
    """Return ``array * slope + intercept`` and a note on it for :attr:`Volume.meta`.

    Slope 1 and intercept 0 return ``array`` itself. Whole-number slopes and intercepts of integers give the smallest
    of int16, int32 and int64 that holds the results and is no smaller than the stored type; all others give float32,
    or float64 for stored types of more than 24 bits.

    Raises:
        VolumeError: slope or intercept are not finite, zero or absurd, or the results leave their type's range.
    """
    slope, intercept = checked_scaling(slope, intercept, name)
    if slope == 1 and intercept == 0:
        return array, {}
    note = {"rescaled": f"slope {slope:g}, intercept {intercept:g}"}
    whole = array.dtype.kind in "iu" and slope == int(slope) and intercept == int(intercept)
    if whole:
        ends = [int(end) * int(slope) + int(intercept) for end in (array.min(), array.max())]
        for dtype in (np.dtype(np.int16), np.dtype(np.int32), np.dtype(np.int64)):
            limits = np.iinfo(dtype)
            if dtype.itemsize >= array.dtype.itemsize and limits.min <= min(ends) and max(ends) <= limits.max:
                # On the way values may leave the type, but integers wrap around, so that the results are right.
                if slope != 1:
                    array = array.astype(np.int64) * int(slope)
                return array.astype(dtype) + np.array(int(intercept)).astype(dtype), note
        raise VolumeError(f"{name} has a rescale slope or intercept that makes its values overflow. Export it again.")
    wide = array.dtype.itemsize > 2 and array.dtype != np.float32
    result = np.empty_like(array, dtype=np.float64 if wide else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        np.multiply(array, slope, out=result, dtype=np.float64, casting="same_kind")
        np.add(result, intercept, out=result)
    if array.dtype.kind in "iu" and not np.isfinite(result).all():
        raise VolumeError(f"{name} has a rescale slope or intercept that makes its values overflow. Export it again.")
    return result, note
