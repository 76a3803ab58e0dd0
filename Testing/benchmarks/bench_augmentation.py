"""Augmented cases per second, with labels, against a plain MONAI pipeline of the same transforms."""

from __future__ import annotations

import itertools

import harness
import numpy as np
import torch
from meddl.augmentation import AugmentationPlan, Sample, augment, load_plan, preview
from meddl.volume import Volume

SIZE = 96
OURS, THEIRS = "meddl.augmentation", "MONAI (Compose of dictionary transforms)"
STEPS = [
    {"transform": "flip", "axis": "up-down"},
    {"transform": "affine", "rotation_degrees": [-12, 12], "scale": [0.9, 1.1], "shift_mm": [-8, 8]},
    {"transform": "elastic", "spacing_mm": 40, "amplitude_mm": 5},
    {"transform": "bias_field"},
    {"transform": "contrast"},
    {"transform": "low_resolution"},
    {"transform": "noise"},
]
"""All of them happen each time, so that both do the same work."""


def measure(repeats: int) -> list[harness.Table]:
    sample = _sample()
    numbers = itertools.count()
    plan = AugmentationPlan.from_dict({"name": "bench", "transforms": STEPS})
    theirs = _monai()
    image, labels = (torch.from_numpy(each.array.astype(np.float32)) for each in (sample.images["T1"], sample.labels))
    samples = harness.interleaved(
        {
            OURS: lambda: harness.timed(lambda: augment(sample, plan, next(numbers))),
            THEIRS: lambda: harness.timed(lambda: theirs({"image": image, "label": labels})),
        },
        repeats,
    )
    rates = [(name, 1 / harness.median([each.wall for each in timed])) for name, timed in samples.items()]
    return [
        harness.Table(f"{len(STEPS)} transforms of an image and 8 labels, {SIZE} voxels along each edge",
                      harness.COMPARED, harness.compared(samples, OURS),
                      ["ours moves labels by greatest membership, MONAI's by nearest neighbor"]),
        harness.Table("Cases per second", ("", "per second"), rates),
        _previews(sample, repeats),
    ]  # fmt: skip


def _previews(sample: Sample, repeats: int) -> harness.Table:
    rows = []
    for name in ("mr", "ct", "mr-artifacts"):
        plan = load_plan(name)
        walls = [
            harness.timed(lambda p=plan: preview(sample, p, 1, axis=2, index=SIZE // 2)).wall for _ in range(repeats)
        ]
        rows.append((name, harness.median(walls)))
    return harness.Table("Six samples of a slice", ("preset", "s"), rows, ["goal: half a second"])


def _sample() -> Sample:
    from meddl.volume import read_volume

    head = read_volume(harness.head())
    starts = [(count - SIZE) // 2 for count in head.shape]
    part = head.array[(slice(None), *(slice(start, start + SIZE) for start in starts))].astype(np.float32)
    bounds = np.quantile(part, np.linspace(0.2, 0.95, 8))
    from scipy.ndimage import gaussian_filter

    labels = np.digitize(gaussian_filter(part, (0, 2, 2, 2)), bounds).astype(np.uint8)
    return Sample({"T1": Volume(part, head.affine)}, Volume(labels, head.affine))


def _monai() -> object:
    from monai.transforms import (
        Compose,
        Rand3DElasticd,
        RandAdjustContrastd,
        RandAffined,
        RandBiasFieldd,
        RandFlipd,
        RandGaussianNoised,
        RandSimulateLowResolutiond,
    )

    both, modes = ["image", "label"], ("bilinear", "nearest")
    turns, scales, shifts = (12 * np.pi / 180,) * 3, (0.1,) * 3, (8,) * 3
    return Compose(
        [
            RandFlipd(both, prob=1, spatial_axis=2),
            RandAffined(both, prob=1, rotate_range=turns, scale_range=scales, translate_range=shifts, mode=modes),
            Rand3DElasticd(both, sigma_range=(8, 8), magnitude_range=(100, 200), prob=1, mode=modes),
            RandBiasFieldd("image", prob=1),
            RandAdjustContrastd("image", prob=1),
            RandSimulateLowResolutiond("image", prob=1, zoom_range=(0.4, 0.67)),
            RandGaussianNoised("image", prob=1, std=5),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    harness.main(measure, repeats=5)
