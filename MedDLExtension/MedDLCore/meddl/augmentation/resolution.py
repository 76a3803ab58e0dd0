"""Transforms of what can be told apart: fewer voxels, thicker slices, ringing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from meddl.augmentation.parameters import Parameter, Setting
from meddl.augmentation.transform import AXES, Drawn, IntensityTransform, Patch, axis_along, numbers, words
from meddl.randomness import Stream
from meddl.volume import Grid


class LowResolution(IntensityTransform):
    """A coarser matrix: the image as an acquisition with larger voxels would show it, on the voxels it has."""

    name = "low_resolution"
    title = "Low resolution"
    parameters = (Parameter("factor", (1.5, 2.5), (1.0, 10.0), "", "how many times larger the voxels are"),)

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return the factor."""
        return {"factor": stream.between(numbers(settings["factor"]))}

    def apply(self, patch: Patch, drawn: Drawn) -> np.ndarray:
        """Return the coarser image."""
        return _coarser(patch.array, [float(drawn["factor"])] * 3)


class Anisotropy(IntensityTransform):
    """Thick slices along one axis: means over their profile, interpolated back.

    Billot et al. 2020, Partial volume segmentation of brain MRI scans of any resolution and contrast, MICCAI.
    """

    name = "anisotropy"
    title = "Thick slices"
    parameters = (
        Parameter("factor", (2.0, 5.0), (1.0, 20.0), "", "how many times thicker the slices are"),
        Parameter("axis", AXES, choices=AXES, meaning="directions to choose from"),
    )

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return factor and axis."""
        axis = axis_along(grid, stream.choice(words(settings["axis"])))
        return {"factor": stream.between(numbers(settings["factor"])), "axis": axis}

    def apply(self, patch: Patch, drawn: Drawn) -> np.ndarray:
        """Return the image of thick slices."""
        return _coarser(patch.array, [float(drawn["factor"]) if n == int(drawn["axis"]) else 1.0 for n in range(3)])


class Gibbs(IntensityTransform):
    """Ringing at edges, where the outer part of k-space was not measured: MONAI's ``GibbsNoise``.

    Morelli et al. 2011, An image-based approach to understanding the physics of MR artifacts, RadioGraphics 31:849.
    """

    name = "gibbs"
    title = "Ringing (Gibbs)"
    parameters = (Parameter("share", (0.3, 0.6), (0.0, 0.95), "", "of k-space's radius that is missing"),)

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return how much is missing."""
        return {"share": stream.between(numbers(settings["share"]))}

    def apply(self, patch: Patch, drawn: Drawn) -> np.ndarray:
        """Return the ringing image."""
        import torch
        from monai.transforms import GibbsNoise

        flat = [axis for axis, count in enumerate(patch.grid.shape, 1) if count == 1]
        array = np.ascontiguousarray(patch.array.squeeze(tuple(flat)) if len(flat) < 3 else patch.array)
        ringing = GibbsNoise(alpha=float(drawn["share"]))(torch.from_numpy(array))
        return np.asarray(ringing, dtype=np.float32).reshape(patch.array.shape)


def _coarser(array: np.ndarray, factors: Sequence[float]) -> np.ndarray:
    """Return means over larger voxels, linearly interpolated between their centers."""
    from scipy.sparse import csr_matrix

    for axis, factor in enumerate(factors, 1):
        count = array.shape[axis]
        few = max(1, round(count / factor))
        if few == count:
            continue
        weights = csr_matrix(_interpolation(few, count) @ _means(count, few))
        first = np.moveaxis(array, axis, 0)
        mixed = (weights @ np.ascontiguousarray(first).reshape(count, -1)).reshape(first.shape)
        array = np.moveaxis(mixed, 0, axis)
    return np.ascontiguousarray(array, dtype=np.float32)


def _means(count: int, few: int) -> np.ndarray:
    """Return how much of each of ``count`` voxels lies in each of ``few`` larger ones (rows)."""
    ends = np.arange(few + 1) * (count / few)
    start, stop = np.arange(count), np.arange(1, count + 1)
    overlap = np.minimum(stop, ends[1:, np.newaxis]) - np.maximum(start, ends[:-1, np.newaxis])
    weights: np.ndarray = np.clip(overlap, 0, None) * (few / count)
    return weights.astype(np.float32)


def _interpolation(few: int, count: int) -> np.ndarray:
    """Return the share of each of ``few`` larger voxels in each of ``count`` (rows), linear between their centers."""
    at = np.clip((np.arange(count) + 0.5) * (few / count) - 0.5, 0, few - 1)
    weights: np.ndarray = np.clip(1 - np.abs(at[:, np.newaxis] - np.arange(few)), 0, None)
    return weights.astype(np.float32)
