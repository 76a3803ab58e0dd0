"""The first convolution of a network, computed where an image differs from another one and not elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from meddl.inference.engines.first_pooling import FirstPooling

Box = tuple[slice, ...]
"""Voxels from start to stop along each axis of an image or of a convolution's answer."""


def changed_box(base: np.ndarray, image: np.ndarray) -> Box | None:
    """Return the smallest box in which two images ``(1, C, ...)`` differ, or None."""
    import numpy as np

    changed, box = (base != image).any(axis=(0, 1)), []
    for _ in range(changed.ndim):
        found = changed.any(axis=tuple(range(1, changed.ndim))).nonzero()[0]
        if not len(found):
            return None
        box.append(slice(int(found[0]), int(found[-1]) + 1))
        # The next axis comes first, and looks only at what this one has left.
        changed = np.moveaxis(changed[box[-1]], 0, -1)
    return tuple(box)


@dataclass(frozen=True)
class FirstConvolution:
    """A convolution of an image.

    Attributes:
        weight: ``(O, C, ...)``.
        bias: ``(1, O, 1, ...)``, or None.
        size: of the answer along each axis.
        strides, dilations, padding: along each axis; padding with zeros, of which ``padding`` before the image.
        moments: of the answer that what follows takes, too: 1 the mean of each channel, 2 the variance as well.
        pooling: that what follows takes instead of the answer itself; None: there is none.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: tuple[int, ...]
    moments: int = 0
    pooling: FirstPooling | None = None

    def reached(self, box: Box) -> Box | None:
        """Return a box of the answer outside of which the image's voxels in ``box`` have no part in it, or None.

        Its edges are 4, 6, 8, 12, 16, 24 ..., or the whole: few sizes come up, each of which has to be compiled.
        """
        found = []
        for axis, along in enumerate(box):
            size, stride = self.size[axis], self.strides[axis]
            # A voxel of the answer sees those from stride times its place on, padding included.
            first = max(0, -(-(along.start + self.padding[axis] - self.reach(axis)) // stride))
            last = min(size - 1, (along.stop - 1 + self.padding[axis]) // stride)
            if last < first:
                return None
            edge = min(size, _rounded_up(last - first + 1))
            first = min(first, size - edge)
            found.append(slice(first, first + edge))
        return tuple(found)

    def seen(self, image: np.ndarray, box: Box) -> np.ndarray:
        """Return the part of an image ``(1, C, ...)``, with padding, that a box of the answer is computed from."""
        import numpy as np

        crop: list[Any] = [...]
        place: list[Any] = [...]
        sizes = []
        for axis, along in enumerate(box):
            start = along.start * self.strides[axis] - self.padding[axis]
            sizes.append((along.stop - along.start - 1) * self.strides[axis] + self.reach(axis) + 1)
            crop.append(slice(max(0, start), min(start + sizes[-1], image.shape[2 + axis])))
            place.append(slice(crop[-1].start - start, crop[-1].stop - start))
        part = np.zeros((*image.shape[:2], *sizes), image.dtype)
        part[tuple(place)] = image[tuple(crop)]
        return part

    def reach(self, axis: int) -> int:
        """Return how far the last voxel lies behind the first one of those that one voxel of the answer sees."""
        return self.dilations[axis] * (self.weight.shape[2 + axis] - 1)

    def model(self, shape: tuple[int, ...]) -> Any:
        """Return it as an ``openvino.Model`` for what :meth:`seen` gives, of this shape."""
        import numpy as np
        import openvino
        from openvino import opset13 as ops

        none = [0] * len(self.size)
        given = ops.parameter(shape, np.float32)
        answer = ops.convolution(given, ops.constant(self.weight), self.strides, none, none, self.dilations)
        return openvino.Model([answer if self.bias is None else ops.add(answer, ops.constant(self.bias))], [given])


class AnswersNear:
    """A convolution's answers to images that are like one image outside of a box.

    Args:
        first: the convolution.
        base: the image ``(1, C, ...)``.
        compiled: compiles an ``openvino.Model``.
        number: of answers that can be used at the same time.
    """

    def __init__(self, first: FirstConvolution, base: np.ndarray, compiled: Callable[[Any], Any], number: int) -> None:
        self._first = first
        self._compiled = compiled
        self._requests: dict[tuple[int, ...], Any] = {}
        self._base = self._within(base, tuple(slice(0, size) for size in first.size))
        self._sums = _sums(self._base)
        self._given = self._base
        if first.pooling:
            self._given = first.pooling.of(self._base, tuple(slice(0, size) for size in first.pooling.size))
        self._answers = [self._given.copy() for _ in range(number)]
        self._changed: list[Any] = [()] * number

    def to(self, image: np.ndarray, box: Box | None, number: int) -> list[np.ndarray]:
        """Return the answer, pooled if it is to be, and its moments. What this number had before is overwritten.

        Args:
            image: ``(1, C, ...)``.
            box: outside of which it is the base; None: it is the base everywhere.
            number: which answer not to use any more.
        """
        answer, old, sums = self._answers[number], self._changed[number], self._sums
        if old:
            answer[old] = self._given[old]
        reached = self._first.reached(box) if box else None
        new: Any = (..., *reached) if reached else ()
        if reached:
            made = self._within(image, reached)
            sums = sums + _sums(made) - _sums(self._base[new])
            pooling = self._first.pooling
            if not pooling:
                answer[new] = made
            elif places := pooling.reached(reached):
                new = (..., *places)
                answer[new] = self._pooled(pooling, reached, made, places)
            else:
                new = ()
        self._changed[number] = new
        mean, square = sums / self._base[0, 0].size
        return [answer, *[each.astype("f4") for each in (mean, square - mean**2)[: self._first.moments]]]

    def _pooled(self, pooling: FirstPooling, reached: Box, made: np.ndarray, places: Box) -> np.ndarray:
        """Return pooled voxels, after what was made anew of the answer has been put into it."""
        there: Any = (..., *reached)
        before = self._base[there].copy()
        self._base[there] = made
        try:
            return pooling.of(self._base, places)
        finally:
            self._base[there] = before

    def _within(self, image: np.ndarray, box: Box) -> np.ndarray:
        seen = self._first.seen(image, box)
        if seen.shape not in self._requests:
            self._requests[seen.shape] = self._compiled(self._first.model(seen.shape)).create_infer_request()
        request = self._requests[seen.shape]
        request.infer([seen], share_inputs=True)
        return request.get_output_tensor(0).data.copy()


def _rounded_up(size: int) -> int:
    power = max(4, 1 << (size - 1).bit_length())
    return power * 3 // 4 if power > 4 and size <= power * 3 // 4 else power


def _sums(answer: np.ndarray) -> np.ndarray:
    """Return the sums ``(2, 1, O, 1, ...)`` of values and of their squares, exact enough to take one from another."""
    import numpy as np

    axes = tuple(range(2, answer.ndim))
    return np.stack([each.sum(-1, keepdims=True).sum(axes, "f8", keepdims=True) for each in (answer, answer * answer)])
