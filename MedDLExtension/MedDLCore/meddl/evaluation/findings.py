"""Boxes and points against those of a reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

_SAMPLES_PER_AXIS = 40


class BoxLike(Protocol):
    """What is known of a box: see :class:`meddl.inference.Box`."""

    @property
    def label(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def center(self) -> np.ndarray: ...
    @property
    def size(self) -> np.ndarray: ...
    @property
    def axes(self) -> np.ndarray: ...


@dataclass(frozen=True)
class BoxPair:
    """A box that was found and the reference's that it covers: their places in the lists, overlap and distance."""

    found: int
    reference: int
    overlap: float
    distance_mm: float


@dataclass(frozen=True)
class DetectionAgreement:
    """Which boxes were found.

    Attributes:
        pairs: found boxes with the reference box that each covers.
        missed: places in the reference of those that no box covers.
        extra: places among the found of those that cover none.
        sensitivity: part of the reference that was found; NaN for an empty reference.
        precision: part of the found that is in the reference; NaN if nothing was found.
    """

    pairs: tuple[BoxPair, ...]
    missed: tuple[int, ...]
    extra: tuple[int, ...]
    sensitivity: float
    precision: float


def compare_boxes(
    found: Sequence[BoxLike], reference: Sequence[BoxLike], *, min_overlap: float = 0.1
) -> DetectionAgreement:
    """Match boxes: by falling score, each found box takes the free reference box of its label that it overlaps most.

    Args:
        found, reference: in RAS mm, each with axes of its own.
        min_overlap: the intersection over union from which a box counts as found. In three dimensions it falls fast:
            two equal cubes moved apart by a third of their edge along each axis overlap by 0.17.
    """
    overlaps = np.array([[box_overlap(a, b) if a.label == b.label else 0.0 for b in reference] for a in found])
    overlaps = overlaps.reshape(len(found), len(reference))
    free, pairs = set(range(len(reference))), []
    for index in sorted(range(len(found)), key=lambda index: -found[index].score):
        best = max(free, key=lambda other: (overlaps[index, other], -other), default=None)
        if best is not None and overlaps[index, best] >= max(min_overlap, 1e-9):
            free.remove(best)
            distance = float(np.linalg.norm(np.subtract(found[index].center, reference[best].center)))
            pairs.append(BoxPair(index, best, float(overlaps[index, best]), distance))
    hits = {pair.found for pair in pairs}
    return DetectionAgreement(
        tuple(pairs),
        tuple(sorted(free)),
        tuple(index for index in range(len(found)) if index not in hits),
        len(pairs) / len(reference) if reference else math.nan,
        len(pairs) / len(found) if found else math.nan,
    )


def box_overlap(box: BoxLike, other: BoxLike) -> float:
    """Return the intersection over union of two boxes: exact if their edges are parallel, else to about one percent."""
    size, other_size = np.asarray(box.size, dtype=float), np.asarray(other.size, dtype=float)
    volumes = float(size.prod()), float(other_size.prod())
    if not all(volumes):
        return 0.0
    offset = np.subtract(other.center, box.center)
    if np.linalg.norm(offset) > (np.linalg.norm(size) + np.linalg.norm(other_size)) / 2:
        return 0.0
    turn = np.asarray(box.axes).T @ np.asarray(other.axes)  # the other's edges along this one's
    offset = np.asarray(box.axes).T @ offset
    if np.allclose(np.sort(np.abs(turn), axis=0)[1], 0, atol=1e-6):
        sides = np.abs(turn) @ other_size
        low, high = np.maximum(-size / 2, offset - sides / 2), np.minimum(size / 2, offset + sides / 2)
        shared = float(np.clip(high - low, 0, None).prod())
    else:
        steps = (np.arange(_SAMPLES_PER_AXIS) + 0.5) / _SAMPLES_PER_AXIS - 0.5
        points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
        inside = (np.abs(points * other_size @ turn.T + offset) <= size / 2).all(axis=1)
        shared = float(inside.mean()) * volumes[1]
    return shared / (sum(volumes) - shared)


def compare_landmarks(
    found: Mapping[str, Sequence[float] | np.ndarray], reference: Mapping[str, Sequence[float] | np.ndarray]
) -> dict[str, float]:
    """Return the distance in mm of each reference point to the found one of its name; NaN if it was not found."""
    return {
        name: float(np.linalg.norm(np.subtract(found[name], point))) if name in found else math.nan
        for name, point in reference.items()
    }
