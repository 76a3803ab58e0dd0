"""Applying a draw: the deterministic twin of chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from typing import Any

import numpy as np

from meddl.augmentation.draw import Draw, DrawnStep, draw
from meddl.augmentation.known import transform
from meddl.augmentation.plan import AugmentationPlan
from meddl.augmentation.resampling import moved_image, moved_labels
from meddl.augmentation.sample import Sample, range_of
from meddl.augmentation.transform import IntensityTransform, Patch, SharedTransform, SpatialTransform
from meddl.augmentation.world_map import LinearMap, Movement
from meddl.errors import JobCancelled
from meddl.inference.prediction import Box, Landmark
from meddl.volume import Grid, Volume

_ON_AN_EDGE = 5


@dataclass(frozen=True, eq=False)
class Augmented:
    """A sample after a draw, and the draw."""

    sample: Sample
    draw: Draw


def augment(sample: Sample, plan: AugmentationPlan, seed: int, key: str = "") -> Augmented:
    """Return a sample as a plan makes it this time. The same arguments give the same bytes.

    The grid stays: content moves in the world, so that the result overlays the source and its siblings.

    Example:
        >>> from meddl.augmentation import Sample, augment, load_plan, replay
        >>> image = Volume(np.random.default_rng(0).normal(size=(1, 16, 16, 16)).astype(np.float32), np.eye(4))
        >>> made = augment(Sample({"T1": image}), load_plan("mr"), seed=7)
        >>> again = replay(Sample({"T1": image}), made.draw)
        >>> bool((again.images["T1"].array == made.sample.images["T1"].array).all())
        True
    """
    drawn = draw(plan, sample, seed, key)
    return Augmented(replay(sample, drawn), drawn)


def replay(
    sample: Sample, drawn: Draw, grid: Grid | None = None, *, cancelled: Callable[[], bool] = lambda: False
) -> Sample:
    """Return a sample after what a draw tells, as it was when it was drawn.

    Args:
        grid: a part of the sample's grid, for instance one slice, to make only that: quick. All that moves is then
            done first, and what the scanner does is done to the slice: noise has another pattern, and ghosts and motion
            across the slice are left out.

    Raises:
        JobCancelled: on request.
    """
    if grid is not None:
        moving = [step for step in drawn.steps if _moves(step)]
        steps = moving + [step for step in drawn.steps if not _moves(step)]
        wholes = {name: (image.grid, grid) for name, image in sample.images.items()}
        sample = _on(sample, moving, drawn, grid)
        steps = steps[len(moving) :]
    else:
        steps = list(drawn.steps)
        wholes = {name: (image.grid, image.grid) for name, image in sample.images.items()}
    dtypes = {name: image.array.dtype for name, image in sample.images.items()}
    for is_moving, group in groupby(steps, _moves):
        if cancelled():
            raise JobCancelled("The augmentation was cancelled.")
        if is_moving:
            sample = _moved(sample, list(group), drawn, None)
        else:
            for step in group:
                sample = _changed(sample, step, drawn, wholes)
    images = {name: _as(image, dtypes[name]) for name, image in sample.images.items()}
    return replace(sample, images=images)


def _moves(step: DrawnStep) -> bool:
    return isinstance(transform(step.transform, "The record"), SpatialTransform)


def _on(sample: Sample, steps: Sequence[DrawnStep], drawn: Draw, grid: Grid) -> Sample:
    """Return the sample on another grid after what moves; the images keep their type."""
    dtypes = {name: image.array.dtype for name, image in sample.images.items()}
    moved = _moved(sample, steps, drawn, grid)
    return replace(moved, images={name: _as(image, dtypes[name]) for name, image in moved.images.items()})


def _moved(sample: Sample, steps: Sequence[DrawnStep], drawn: Draw, grid: Grid | None) -> Sample:
    maps, exchanged = [], False
    for step in steps:
        known = transform(step.transform, "The record")
        assert isinstance(known, SpatialTransform)
        maps.append(known.world_map(step.drawn))
        exchanged ^= known.exchanges_sides(step.drawn)
    movement = Movement(maps)
    images = {
        name: moved_image(image, movement, grid or image.grid, _dark(drawn, name, image))
        for name, image in sample.images.items()
    }
    labels = sample.labels
    if labels is not None:
        labels = moved_labels(labels, movement, grid or labels.grid)
        labels = _exchanged(labels, sample) if exchanged else labels
    target = sample.target
    if target is not None:
        dtype = target.array.dtype
        target = _as(moved_image(target, movement, grid or target.grid, range_of(target)[0]), dtype)
    names = sample.sides.names if exchanged and sample.sides is not None else {}
    points = sample.points
    if points:
        places = movement.moved(np.array([each.position for each in points], np.float64))
        points = tuple(
            Landmark(names.get(each.name, each.name), place, each.score)
            for each, place in zip(points, places, strict=True)
        )
        order = {each.name: n for n, each in enumerate(sample.points or ())}
        points = tuple(sorted(points, key=lambda each: order.get(each.name, len(order))))
    boxes = sample.boxes
    if boxes:
        boxes = tuple(_moved_box(each, movement, names.get(each.label, each.label)) for each in boxes)
    classes = tuple(names.get(each, each) for each in sample.classes)
    return replace(sample, images=images, labels=labels, target=target, points=points, boxes=boxes, classes=classes)


def _moved_box(box: Box, movement: Movement, label: str) -> Box:
    """Return the smallest box along the box's own edges, turned with them, round all of its moved surface."""
    ticks = np.linspace(-0.5, 0.5, 2 if all(isinstance(each, LinearMap) for each in movement.maps) else _ON_AN_EDGE)
    shares = np.array([each for each in product(ticks, repeat=3) if max(map(abs, each)) == 0.5])
    axes, size, center = (np.asarray(each, np.float64) for each in (box.axes, box.size, box.center))
    surface = movement.moved(center + (shares * size) @ axes.T)
    if np.allclose(np.abs(axes), np.eye(3)) and not all(isinstance(each, LinearMap) for each in movement.maps):
        turned = axes
    else:
        step = 1e-2
        tips = movement.moved(np.concatenate([center[None], center + step * axes.T]))
        left, _, right = np.linalg.svd((tips[1:] - tips[0]).T / step)
        turned = left @ right  # the rotation (or mirror) nearest to what happens at the center
        if np.linalg.det(turned) < 0:
            turned = turned * np.array([-1.0, 1.0, 1.0])
    along = surface @ turned
    low, high = along.min(axis=0), along.max(axis=0)
    return Box(label, box.score, turned @ ((low + high) / 2), high - low, turned)


