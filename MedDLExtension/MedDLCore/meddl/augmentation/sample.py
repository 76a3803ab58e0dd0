"""What is augmented: images with all that is known about them, moved together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from meddl.augmentation.sides import Sides
from meddl.errors import UsageError
from meddl.inference.prediction import Box, Landmark
from meddl.volume import Grid, Volume

_LOOKED_AT = 200_000
"""Voxels of an image that its range is taken from: enough for percentiles."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Images and their labels, in the world.

    Attributes:
        images: ``(C, I, J, K)`` by channel, each on a grid of its own or all on one.
        labels: ``(L, I, J, K)`` whole numbers, one channel per layer, on any grid.
        boxes, points: RAS mm.
        classes: of the images.
        target: of a reconstruction: it moves with the images, and what the scanner does to them it is spared.
        sides: what the labels become in a mirror; None where nobody knows: labeled images then have no mirror image in
            which left and right are exchanged.
    """

    images: Mapping[str, Volume]
    labels: Volume | None = None
    boxes: tuple[Box, ...] | None = None
    points: tuple[Landmark, ...] | None = None
    classes: tuple[str, ...] = ()
    target: Volume | None = None
    sides: Sides | None = None

    def __post_init__(self) -> None:
        if not self.images:
            raise UsageError("There is no image to augment.")
        if self.labels is not None and self.labels.array.dtype.kind not in "iub":
            raise UsageError("The labels to augment are no whole numbers.")
        object.__setattr__(self, "images", MappingProxyType(dict(self.images)))

    @property
    def one_sided(self) -> str:
        """Why left and right must not be exchanged, in a sentence; "" where they can."""
        if self.sides is not None:
            return self.sides.reason
        is_labeled = self.labels is not None or self.boxes or self.points or self.classes
        return "Which of its labels have a side was not said." if is_labeled else ""

    @property
    def grid(self) -> Grid:
        """Of the first image: what "the center" and "the axes" of the sample are taken from."""
        return next(iter(self.images.values())).grid


def range_of(image: Volume) -> tuple[float, float]:
    """Return the percentiles 0.5 and 99.5 of an image: what is dark and what is bright in it."""
    values = some_values(image)
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(each) for each in np.percentile(values, (0.5, 99.5)))
    if high - low < 1e-9 * max(1.0, abs(low)):
        low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low, low + 1.0)


def some_values(image: Volume) -> np.ndarray:
    """Return the finite values (float64) of voxels from all over an image, the same ones whatever its memory order."""
    array = image.array
    step = max(1, array.size // _LOOKED_AT)
    if step == 1:
        values = array.reshape(-1).astype(np.float64)
    else:  # not as a flat array: of one in Fortran's order that would be a copy of all of it
        values = array[np.unravel_index(np.arange(0, array.size, step), array.shape)].astype(np.float64)
    return np.asarray(values[np.isfinite(values)])
