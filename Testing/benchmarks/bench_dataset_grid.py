"""Label maps of 60 structures on other voxels, against SimpleITK's and one resampling of the volume per structure."""

from __future__ import annotations

import harness
import numpy as np
import SimpleITK as sitk
from meddl.datasets.geometry.label_sampling import resampled_labels
from meddl.datasets.geometry.target_grid import spaced
from meddl.volume import Grid, Volume, to_sitk

SHAPE, SPACING, COUNT = (256, 256, 150), (1.6, 1.6, 2.0), 60
OURS, THEIRS, NEAREST = "meddl.datasets", "SimpleITK, label linear", "SimpleITK, nearest (frays what is thin)"
EACH = "SimpleITK, linear, one float volume per structure"


def measure(repeats: int) -> list[harness.Table]:
    labels = _organs()
    straight = spaced(labels.grid, (3.0,))
    turned = straight.affine.copy()
    angle = np.deg2rad(5)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]] @ turned[:2, :2]
    return [_compared("to 3 mm", labels, straight, repeats),
            _compared("to 3 mm, turned by 5 degrees", labels, Grid(straight.shape, turned), repeats)]  # fmt: skip


def _compared(title: str, labels: Volume, grid: Grid, repeats: int) -> harness.Table:
    image = to_sitk(labels)
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(to_sitk(Volume(np.zeros((1, *grid.shape), np.uint8), grid.affine)))

    def theirs(interpolator: int) -> None:
        resampler.SetInterpolator(interpolator)
        resampler.Execute(image)

    def each() -> None:
        best = np.zeros(grid.shape[::-1], np.float32)
        winner = np.zeros(grid.shape[::-1], np.uint8)
        resampler.SetInterpolator(sitk.sitkLinear)
        for value in range(COUNT + 1):
            share = sitk.GetArrayFromImage(resampler.Execute(sitk.Cast(image == value, sitk.sitkFloat32)))
            winner[share > best] = value
            np.maximum(best, share, out=best)

    samples = harness.interleaved(
        {
            OURS: lambda: harness.timed(lambda: resampled_labels(labels, grid)),
            THEIRS: lambda: harness.timed(lambda: theirs(sitk.sitkLabelLinear)),
            NEAREST: lambda: harness.timed(lambda: theirs(sitk.sitkNearestNeighbor)),
            EACH: lambda: harness.timed(each),
        },
        repeats,
    )
    size = " x ".join(map(str, SHAPE))
    notes = ["ours takes means over the larger voxels, SimpleITK samples points", "ours runs on one core"]
    return harness.Table(f"{COUNT} structures in {size} voxels, {title}", harness.COMPARED,
                         harness.compared(samples, OURS), notes)  # fmt: skip


def _organs() -> Volume:
    """Balls of 10 to 60 mm, which cover each other as organs touch."""
    rng = np.random.default_rng(0)
    array = np.zeros(SHAPE[::-1], np.uint8).T
    size = np.array(SHAPE) * SPACING
    for value in range(1, COUNT + 1):
        center, radius = rng.uniform(0.1, 0.9, 3) * size, rng.uniform(10, 60)
        low = np.maximum(0, (center - radius) / SPACING).astype(int)
        high = np.minimum(SHAPE, (center + radius) / SPACING + 1).astype(int)
        part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        away = sum((index * step - at) ** 2 for index, step, at in zip(np.ogrid[part], SPACING, center, strict=True))
        array[part][away <= radius**2] = value
    return Volume(array[np.newaxis], np.diag([*SPACING, 1.0]))


if __name__ == "__main__":
    harness.main(measure, repeats=3)
