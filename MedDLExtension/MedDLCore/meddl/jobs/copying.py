"""Arrays into a segment and out again, in small steps so that a thread with something else to do may stop between."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .segments import Segment

BLOCK = 2 * 2**20
"""Bytes copied per step: about a millisecond."""

_ALIGNMENT = 64  # bytes: a cache line, and enough for any vector instruction


@dataclass(frozen=True)
class ArraySpec:
    """Where an array lies in a segment, C-ordered."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)

    def to_json(self) -> list[Any]:
        return [self.dtype.str, list(self.shape), self.offset]

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> ArraySpec:
        return cls(np.dtype(data[0]), tuple(data[1]), int(data[2]))


def lay_out(arrays: Sequence[np.ndarray]) -> tuple[list[ArraySpec], int]:
    """Return where each array goes in one segment for all, and the size of that segment, which may be zero."""
    specs, end = [], 0
    for array in arrays:
        start = -(-end // _ALIGNMENT) * _ALIGNMENT
        specs.append(ArraySpec(array.dtype, array.shape, start))
        end = start + array.nbytes
    return specs, end


def fill(segment: Segment, arrays: Sequence[np.ndarray], specs: Sequence[ArraySpec]) -> Iterator[None]:
    """Copy ``arrays`` into ``segment``, one block per step. Raises OSError if there is no memory for it."""
    for array, spec in zip(arrays, specs, strict=True):
        if spec.nbytes == 0:
            continue
        position = spec.offset
        for target, source in _blocks(segment.array(spec.offset, spec.dtype, spec.shape), array):
            segment.reserve(position, position + target.nbytes)
            target[...] = source
            segment.forget(position, position + target.nbytes)
            position += target.nbytes
            yield


def copy_out(segment: Segment | None, specs: Sequence[ArraySpec], arrays: list[np.ndarray]) -> Iterator[None]:
    """Append a copy of each array in ``segment`` to ``arrays``, one block per step. See :func:`views`."""
    for spec in specs:
        array = np.empty(spec.shape, spec.dtype)
        if segment is not None and spec.nbytes:
            position = spec.offset
            for target, source in _blocks(array, segment.array(spec.offset, spec.dtype, spec.shape)):
                target[...] = source
                segment.forget(position, position + target.nbytes)
                position += target.nbytes
                yield
        arrays.append(array)


def views(segment: Segment | None, specs: Sequence[ArraySpec]) -> list[np.ndarray]:
    """Return read-only views of the arrays in ``segment``; no segment is needed for arrays without a byte."""
    arrays = []
    for spec in specs:
        if segment is None or spec.nbytes == 0:
            array = np.empty(spec.shape, spec.dtype)
            array.flags.writeable = False
        else:
            array = segment.array(spec.offset, spec.dtype, spec.shape)
        arrays.append(array)
    return arrays


def _blocks(target: np.ndarray, source: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut two arrays of one shape into small pairs, in the order in which a C-ordered ``target`` lies in memory."""
    axis = next((i for i, n in enumerate(target.shape) if n > 1), None)
    if target.nbytes <= BLOCK or axis is None:
        yield target, source
        return
    half = target.shape[axis] // 2
    for part in (slice(None, half), slice(half, None)):
        index = (slice(None),) * axis + (part,)
        yield from _blocks(target[index], source[index])
