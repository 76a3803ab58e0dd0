"""The range of an image's values that a network's -1 to 1 stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_VOXELS = 2_000_000
_AIR_HU = -1024.0
_HOUNSFIELD = -500.0
_SHARES = (0.5, 99.5)


@dataclass(frozen=True)
class CaseValues:
    """Of one image: its 0.5th and 99.5th percentile, and whether they look like Hounsfield units."""

    low: float
    high: float
    hounsfield: bool


@dataclass(frozen=True)
class ValueRange:
    """Of a dataset.

    Attributes:
        low, high: the values at -1 and at 1.
        by_case: values mean nothing by themselves (MR): each image's own range is brought to this one.
    """

    low: float
    high: float
    by_case: bool

    def scaled(self, image: np.ndarray, own: CaseValues) -> np.ndarray:
        """Return an image in -1..1, float32; what is beyond the range is at its end."""
        low, high = (own.low, own.high) if self.by_case else (self.low, self.high)
        values = np.nan_to_num(image.astype(np.float32), nan=low, posinf=high, neginf=low)
        return np.clip((values - low) * (2.0 / (high - low)) - 1.0, -1.0, 1.0, dtype=np.float32)


def values_of(image: np.ndarray, modality: str = "") -> CaseValues:
    """Return the range of an image; of a large one every n-th voxel is looked at.

    Args:
        image: of any shape.
        modality: as DICOM names it; only of a CT, or where it is not known, low values are taken for air.
    """
    flat = image.reshape(-1)
    flat = flat[:: max(1, flat.size // _VOXELS)].astype(np.float32)
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return CaseValues(0.0, 1.0, False)
    hounsfield = modality in ("", "CT") and bool(flat.min() < _HOUNSFIELD and flat.max() > _AIR_HU)
    if hounsfield:  # scanners write lower ones around their field of view
        flat = np.maximum(flat, _AIR_HU)
    low, high = (float(each) for each in np.percentile(flat, _SHARES))
    return CaseValues(low, high if high > low else low + 1.0, hounsfield)


def common_range(cases: Sequence[CaseValues], modality: str) -> ValueRange:
    """Return the range of a dataset: of CT all that its cases have, else the median of theirs."""
    lows, highs = [case.low for case in cases], [case.high for case in cases]
    if modality == "CT" or (not modality and all(case.hounsfield for case in cases)):
        return ValueRange(min(lows), max(highs), False)
    low, high = float(np.median(lows)), float(np.median(highs))
    return ValueRange(low, high if high > low else low + 1.0, True)
