"""An image that fits a label map, on the label map's own grid: slice by slice, or patch by patch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from meddl.datasets.geometry.image_sampling import resampled_image
from meddl.datasets.geometry.label_sampling import resampled_labels
from meddl.datasets.geometry.target_grid import oriented, spaced, straightened
from meddl.datasets.geometry.voxel_map import reordered, voxel_map
from meddl.errors import ModelError
from meddl.randomness import Stream
from meddl.synthesis.cutting import SLICE_AXIS
from meddl.synthesis.generators import Cancel, Generator, in_batches
from meddl.synthesis.label_windows import Canvas, NoiseField, Start, cut, windows
from meddl.volume import Grid, Volume

_ALIKE_VOXELS = 4.0
"""Slices closer together than so many voxels of theirs begin with noise that is alike."""


@dataclass(frozen=True, eq=False)
class Fitting:
    """An image that fits a label map.

    Attributes:
        image: ``(1, I, J, K)`` float32 on the label map's grid.
        notes: what the user should know, in sentences.
    """

    image: Volume
    notes: tuple[str, ...] = ()


def fitting_image(
    generator: Generator,
    labels: Volume,
    stream: Stream,
    cancel: Cancel,
    progress: Callable[[float], None],
) -> Fitting:
    """Return an image that fits a label map; where nothing is labeled it may be empty.

    The label map is brought to the generator's voxels, axes as near to R, A and S as they go, as the examples were that
    it has learned from; the image is brought back from there.

    Args:
        labels: ``(1, I, J, K)`` uint8 in the generator's values, on any grid.
        stream: of what is left to chance.
    """
    facts = generator.facts
    grid = working_grid(labels.grid, generator)
    found = voxel_map(labels.grid, grid)
    near = reordered(labels, grid, found) if found is not None else resampled_labels(labels, grid)
    notes = list(_lost(labels, near, generator))
    if len(facts.size) == 2:
        image, empty = _of_slices(generator, near.array[0], grid, stream, cancel, progress)
        if empty:
            notes.append(f"Nothing is labeled in {empty} of {near.array.shape[1 + SLICE_AXIS[facts.plane]]} slices: "
                         "they are empty.")  # fmt: skip
    else:
        image = _of_patches(generator, near.array[0], stream, cancel, progress)
    made = Volume(image[None], grid.affine)
    back = voxel_map(grid, labels.grid)
    placed = (
        reordered(made, labels.grid, back, facts.low)
        if back is not None
        else resampled_image(made, labels.grid, facts.low)
    )
    return Fitting(Volume(np.ascontiguousarray(placed.array), labels.affine), tuple(notes))


def working_grid(grid: Grid, generator: Generator) -> Grid:
    """Return the grid that a generator works on: its voxels, upright; slices stay as far apart as they are."""
    facts = generator.facts
    spacing = [facts.spacing_mm] * 3
    if len(facts.size) == 2:
        spacing[SLICE_AXIS[facts.plane]] = 0.0
    return spaced(straightened(oriented(grid, "RAS")), (spacing[0], spacing[1], spacing[2]))


def _of_slices(
    generator: Generator,
    labels: np.ndarray,
    grid: Grid,
    stream: Stream,
    cancel: Cancel,
    progress: Callable[[float], None],
) -> tuple[np.ndarray, int]:
    facts = generator.facts
    across = SLICE_AXIS[facts.plane]
    slices = np.moveaxis(labels, across, 0)
    # The same windows in all slices, so that they fit together.
    starts = windows(np.asarray(slices.any(axis=0)), facts.size, facts.where == "whole")
    wanted = [
        (number, start, part)
        for number, flat in enumerate(slices)
        for start in starts
        if (part := cut(flat, start, facts.size)).any()
    ]
    image = np.full(slices.shape, facts.low, np.float32)
    if wanted:
        knots = max(1.0, _ALIKE_VOXELS * facts.spacing_mm / float(grid.spacing[across]))
        noise = _noise(generator, stream, slices.shape[1:], knots)
        maps = np.stack([part for _, _, part in wanted])
        made = in_batches(
            generator,
            lambda n: noise.at(wanted[n][1], facts.size, wanted[n][0]),
            maps,
            len(wanted),
            cancel,
            lambda done: progress(done / len(wanted)),
        )
        by_slice: dict[int, list[tuple[Start, np.ndarray]]] = {}
        for (number, start, _), each in zip(wanted, made, strict=True):
            by_slice.setdefault(number, []).append((start, each[0]))
        for number, parts in by_slice.items():
            canvas = Canvas(slices.shape[1:], facts.size, facts.low)
            for start, part in parts:
                canvas.add(part, start)
            image[number] = canvas.image
        made_slices = len(by_slice)
    else:
        made_slices = 0
    return np.ascontiguousarray(np.moveaxis(image, 0, across)), len(slices) - made_slices


def _of_patches(
    generator: Generator, labels: np.ndarray, stream: Stream, cancel: Cancel, progress: Callable[[float], None]
) -> np.ndarray:
    facts = generator.facts
    starts = windows(labels, facts.size, facts.where == "whole")
    starts = [start for start in starts if cut(labels, start, facts.size).any()]
    canvas = Canvas(labels.shape, facts.size, facts.low)
    if not starts:
        return canvas.image
    noise = _noise(generator, stream, labels.shape, 0.0)
    step = generator.batch
    for first in range(0, len(starts), step):  # in parts: all patches of a body are several times its size
        some = starts[first : first + step]
        maps = np.stack([cut(labels, start, facts.size) for start in some])
        starting = [noise.at(start, facts.size) for start in some]
        made = in_batches(generator, starting.__getitem__, maps, len(some), cancel, lambda done: None)
        for start, each in zip(some, made, strict=True):
            canvas.add(each[0], start)
        progress(min(1.0, (first + step) / len(starts)))
    return canvas.image


def _noise(generator: Generator, stream: Stream, shape: tuple[int, ...], knots: float) -> NoiseField:
    channels, *size = generator.noise_shape
    if tuple(size) != generator.facts.size:
        raise ModelError("The generator's noise has another shape than its images. Train it anew.")
    return NoiseField(stream.token(), shape, generator.facts.size, channels, knots)


def _lost(labels: Volume, near: Volume, generator: Generator) -> list[str]:
    """Tell which structures are too small for the generator's voxels."""
    before, after = (set(np.unique(each.array).tolist()) - {0} for each in (labels, near))
    names = [generator.facts.labels[value] for value in sorted(before - after)]
    if not names:
        return []
    return [f"Too small for the generator's voxels of {generator.facts.spacing_mm:g} mm, and not in the image: "
            f"{', '.join(names)}."]  # fmt: skip
