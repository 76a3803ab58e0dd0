"""Augmented cases per second, with labels, against plain MONAI and TorchIO pipelines of the same transforms.

TorchIO is compared where it is installed (``pip install "torchio<2"``); MedDL does not need it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import harness
import numpy as np
import torch
from meddl.augmentation import AugmentationPlan, Sample, augment, load_plan, preview
from meddl.volume import Volume

SIZE = 96
OURS, THEIRS = "meddl.augmentation", "MONAI (Compose of dictionary transforms)"
TORCHIO = "TorchIO (Compose of a subject's transforms)"
STEPS = [
    {"transform": "flip", "axis": "up-down"},
    {"transform": "affine", "rotation_degrees": [-12, 12], "scale": [0.9, 1.1], "shift_mm": [-8, 8]},
    {"transform": "elastic", "spacing_mm": 40, "amplitude_mm": 5},
    {"transform": "bias_field"},
    {"transform": "contrast"},
    {"transform": "low_resolution"},
    {"transform": "noise"},
]
"""All of them happen each time, so that all do the same work."""
ARTIFACTS = [
    {"transform": "motion", "moves": 2},
    {"transform": "ghosting"},
    {"transform": "spike"},
    {"transform": "anisotropy"},
]
"""What TorchIO has and MONAI has not."""


def measure(repeats: int) -> list[harness.Table]:
    sample = _sample()
    others = {THEIRS: _monai(sample)}
    torchio = _torchio(sample)
    if torchio is not None:
        others[TORCHIO] = torchio[0]
    tables = [
        *_against(sample, STEPS, others, repeats, f"{len(STEPS)} transforms of an image and 8 labels"),
        *([] if torchio is None else _against(sample, ARTIFACTS, {TORCHIO: torchio[1]}, repeats, "Four artifacts")),
    ]
    return [*tables, _previews(sample, repeats)]


def _against(
    sample: Sample, steps: list[dict[str, Any]], others: dict[str, Callable[[], object]], repeats: int, what: str
) -> list[harness.Table]:
    numbers = itertools.count()
    plan = AugmentationPlan.from_dict({"name": "bench", "transforms": steps})
    works = {OURS: lambda: augment(sample, plan, next(numbers)), **others}
    samples = harness.interleaved(
        {name: lambda work=work: harness.timed(work) for name, work in works.items()}, repeats
    )
    rates = [(name, 1 / harness.median([each.wall for each in timed])) for name, timed in samples.items()]
    notes = ["ours moves labels by greatest membership, the others by nearest neighbor"]
    return [
        harness.Table(
            f"{what}, {SIZE} voxels along each edge", harness.COMPARED, harness.compared(samples, OURS), notes
        ),
        harness.Table(f"{what}: cases per second", ("", "per second"), rates),
    ]


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


def _monai(sample: Sample) -> Callable[[], object]:
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
    pipeline = Compose(
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
    image, labels = (torch.from_numpy(each.array.astype(np.float32)) for each in (sample.images["T1"], sample.labels))
    return lambda: pipeline({"image": image, "label": labels})


def _torchio(sample: Sample) -> tuple[Callable[[], object], Callable[[], object]] | None:
    """Return the pipelines of :data:`STEPS` and :data:`ARTIFACTS`, or None where TorchIO is not installed."""
    try:
        import torchio
    except ImportError:
        return None
    subject = torchio.Subject(
        t1=torchio.ScalarImage(tensor=torch.from_numpy(sample.images["T1"].array), affine=sample.grid.affine),
        labels=torchio.LabelMap(tensor=torch.from_numpy(sample.labels.array), affine=sample.grid.affine),
    )
    steps = torchio.Compose(
        [
            torchio.RandomFlip(axes=2, flip_probability=1),
            torchio.RandomAffine(scales=0.1, degrees=12, translation=8),
            torchio.RandomElasticDeformation(num_control_points=7, max_displacement=5),
            torchio.RandomBiasField(),
            torchio.RandomGamma(),
            torchio.RandomAnisotropy(downsampling=(1.5, 2.5)),
            torchio.RandomNoise(std=5),
        ]
    )
    artifacts = torchio.Compose(
        [
            torchio.RandomMotion(num_transforms=2),
            torchio.RandomGhosting(),
            torchio.RandomSpike(),
            torchio.RandomAnisotropy(downsampling=(2, 5)),
        ]
    )
    return lambda: steps(subject), lambda: artifacts(subject)


if __name__ == "__main__":
    harness.main(measure, repeats=5)