def _exchanged(labels: Volume, sample: Sample) -> Volume:
    if sample.sides is None:
        return labels
    array = labels.array.copy()
    for layer, values in zip(array, sample.sides.values, strict=False):
        if values:
            table = np.arange(max(int(layer.max()), *values, *values.values()) + 1).astype(array.dtype)
            for value, other in values.items():
                table[value] = other
            layer[...] = table[layer]
    return labels.with_array(array)


def _changed(sample: Sample, step: DrawnStep, drawn: Draw, wholes: Mapping[str, tuple[Grid, Grid]]) -> Sample:
    known = transform(step.transform, "The record")
    assert isinstance(known, IntensityTransform)
    images = dict(sample.images)
    for name, image in images.items():
        one: Any = step.drawn if isinstance(known, SharedTransform) else step.drawn.get(name)
        if one is None:
            continue
        low, high = drawn.ranges.get(name) or range_of(image)
        array = np.ascontiguousarray(image.array, dtype=np.float32)
        whole, grid = wholes[name]
        images[name] = image.with_array(known.apply(Patch(array, grid, whole, low, high), one))
    return replace(sample, images=images)


def _dark(drawn: Draw, name: str, image: Volume) -> float:
    """Return what stands where nothing came from: the dark end."""
    return (drawn.ranges.get(name) or range_of(image))[0]


def _as(image: Volume, dtype: np.dtype) -> Volume:
    """Return an image in its own type: whole numbers are rounded, and kept within what the type holds."""
    array = image.array
    if array.dtype == dtype:
        return image
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.nan_to_num(np.rint(array.astype(np.float64)))
        return image.with_array(np.clip(values, limits.min, limits.max).astype(dtype))
    return image.with_array(array >= 0.5 if dtype.kind == "b" else array.astype(dtype))
