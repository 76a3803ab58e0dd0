"""Is a sample still an image that a scanner may have made of a patient? Compared with its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from meddl.augmentation.sample import Sample, range_of, some_values
from meddl.volume import Segment, Volume

_QUANTILES = np.linspace(0.005, 0.995, 200)


@dataclass(frozen=True)
class GuardLimits:
    """Where a warning begins.

    Attributes:
        histogram: distance of the histograms as a share of the source's contrast.
        least_volume, greatest_volume: of a structure, as a share of its volume in the source.
        visible: least share of a box or of the points that must lie in the image.
    """

    histogram: float = 0.25
    least_volume: float = 0.5
    greatest_volume: float = 2.0
    visible: float = 0.5


@dataclass(frozen=True)
class Realism:
    """What comparing a sample with its source told.

    Attributes:
        histogram: by channel, the earth mover's distance of the histograms over the source's contrast.
        volumes: by structure, its volume as a share of that in the source; sides are exchanged with the image.
        vanished: structures that are gone.
        warnings: sentences; none for a good sample.
        is_usable: nothing vanished, and no point or box has left the image.
    """

    histogram: Mapping[str, float]
    volumes: Mapping[str, float]
    vanished: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_usable: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "histogram": {name: round(value, 4) for name, value in self.histogram.items()},
            "volumes": {name: round(value, 4) for name, value in self.volumes.items()},
            "vanished": list(self.vanished),
            "warnings": list(self.warnings),
        }


@dataclass
class _Findings:
    warnings: list[str] = field(default_factory=list)
    is_usable: bool = True


def compare(
    source: Sample,
    made: Sample,
    segments: Sequence[Segment] = (),
    limits: GuardLimits | None = None,
    *,
    exchanged: bool | None = None,
    histograms: Mapping[str, Histogram] | None = None,
) -> Realism:
    """Compare a sample with what it was made of.

    Args:
        segments: names of the structures; without, they are called by their values.
        exchanged: whether left and right have changed places, see :attr:`meddl.augmentation.Draw.exchanges_sides`;
            None where that is not known: it is told from structures of which there is one side alone.
        histograms: those of the source, where they are known already.
    """
    limits = limits or GuardLimits()
    found = _Findings()
    histogram = {}
    for name, image in source.images.items():
        known = histograms[name] if histograms is not None else Histogram.of(image)
        histogram[name] = known.distance(made.images[name])
        if histogram[name] > limits.histogram:
            found.warnings.append(f"The values of {name} are far from those of the source: lower strength, gain or "
                                  "gamma.")  # fmt: skip
    volumes, vanished = _volumes(source, made, segments, exchanged)
    for name, share in volumes.items():
        if name in vanished:
            found.warnings.append(f"{name} has vanished: shift, turn or enlarge less.")
        elif not limits.least_volume <= share <= limits.greatest_volume:
            found.warnings.append(f"{name} has {share:.0%} of its volume in the source.")
    found.is_usable = not vanished
    _of_points(source, made, found)
    _of_boxes(source, made, limits, found)
    return Realism(histogram, volumes, vanished, tuple(found.warnings), found.is_usable)


@dataclass(frozen=True, eq=False)
class Histogram:
    """The values of an image, to compare others with.

    Attributes:
        quantiles: of its values.
        contrast: from what is dark in it to what is bright.
    """

    quantiles: np.ndarray
    contrast: float

    @classmethod
    def of(cls, image: Volume) -> Histogram:
        """Return that of an image."""
        low, high = range_of(image)
        return cls(_quantiles(image), high - low)

    def distance(self, other: Volume) -> float:
        """Return how far an image is from it, see :func:`histogram_distance`."""
        return float(np.abs(self.quantiles - _quantiles(other)).mean() / self.contrast)


def histogram_distance(one: Volume, other: Volume) -> float:
    """Return how far values must be carried to make one histogram of the other, as a share of the first's contrast.

    The earth mover's distance (Wasserstein 1), from quantiles: 0 for the same values wherever they are.
    """
    return Histogram.of(one).distance(other)


def _quantiles(image: Volume) -> np.ndarray:
    return np.asarray(np.quantile(some_values(image), _QUANTILES))


def _volumes(
    source: Sample, made: Sample, segments: Sequence[Segment], exchanged: bool | None
) -> tuple[dict[str, float], tuple[str, ...]]:
    if source.labels is None or made.labels is None:
        return {}, ()
    names = {(each.layer, each.label): each.name for each in segments}
    scale = made.labels.voxel_volume_ml / source.labels.voxel_volume_ml
    volumes: dict[str, float] = {}
    vanished = []
    for layer, (before, after) in enumerate(zip(source.labels.array, made.labels.array, strict=True)):
        counts, now = np.bincount(before.reshape(-1)), np.bincount(after.reshape(-1))
        swapped = _swapped(source, made, layer, counts, exchanged)
        for value in np.flatnonzero(counts[1:]) + 1:
            there = swapped.get(int(value), int(value))
            left = int(now[there]) if there < len(now) else 0
            name = names.get((layer, int(value)), f"label {value}")
            volumes[name] = scale * left / int(counts[value])
            if not left:
                vanished.append(name)
    return volumes, tuple(vanished)


def _swapped(source: Sample, made: Sample, layer: int, counts: np.ndarray, exchanged: bool | None) -> Mapping[int, int]:
    """Return what each value became: where one side alone is labeled, a mirror leaves the other side's value only."""
    if source.sides is None or layer >= len(source.sides.values) or made.labels is None:
        return {}
    pairs = source.sides.values[layer]
    if exchanged is not None:
        return pairs if exchanged else {}
    present = set(np.unique(made.labels.array[layer]).tolist())
    lone = {value for value, other in pairs.items() if _count(counts, value) and not _count(counts, other)}
    is_mirrored = (
        bool(lone)
        and all(pairs[value] in present or value not in present for value in lone)
        and any(pairs[value] in present for value in lone)
    )
    return pairs if is_mirrored else {}


def _count(counts: np.ndarray, value: int) -> int:
    return int(counts[value]) if value < len(counts) else 0


def _of_points(source: Sample, made: Sample, found: _Findings) -> None:
    inside = _inside(made, [each.position for each in made.points or ()])
    was = _inside(source, [each.position for each in source.points or ()])
    gone = [each.name for each, now in zip(made.points or (), inside, strict=True) if not now]
    if len(gone) > sum(not each for each in was):
        found.warnings.append(f"Outside of the image now: {', '.join(gone)}.")
        found.is_usable = False


def _of_boxes(source: Sample, made: Sample, limits: GuardLimits, found: _Findings) -> None:
    for before, after in zip(source.boxes or (), made.boxes or (), strict=True):
        share, was = (_inside(sample, _within(box)).mean() for sample, box in ((made, after), (source, before)))
        if share == 0 and was > 0:
            found.warnings.append(f"A box ({after.label}) has left the image.")
            found.is_usable = False
        elif share < limits.visible <= was:
            found.warnings.append(f"Most of a box ({after.label}) lies outside of the image.")


def _within(box: Any) -> np.ndarray:
    ticks = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(box.center) + (ticks * box.size) @ np.asarray(box.axes).T


def _inside(sample: Sample, points: Any) -> np.ndarray:
    """Say of points whether they lie within the voxels of the image."""
    if not len(points):
        return np.zeros(0, bool)
    inverse = np.linalg.inv(sample.grid.affine)
    index = np.asarray(points, np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
    return np.asarray(((index >= -0.5 - 1e-6) & (index <= np.array(sample.grid.shape) - 0.5 + 1e-6)).all(axis=1))
