"""A case whose slices are previewed again and again: what takes long is found out once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from meddl.augmentation.draw import Draw, draw
from meddl.augmentation.guard import GuardLimits, Histogram, Realism, compare
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
_FEW = 20
_NEAR_MM = 0.1
_ONE_LATTICE = 1e-4


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
        # What is filled of a label map need not be made as large as the image to be looked at.
        self._given = sample if is_on_lattice(sample) else on_image_grid(sample)
        self.ranges: Mapping[str, tuple[float, float]] = {
            name: range_of(image) for name, image in sample.images.items()
        }
        self._names, self._points, self._ends = _places(self._given, self.segments)
        self._sources: dict[tuple[int, int, int], tuple[Sample, dict[str, Histogram]]] = {}
        self._copies: dict[int, Sample] = {}

    @cached_property
    def sample(self) -> Sample:
        """The whole, its labels on the grid of the first image."""
        return on_image_grid(self._given)

    @cached_property
    def plain_segments(self) -> list[dict[str, Any]]:
        """What the labels mean, as plain data."""
        return [asdict(each) for each in self.segments]

    @property
    def one_sided(self) -> str:
        """Why left and right must not be exchanged, in a sentence; "" where they can."""
        return self._given.one_sided

    def source(self, axis: int, index: int, greatest: int) -> Sample:
        """Return the slice as it is, see :func:`meddl.augmentation.preview`."""
        return self._source(axis, index, greatest)[0]

    def _source(self, axis: int, index: int, greatest: int) -> tuple[Sample, dict[str, Histogram]]:
        key = (axis, index, greatest)
        if key not in self._sources:
            self._sources = {} if len(self._sources) > 8 else self._sources
            grid = slice_grid(self._given.grid, axis, index, greatest)
            found = source_slice(self._copy(greatest), grid)
            self._sources[key] = (found, {name: Histogram.of(image) for name, image in found.images.items()})
        return self._sources[key]

    def _copy(self, greatest: int) -> Sample:
        """Return the sample, or of a large one a coarser copy: turned slices run through much of an image."""
        if max(max(each.shape) for each in self._given.images.values()) <= greatest * 3 // 2:
            return self._given
        if greatest not in self._copies:
            small = coarse(self._given, greatest)
            images = {name: _of_type(each, self._given.images[name].array.dtype) for name, each in small.images.items()}
            self._copies[greatest] = replace(small, images=images)
        return self._copies[greatest]

    def draw(self, plan: AugmentationPlan, seed: int, number: int) -> Draw:
        """Return what happens to sample ``number``."""
        return draw(plan, self._given, seed, f"preview/{number}", self.ranges)

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

        source, histograms = self._source(axis, index, greatest)
        drawn = self.draw(plan, seed, number)
        made = replay(
            self._copy(greatest), drawn, slice_grid(self._given.grid, axis, index, greatest), cancelled=cancelled
        )
        return SliceSample(made, drawn, self._realism(source, made, drawn, histograms))

    def _realism(self, source: Sample, made: Sample, drawn: Draw, histograms: Mapping[str, Histogram]) -> Realism:
        limits = GuardLimits()
        # A structure that has left the slice alone is still in the image.
        plain = [replace(each, labels=None, points=None, boxes=None) for each in (source, made)]
        of_values = compare(plain[0], plain[1], (), limits, histograms=histograms)
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
        if not maps or not self._names:
            return dict.fromkeys(self._names, 1.0)
        inside = _inside(self._given.grid, Movement(maps).moved(self._points, _NEAR_MM))
        starts = np.concatenate([[0], self._ends[:-1]])
        shares = np.add.reduceat(inside.astype(np.float64), starts) / (self._ends - starts)
        return dict(zip(self._names, shares.tolist(), strict=True))


def on_image_grid(sample: Sample) -> Sample:
    """Return a sample whose labels are on the grid of its first image: voxel for voxel where one lattice has both."""
    if sample.labels is None or sample.labels.grid.same_as(sample.grid):
        return sample
    return replace(sample, labels=moved_labels(sample.labels, Movement(()), sample.grid))


def _of_type(image: Volume, dtype: np.dtype) -> Volume:
    return image.with_array(np.rint(image.array).astype(dtype) if dtype.kind in "iu" else image.array)


def _places(sample: Sample, segments: Sequence[Segment]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return where some voxels of each structure are.

    Returns:
        Names of the structures that there are any of; points ``(N, 3)``, RAS mm, of one after the other; and where in
        them each one's end.
    """
    labels, names, points = sample.labels, [], []
    if labels is None:
        return (), np.zeros((0, 3)), np.zeros(0, int)
    step = max(1, round((labels.array[0].size / _LOOKED_AT) ** (1 / 3)))
    most = min(_PLACES, max(20, _ALL_PLACES // max(1, len(segments))))
    found: dict[tuple[int, int], np.ndarray] = {}
    for number, layer in enumerate(labels.array):
        ours = [each.label for each in segments if each.layer == number]
        thin = layer[(slice(None, None, step),) * 3]
        seen = {label: voxels * step for label, voxels in _voxels(thin, ours).items()}
        small = [label for label in ours if step > 1 and len(seen[label]) < _FEW]
        seen |= _voxels(layer, small)
        found |= {(number, label): voxels for label, voxels in seen.items()}
    for segment in segments:
        voxels = found.get((segment.layer, segment.label), ())
        if len(voxels):
            chosen = voxels[np.linspace(0, len(voxels) - 1, min(most, len(voxels))).round().astype(int)]
            names.append(segment.name)
            points.append(chosen @ labels.affine[:3, :3].T + labels.affine[:3, 3])
    return tuple(names), np.concatenate(points or [np.zeros((0, 3))]), np.cumsum([len(each) for each in points])


def _voxels(layer: np.ndarray, labels: Sequence[int]) -> dict[int, np.ndarray]:
    """Return the indices ``(N, 3)`` of all voxels of each label, found in one look at them all."""
    if not labels:
        return {}
    order = np.argsort([-abs(each) for each in layer.strides], kind="stable")
    straight = layer.transpose(order)  # as it lies in memory
    wanted = np.zeros(max(int(layer.max(initial=0)), *labels) + 1, bool)
    wanted[list(labels)] = True
    places = np.nonzero(wanted[straight])
    values = straight[places]
    sorting = np.argsort(values, kind="stable")
    voxels = np.stack([places[n] for n in np.argsort(order)], axis=-1)[sorting]
    starts = np.searchsorted(values[sorting], labels)
    ends = np.searchsorted(values[sorting], labels, side="right")
    return {label: voxels[first:last] for label, first, last in zip(labels, starts, ends, strict=True)}


def is_on_lattice(sample: Sample) -> bool:
    """Say whether the labels' voxels are some of the first image's, or beside them on the same lattice."""
    if sample.labels is None:
        return True
    between = np.linalg.inv(sample.grid.affine) @ sample.labels.affine
    exact = np.eye(4)
    exact[:3, 3] = np.rint(between[:3, 3])
    return bool((np.abs(between - exact)[:3] @ [*sample.labels.shape, 1]).max() < _ONE_LATTICE)


def _inside(grid: Grid, points: np.ndarray) -> np.ndarray:
    inverse = np.linalg.inv(grid.affine)
    index = points @ inverse[:3, :3].T + inverse[:3, 3]
    return np.asarray(((index >= -0.5 - 1e-6) & (index <= np.array(grid.shape) - 0.5 + 1e-6)).all(axis=1))
