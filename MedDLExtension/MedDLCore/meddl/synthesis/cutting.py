"""Examples cut out of a case: slices of its whole image, patches of it, or what lies round its labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from meddl.datasets.case import PreparedCase
from meddl.synthesis.config import SynthesisConfig
from meddl.volume import Volume

SLICE_AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}
_SHARE = 0.03
"""An example of less foreground shows nothing."""
_DARK = -0.9
_SLACK = 4
"""The share of an example (a quarter) by which what is covered may be larger, and still be one example."""
_PIECES = 8


@dataclass(frozen=True, eq=False)
class Cut:
    """An example: image ``(*size)`` in -1..1, labels ``(*size)`` uint8 or None, and its place on the prepared image."""

    image: np.ndarray
    labels: np.ndarray | None
    place: tuple[int, ...]


def plane_axes(config: SynthesisConfig) -> tuple[int, ...]:
    """Return the axes of a volume in R, A, S that an example has, in its order."""
    if config.dimensions == 3:
        return (0, 1, 2)
    return tuple(axis for axis in range(3) if axis != SLICE_AXIS[config.plane])


def upright(case: PreparedCase, channel: str, spacing: tuple[float, ...] = ()) -> tuple[Volume, Volume | None]:
    """Return image and labels of a case with axes R, A, S as near as voxels go, straight, and with other voxels.

    Args:
        case: from a dataset.
        channel: of its images.
        spacing: three lengths in mm, 0 leaves one as it is; () leaves all.
    """
    from meddl.datasets.one_grid import to_one_grid
    from meddl.datasets.options import GridOptions

    image = case.images[channel]
    image = image.with_array(image.array[:1].astype(np.float32))  # a picture's first color
    placed = to_one_grid({channel: image}, case.labels, None, GridOptions(orientation="RAS", spacing_mm=spacing))
    return placed.images[channel], placed.labels


def spacing_along(config: SynthesisConfig, spacing_mm: float) -> tuple[float, float, float]:
    """Return the voxel size along R, A, S: slices stay as far apart as they are."""
    axes = plane_axes(config)
    first, second, third = (spacing_mm if axis in axes else 0.0 for axis in range(3))
    return first, second, third


def cuts_of(image: np.ndarray, labels: np.ndarray | None, config: SynthesisConfig) -> Iterator[Cut]:
    """Yield the examples of a case.

    Args:
        image: ``(I, J, K)`` in -1..1 on the examples' voxels.
        labels: likewise, or None.
        config: what an example is.
    """
    axes = plane_axes(config)
    if config.dimensions == 3:
        yield from _of_room(image, labels, config, ())
        return
    across = SLICE_AXIS[config.plane]
    box = _foreground(image)
    for index in range(image.shape[across]):
        flat = image.take(index, across)
        flat_labels = None if labels is None else labels.take(index, across)
        within = None if box is None else tuple(box[axis] for axis in axes)
        yield from _of_room(flat, flat_labels, config, (index,), within)


def _of_room(
    image: np.ndarray,
    labels: np.ndarray | None,
    config: SynthesisConfig,
    slice_index: tuple[int, ...],
    box: tuple[tuple[int, int], ...] | None = None,
) -> Iterator[Cut]:
    if config.where == "labels":
        assert labels is not None
        starts = _round_labels(labels, config.size)
    else:
        box = box or _foreground(image)
        starts = [] if box is None else _covering(box, config.size)
    for start in starts:
        part = _window(image, start, config.size, -1.0)
        part_labels = None if labels is None else _window(labels, start, config.size, 0)
        needs_label = config.conditioned or config.where == "labels"
        if needs_label and part_labels is not None and not part_labels.any():
            continue
        if not needs_label and (part > _DARK).mean() < _SHARE:
            continue
        yield Cut(part, part_labels, _place(start, slice_index, config))


def _place(start: tuple[int, ...], slice_index: tuple[int, ...], config: SynthesisConfig) -> tuple[int, ...]:
    if not slice_index:
        return start
    place = list(start)
    place.insert(SLICE_AXIS[config.plane], slice_index[0])
    return tuple(place)


def _foreground(image: np.ndarray) -> tuple[tuple[int, int], ...] | None:
    found = []
    for axis in range(image.ndim):
        others = tuple(each for each in range(image.ndim) if each != axis)
        # A row of a few bright voxels is noise or a cable.
        bright = np.flatnonzero((image > _DARK).mean(axis=others) > _SHARE / 3)
        if not bright.size:
            return None
        found.append((int(bright[0]), int(bright[-1]) + 1))
    return tuple(found)


def _covering(box: tuple[tuple[int, int], ...], size: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the first voxels of examples that cover a box: one in its middle where that does, else overlapping."""
    along = []
    for (low, high), wanted in zip(box, size, strict=True):
        extent = high - low
        if extent <= wanted + wanted // _SLACK:
            along.append([(low + high - wanted) // 2])
        else:
            count = 1 + -(-2 * (extent - wanted) // wanted)
            along.append([low + round(number * (extent - wanted) / (count - 1)) for number in range(count)])
    return list(product(*along))


def _round_labels(labels: np.ndarray, size: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the first voxels of examples with the pieces of each structure in their middle, the largest first."""
    from scipy import ndimage

    starts = []
    for value in np.unique(labels)[np.unique(labels) > 0]:
        pieces, count = ndimage.label(labels == value)
        boxes = ndimage.find_objects(pieces)
        sizes = np.bincount(pieces.reshape(-1), minlength=count + 1)[1:]
        for index in np.argsort(-sizes, kind="stable")[:_PIECES]:
            starts.append(tuple((side.start + side.stop - n) // 2 for side, n in zip(boxes[index], size, strict=True)))
    return list(dict.fromkeys(starts))


def _window(array: np.ndarray, start: tuple[int, ...], size: tuple[int, ...], fill: float) -> np.ndarray:
    out = np.full(size, fill, array.dtype)
    source, goal = [], []
    for first, wanted, count in zip(start, size, array.shape, strict=True):
        low, high = max(first, 0), min(first + wanted, count)
        source.append(slice(low, max(low, high)))
        goal.append(slice(low - first, max(low, high) - first))
    out[tuple(goal)] = array[tuple(source)]
    return out
