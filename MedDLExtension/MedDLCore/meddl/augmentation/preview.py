"""Samples of one slice, or of a coarse copy, quickly: for sliders that move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from meddl.augmentation.applying import replay
from meddl.augmentation.draw import Draw, draw
from meddl.augmentation.guard import Realism, compare
from meddl.augmentation.plan import AugmentationPlan
from meddl.augmentation.sample import Sample, range_of
from meddl.errors import UsageError
from meddl.volume import Grid, Segment, Volume


@dataclass(frozen=True, eq=False)
class Preview:
    """One sample of a slice.

    Attributes:
        sample: images and labels of the slice alone, at its place in the world.
        draw: what happened; replayed without a grid it gives the whole sample.
        realism: of the slice against the same slice of the source.
    """

    sample: Sample
    draw: Draw
    realism: Realism


def slice_grid(grid: Grid, axis: int, index: int, greatest: int = 0) -> Grid:
    """Return the grid of one slice.

    Args:
        axis: of the voxels, across the slice.
        greatest: take each n-th voxel, so that no more than these remain along an edge; 0 takes all.

    Raises:
        UsageError: there is no such slice.
    """
    if axis not in (0, 1, 2) or not 0 <= index < grid.shape[axis]:
        raise UsageError(f"There is no slice {index} across axis {axis} of an image of {grid.shape} voxels.")
    shape, affine = list(grid.shape), grid.affine.copy()
    affine[:3, 3] += index * affine[:3, axis]
    shape[axis] = 1
    step = max(1, -(-max(shape) // greatest)) if greatest else 1
    for other in (each for each in range(3) if each != axis):
        shape[other] = -(-shape[other] // step)
        affine[:3, other] *= step
    return Grid((shape[0], shape[1], shape[2]), affine)


def preview(
    sample: Sample,
    plan: AugmentationPlan,
    seed: int,
    *,
    axis: int,
    index: int,
    count: int = 6,
    greatest: int = 256,
    segments: Sequence[Segment] = (),
    key: str = "preview",
) -> tuple[Preview, ...]:
    """Return samples of one slice: what :func:`meddl.augmentation.augment` makes of the whole, seen there.

    What moves is exact. See :func:`meddl.augmentation.replay` for what differs in what the scanner does.

    Args:
        axis, index: which slice of the first image's grid.
        greatest: voxels along an edge of the slice; larger ones are thinned out.
    """
    grid = slice_grid(sample.grid, axis, index, greatest)
    source = source_slice(sample, grid)
    # The range of values is looked up once, not for each.
    ranges = {name: range_of(image) for name, image in sample.images.items()}
    draws = [draw(plan, sample, seed, f"{key}/{number}", ranges) for number in range(count)]
    made = []
    for each in draws:
        shown = replay(sample, each, grid)
        realism = compare(source, replace(shown, points=None, boxes=None), segments, exchanged=each.exchanges_sides)
        made.append(Preview(shown, each, realism))
    return tuple(made)


def source_slice(sample: Sample, grid: Grid) -> Sample:
    """Return the source on the grid of a slice, to compare with."""
    nothing = Draw("", "", 0, "", {}, ())
    return replay(replace(sample, points=None, boxes=None), nothing, grid)


def coarse(sample: Sample, greatest: int = 64) -> Sample:
    """Return a copy of a sample of no more than ``greatest`` voxels along an edge, for a quick look at the whole.

    Means over the voxels; labels are the ones in the middle.
    """

    def smaller(volume: Volume, kind: Literal["mean", "middle"]) -> Volume:
        steps = [max(1, -(-count // greatest)) for count in volume.shape]
        counts = [count // step for count, step in zip(volume.shape, steps, strict=True)]
        part = volume.array[(slice(None), *(slice(0, c * s) for c, s in zip(counts, steps, strict=True)))]
        affine = volume.affine.copy()
        if kind == "middle":
            middle = [step // 2 for step in steps]
            array = part[(slice(None), *(slice(m, None, s) for m, s in zip(middle, steps, strict=True)))]
            affine[:3, 3] += affine[:3, :3] @ middle
        else:
            array = part
            # The axis first whose voxels lie farthest apart in memory: whole rows are added up then, not single voxels.
            for axis in sorted((1, 2, 3), key=lambda axis: -abs(part.strides[axis])):
                split = (*array.shape[:axis], counts[axis - 1], steps[axis - 1], *array.shape[axis + 1 :])
                array = array.reshape(split).sum(axis=axis + 1, dtype=np.float32)
            array = array / np.float32(np.prod(steps))
            affine[:3, 3] += affine[:3, :3] @ ((np.array(steps) - 1) / 2)
        affine[:3, :3] *= steps
        return Volume(np.ascontiguousarray(array), affine, volume.name, volume.meta)

    labels = smaller(sample.labels, "middle") if sample.labels is not None else None
    target = smaller(sample.target, "mean") if sample.target is not None else None
    images = {name: smaller(image, "mean") for name, image in sample.images.items()}
    return replace(sample, images=images, labels=labels, target=target)
