"""The greatest of the voxels around each place of a first convolution's answer, where that answer has changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from meddl.inference.engines.first_convolution import Box


@dataclass(frozen=True)
class FirstPooling:
    """Of each axis.

    Attributes:
        kernel: voxels that are looked at.
        strides: voxels from one place to the next.
        padding: voxels before the first, of which none is the greatest.
        size: places.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[int, ...]
    size: tuple[int, ...]

    def reached(self, box: Box) -> Box | None:
        """Return a box of places outside of which voxels in ``box`` are not looked at, or None."""
        found = []
        for axis, along in enumerate(box):
            first = max(0, -(-(along.start + self.padding[axis] - self.kernel[axis] + 1) // self.strides[axis]))
            last = min(self.size[axis] - 1, (along.stop - 1 + self.padding[axis]) // self.strides[axis])
            if last < first:
                return None
            found.append(slice(first, last + 1))
        return tuple(found)

    def of(self, answer: np.ndarray, box: Box) -> np.ndarray:
        """Return the greatest voxels ``(1, O, ...)`` at the places of a box, of an answer ``(1, O, ...)``."""
        import numpy as np

        crop, pads = [], []
        for axis, along in enumerate(box):
            start = along.start * self.strides[axis] - self.padding[axis]
            stop = (along.stop - 1) * self.strides[axis] - self.padding[axis] + self.kernel[axis]
            size = answer.shape[2 + axis]
            crop.append(slice(max(start, 0), min(stop, size)))
            pads.append((max(-start, 0), max(stop - size, 0)))
        around: Any = (..., *crop)
        seen = answer[around]
        if any(map(any, pads)):
            seen = np.pad(seen, [(0, 0), (0, 0), *pads], constant_values=-np.inf)
        places = [along.stop - along.start for along in box]
        # Axis by axis: the greatest of a box is the greatest of the greatest of its rows.
        for axis, (step, many) in enumerate(zip(self.strides, places, strict=True)):
            rows = np.moveaxis(seen, 2 + axis, 0)
            shifted = (rows[at : at + step * (many - 1) + 1 : step] for at in range(self.kernel[axis]))
            seen = np.moveaxis(reduce(np.maximum, shifted), 0, 2 + axis)
        return np.ascontiguousarray(seen)
