"""Examples that together cover a label map, and the one image that they become."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

from meddl.randomness import Stream, normal_field

Start = tuple[int, ...]


def windows(labels: np.ndarray, size: tuple[int, ...], whole: bool) -> list[Start]:
    """Return the first voxels of the examples that cover what is labeled; none where nothing is.

    An axis that an example can hold as a whole is held so, in its middle. Else one example that holds all labels is
    moved no further from the middle than it must; where none holds them, several overlap by half.

    Args:
        labels: ``(I, J)`` or ``(I, J, K)``.
        size: of an example.
        whole: the generator has seen whole slices; else what is labeled lay in the middle of its examples.
    """
    along = []
    for axis, (extent, wanted) in enumerate(zip(labels.shape, size, strict=True)):
        others = tuple(each for each in range(labels.ndim) if each != axis)
        used = np.flatnonzero(labels.any(axis=others))
        if not used.size:
            return []
        low, high = int(used[0]), int(used[-1]) + 1
        middle = (extent - wanted) // 2
        if high - low > wanted:
            count = 1 + math.ceil(2 * (high - low - wanted) / wanted)
            along.append([low + round(n * (high - low - wanted) / (count - 1)) for n in range(count)])
        elif not whole and extent > wanted:
            along.append([(low + high - wanted) // 2])
        else:
            along.append([min(max(middle, high - wanted), low)])
    return list(product(*along))


def cut(array: np.ndarray, start: Start, size: tuple[int, ...]) -> np.ndarray:
    """Return an example of an array, 0 where it reaches beyond."""
    out = np.zeros(size, array.dtype)
    source, goal = _places(array.shape, start, size)
    out[goal] = array[source]
    return out


class NoiseField:
    """Noise that lies still in the world while windows move over it: where they overlap they begin with the same.

    Args:
        token: names the field.
        shape: of the room that windows are taken from; they may reach beyond it by half of their size.
        size: of the windows.
        channels: of the noise.
        knots: of slices, how many of them it takes until the noise is another one; 0: of patches.
    """

    def __init__(
        self, token: str, shape: Sequence[int], size: Sequence[int], channels: int, knots: float = 0.0
    ) -> None:
        self._token, self._knots = token, knots
        self._pad = [n // 2 + 1 for n in size]
        self._shape = (channels, *(n + 2 * pad for n, pad in zip(shape, self._pad, strict=True)))
        self._kept: dict[int, np.ndarray] = {}

    def at(self, start: Start, size: tuple[int, ...], slice_index: int = 0) -> np.ndarray:
        """Return the noise ``(channels, *size)`` of an example, each value of mean 0 and variance 1."""
        field = self._between(slice_index / self._knots) if self._knots else self._field(0)
        where = tuple(slice(s + p, s + p + n) for s, p, n in zip(start, self._pad, size, strict=True))
        return field[(slice(None), *where)]

    def _between(self, place: float) -> np.ndarray:
        # From slice to slice it changes little by little, as tissue does, and its variance stays.
        knot, share = math.floor(place), place - math.floor(place)
        if share < 1e-6:
            return self._field(knot)
        angle = share * math.pi / 2
        return np.float32(math.cos(angle)) * self._field(knot) + np.float32(math.sin(angle)) * self._field(knot + 1)

    def _field(self, knot: int) -> np.ndarray:
        if knot not in self._kept:
            self._kept = {each: field for each, field in self._kept.items() if each == knot - 1}
            self._kept[knot] = normal_field(Stream(self._token, knot).token(), self._shape)
        return self._kept[knot]


class Canvas:
    """An image that examples are blended into.

    Args:
        shape: of the image.
        size: of the examples.
        empty: value where there is none.
    """

    def __init__(self, shape: tuple[int, ...], size: tuple[int, ...], empty: float) -> None:
        self._sum = np.zeros(shape, np.float32)
        self._weight = np.zeros(shape, np.float32)
        self._size, self._empty = size, empty
        self._window = _blending(size)

    def add(self, image: np.ndarray, start: Start) -> None:
        """Add an example ``size``."""
        source, goal = _places(self._sum.shape, start, self._size)
        self._sum[source] += (image * self._window)[goal]
        self._weight[source] += self._window[goal]

    @property
    def image(self) -> np.ndarray:
        """What has become of them."""
        made = self._weight > 0
        out = np.full(self._sum.shape, self._empty, np.float32)
        out[made] = self._sum[made] / self._weight[made]
        return out


def _blending(size: Sequence[int]) -> np.ndarray:
    weight = np.ones(tuple(size), np.float32)
    for axis, count in enumerate(size):
        ramp = np.sin(np.pi * (np.arange(count) + 0.5) / count).astype(np.float32) ** 2 + np.float32(1e-3)
        weight = weight * ramp.reshape([-1 if each == axis else 1 for each in range(len(size))])
    return weight


def _places(shape: Sequence[int], start: Start, size: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    source, goal = [], []
    for first, wanted, count in zip(start, size, shape, strict=True):
        low, high = max(first, 0), max(max(first, 0), min(first + wanted, count))
        source.append(slice(low, high))
        goal.append(slice(low - first, high - first))
    return tuple(source), tuple(goal)
