"""A case whose slices are previewed again and again: what takes long is found out once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from meddl.augmentation.draw import Draw, draw
from meddl.augmentation.guard import GuardLimits, Realism, compare
from meddl.augmentation.known import transform
from meddl.augmentation.plan import AugmentationPlan
from meddl.augmentation.preview import coarse, slice_grid, source_slice
from meddl.augmentation.resampling import moved_labels
from meddl.augmentation.sample import Sample, range_of
from meddl.augmentation.transform import SpatialTransform
from meddl.augmentation.world_map import Movement
from meddl.volume import Grid, Segment, Volume

_PLACES, _ALL_PLACES = 300, 2000
"""Voxels of each structure, and of all, that are followed: a few hundredths of it are told from nothing."""
_LOOKED_AT = 1_000_000


@dataclass(frozen=True, eq=False)
class SliceSample:
    """One sample of a slice.

    Attributes:
        sample: images and labels of the slice alone, at its place in the world.
        draw: what happened; replayed without a grid it gives the whole sample.
        realism: the values are those of the slice against the source's; what became of structures is of all of them.
    """

    sample: Sample
    draw: Draw
    realism: Realism


class PreviewCase:
    """A case that is kept for previews.

    Args:
        sample: its labels may lie on any grid; they are brought to that of the first image.
        segments: what the labels mean.
    """

    def __init__(self, sample: Sample, segments: Sequence[Segment] = ()) -> None:
        self.segments = tuple(segments)
        self.sample = on_image_grid(sample)
        self.ranges: Mapping[str, tuple[float, float]] = {
            name: range_of(image) for name, image in sample.images.items()
        }
        self._places = _places(self.sample, self.segments)
        self._sources: dict[tuple[int, int, int], Sample] = {}
        self._copies: dict[int, Sample] = {}

    def source(self, axis: int, index: int, greatest: int) -> Sample:
        """Return the slice as it is, see :func:`meddl.augmentation.preview`."""
        key = (axis, index, greatest)
        if key not in self._sources:
            self._sources = {} if len(self._sources) > 8 else self._sources
            grid = slice_grid(self.sample.grid, axis, index, greatest)
            self._sources[key] = source_slice(self._copy(greatest), grid)
        return self._sources[key]

    def _copy(self, greatest: int) -> Sample:
        """Return the sample, or of a large one a coarser copy: turned slices run through much of an image."""
        if max(max(each.shape) for each in self.sample.images.values()) <= greatest * 3 // 2:
            return self.sample
        if greatest not in self._copies:
            small = coarse(self.sample, greatest)
            images = {name: _of_type(each, self.sample.images[name].array.dtype) for name, each in small.images.items()}
            self._copies[greatest] = replace(small, images=images)
        return self._copies[greatest]

    def draw(self, plan: AugmentationPlan, seed: int, number: int) -> Draw:
        """Return what happens to sample ``number``."""
        return draw(plan, self.sample, seed, f"preview/{number}", self.ranges)

    def preview(
        self,
        plan: AugmentationPlan,
        seed: int,
        number: int,
        *,
        axis: int,
        index: int,
        greatest: int = 256,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> SliceSample:
        """Return sample ``number`` of a slice, the one that :func:`meddl.augmentation.preview` gives.

        Images of more than one and a half times ``greatest`` voxels along an edge are seen coarser.
        """
        from meddl.augmentation.applying import replay

        source = self.source(axis, index, greatest)
        drawn = self.draw(plan, seed, number)
        made = replay(
            self._copy(greatest), drawn, slice_grid(self.sample.grid, axis, index, greatest), cancelled=cancelled
        )
        return SliceSample(made, drawn, self._realism(source, made, drawn))

    def _realism(self, source: Sample, made: Sample, drawn: Draw) -> Realism:
        limits = GuardLimits()
        # A structure that has left the slice alone is still in the image.
        plain = [replace(each, labels=None, points=None, boxes=None) for each in (source, made)]
        of_values = compare(plain[0], plain[1], (), limits)
        shares = self._shares(drawn)
        gone = tuple(name for name, share in shares.items() if share == 0)
        warnings = [f"{name} has vanished: shift, turn or enlarge less." for name in gone]
        warnings += [
            f"Only {share:.0%} of {name} is still in the image."
            for name, share in shares.items()
            if 0 < share < limits.visible
        ]
        return Realism(of_values.histogram, shares, gone, (*of_values.warnings, *warnings), not gone)

    def _shares(self, drawn: Draw) -> dict[str, float]:
        """Return how much of each structure is in the image after a draw."""
        maps = []
        for step in drawn.steps:
            known = transform(step.transform, "The record")
            if isinstance(known, SpatialTransform):
                maps.append(known.world_map(step.drawn))
        if not maps or not self._places:
            return dict.fromkeys(self._places, 1.0)
        moved = Movement(maps).moved(np.concatenate(list(self._places.values())))
        inside = _inside(self.sample.grid, moved)
        ends = np.cumsum([len(each) for each in self._places.values()])[:-1]
        parts = np.split(inside, ends)
        return {name: float(part.mean()) for name, part in zip(self._places, parts, strict=True)}


def on_image_grid(sample: Sample) -> Sample:
    """Return a sample whose labels are on the grid of its first image: voxel for voxel where one lattice has both."""
    if sample.labels is None or sample.labels.grid.same_as(sample.grid):
        return sample
    return replace(sample, labels=moved_labels(sample.labels, Movement(()), sample.grid))


def _of_type(image: Volume, dtype: np.dtype) -> Volume:
    return image.with_array(np.rint(image.array).astype(dtype) if dtype.kind in "iu" else image.array)


def _places(sample: Sample, segments: Sequence[Segment]) -> dict[str, np.ndarray]:
    """Return where some voxels of each structure are, RAS mm; structures without any are left out."""
    labels = sample.labels
    if labels is None:
        return {}
    step = max(1, round((labels.array[0].size / _LOOKED_AT) ** (1 / 3)))
    thin = (slice(None, None, step),) * 3
    found = {}
    most = min(_PLACES, max(20, _ALL_PLACES // max(1, len(segments))))
    for segment in segments:
        layer = labels.array[segment.layer]
        voxels, scale = np.argwhere(layer[thin] == segment.label), step
        if len(voxels) < 20:  # a small structure
            voxels, scale = np.argwhere(layer == segment.label), 1
        if len(voxels):
            chosen = voxels[np.linspace(0, len(voxels) - 1, min(most, len(voxels))).round().astype(int)] * scale
            found[segment.name] = chosen @ labels.affine[:3, :3].T + labels.affine[:3, 3]
    return found


def _inside(grid: Grid, points: np.ndarray) -> np.ndarray:
    inverse = np.linalg.inv(grid.affine)
    index = points @ inverse[:3, :3].T + inverse[:3, 3]
    return np.asarray(((index >= -0.5 - 1e-6) & (index <= np.array(grid.shape) - 0.5 + 1e-6)).all(axis=1))
