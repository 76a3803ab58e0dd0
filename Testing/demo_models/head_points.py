"""Landmarks: six points of the head in T1-weighted MR, by heat-map regression."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from meddl.inference import Predictor
from meddl.models import ModelBundle
from meddl.volume import Volume

from demo_models import images
from demo_models.augment import Placement, blur, place_of, sample, shade
from demo_models.bundle import CPU, Definition
from demo_models.heatmaps import bump, start_at

POINTS = (
    "Left eye",
    "Right eye",
    "Corpus callosum, front",
    "Corpus callosum, back",
    "Fourth ventricle, roof",
    "Pons, front",
)
GRID_MM = 5.0
SOURCE_MM = 2.5
PATCH = (40, 48, 40)
SIGMA = 1.4

BY_EYE: Mapping[Callable[[], Volume], Mapping[str, tuple[float, float, float]]] = {
    images.colin27: {
        "Left eye": (-36, 63, -38),
        "Right eye": (33, 63, -38),
        "Corpus callosum, front": (0, 37, 5),
        "Corpus callosum, back": (0, -37, 21),
        "Fourth ventricle, roof": (0, -50, -27),
        "Pons, front": (0, -10.5, -31),
    },
    images.mean_head: {
        "Left eye": (-29, 80, -30),
        "Right eye": (29.5, 74.5, -31),
        "Corpus callosum, front": (-6, 47, 5),
        "Corpus callosum, back": (-6, -25, 6),
        "Fourth ventricle, roof": (-6, -25, -31),
        "Pons, front": (-6, 7, -28),
    },
    images.itk_subject: {
        "Corpus callosum, front": (-127, -118, 132),
        "Corpus callosum, back": (-122, -190, 115),
        "Fourth ventricle, roof": (-122, -183, 87),
        "Pons, front": (-124.5, -150, 91),
    },
    images.tumor_1: {"Left eye": (-35, 79, -24), "Right eye": (30, 80, -27)},
    images.tumor_2: {"Left eye": (-31, 74, -20), "Right eye": (33, 75, -17)},
}
"""Where the points are, RAS mm: read off the images by eye by the author, to 1 or 2 mm.

The middle of each eyeball; in the midsagittal plane the foremost point of the genu and the hindmost of the splenium,
the tip of the fourth ventricle towards the cerebellum, the foremost point of the pons. The face of ITK's subject was
removed; in the tumor images, with slices of 6.5 mm, the midline points cannot be told.
"""

DEFINITION = Definition(
    "demo_head_points",
    {
        "name": "Demo: points of the head",
        "task": "landmarks",
        "description": "Finds the middle of both eyes, the ends of the corpus callosum, the roof of the fourth "
        "ventricle and the front of the pons in a T1-weighted MR image of the head.",
        "intended_use": "Trying out landmarks: to see points with scores on one's own MR. Not a medical device.",
        "limits": "T1-weighted images of an adult's head in about upright position. Trained on three images only, the "
        "points read off by eye by one person. Where a point is missing (face removed, image cut) its score should be "
        "low, but need not be.",
        "data_type": "nifti",
        "data_source": "Images: Colin27 of Debian's mricron-data (BSD-3-Clause), the mean head of pydeface 2.1.0 "
        "(MIT), brain1 of pyradiomics 3.0.1 (BSD-3-Clause). Points: read off by eye.",
        "image_classes": "T1-weighted MR, any positive scale",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "MR",
                    "num_channels": 1,
                    "spatial_shape": ["8*n", "8*n", "8*n"],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {"0": "T1-weighted MR"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "heatmap",
                    "format": "landmarks",
                    "num_channels": len(POINTS),
                    "spatial_shape": ["8*n", "8*n", "8*n"],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {str(number): name for number, name in enumerate(POINTS)},
                }
            },
        },
        "meddl": {
            "task": "landmarks",
            "organ": "head",
            "expected": {
                "modality": ["MR"],
                "spacing_mm": {"min": [0.4, 0.4, 0.4], "max": [7.0, 7.0, 7.0]},
                "field_of_view_mm": {"min": [140, 160, 120], "max": [280, 300, 300]},
            },
        },
    },
    {
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "UNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": len(POINTS),
            "channels": [16, 32, 48, 64],
            "strides": [2, 2, 2],
            "num_res_units": 1,
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
                {"_target_": "Spacingd", "keys": "image", "pixdim": [GRID_MM] * 3, "mode": "bilinear"},
                {
                    "_target_": "ScaleIntensityRangePercentilesd",
                    "keys": "image", "lower": 1.0, "upper": 99.0, "b_min": 0.0, "b_max": 1.0, "clip": True,
                },
                {"_target_": "DivisiblePadd", "keys": "image", "k": 8},
            ],
        },
        "inferer": {"_target_": "SimpleInferer"},
    },
)  # fmt: skip

TRAINING = (images.colin27, images.mean_head, images.tumor_1)
DATA = "Trained on 3 MR images: one man, one patient, and a mean of several people."
PLACEMENT = Placement(angle_deg=18, scale=(0.85, 1.2), stretch=0.1, shift_mm=20)


def train(steps: int = 1000, seed: int = 0) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Train on images of random place, size, contrast, noise and slice thickness."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = DEFINITION.network()
    start_at(network, [-6.0] * len(POINTS))
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    sources = _sources()
    started = time.monotonic()
    for step in range(steps):
        image, target, known = _example(*sources[ORDER[step % len(ORDER)]], random)
        logits = network(image[None])[0]
        each = F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=(1, 2, 3))
        loss = (each * known).sum() / (BUMP_MASS * known.sum())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {loss.item():.3f}, {time.monotonic() - started:.0f} s", flush=True)
    return network.eval(), {}


ORDER = (0, 1, 0, 1, 2)
"""The tumor patient comes less often than the two whole heads."""
FEATURES = "model.1.submodule.1.submodule.0"
"""The network's layer by which it is told what is unlike the images it was trained on."""


def variants(random: np.random.Generator, count: int = 260) -> Iterator[torch.Tensor]:
    """Yield images as training draws them."""
    sources = _sources()
    for number in range(count):
        yield _example(*sources[ORDER[number % len(ORDER)]], random)[0]


def _sources() -> list[tuple[Volume, Mapping[str, tuple[float, float, float]]]]:
    return [(images.upright(make(), SOURCE_MM), BY_EYE[make]) for make in TRAINING]


BUMP_MASS = (2 * np.pi) ** 1.5 * SIGMA**3


def _example(
    volume: Volume, points: Mapping[str, tuple[float, float, float]], random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    matrix, _ = PLACEMENT.draw(random)
    source = torch.tensor(volume.array)
    middle = (np.array(volume.shape) - 1) / 2 * SOURCE_MM
    to_voxels = np.linalg.inv(volume.affine)
    inside = np.array([to_voxels[:3, :3] @ np.array(p) + to_voxels[:3, 3] for p in points.values()])
    # Around the points, not around the image: images differ in how much of the neck they show.
    middle = 0.5 * middle + 0.5 * inside.mean(axis=0) * SOURCE_MM
    patch = sample(source, SOURCE_MM, matrix, PATCH, GRID_MM, middle)
    places = dict(zip(points, place_of(inside * SOURCE_MM, matrix, PATCH, GRID_MM, middle), strict=True))
    erased = random.random() < 0.2 and "Left eye" in places
    if erased:
        # As programs do that make heads unrecognizable.
        front = int(min(places["Left eye"][1], places["Right eye"][1])) - int(random.integers(3, 6))
        top = int(max(places["Left eye"][2], places["Right eye"][2])) + int(random.integers(2, 5))
        patch[:, :, max(front, 0) :, : max(top, 0)] = 0
    low, high = torch.quantile(patch, torch.tensor([0.01, 0.99]))
    patch = ((patch - low) / (high - low + 1e-6)).clamp(0, 1.5)
    patch = patch ** float(np.exp(random.uniform(-0.4, 0.4)))
    patch = shade(patch, random)
    if random.random() < 0.3:
        axis = int(random.integers(1, 4))
        patch = patch.movedim(axis, 1)
        patch = F.interpolate(
            F.avg_pool3d(patch[None], (2, 1, 1)), patch.shape[1:], mode="trilinear", align_corners=False
        )[0].movedim(1, axis)
    if random.random() < 0.3:
        patch = blur(patch, float(random.uniform(0.4, 0.8)))
    noise = torch.tensor(random.standard_normal((2, *PATCH), dtype=np.float32)) * float(random.uniform(0, 0.08))
    patch = torch.sqrt((patch + noise[:1]) ** 2 + noise[1:] ** 2).clamp(0, 1)
    target, known = torch.zeros(len(POINTS), *PATCH), torch.zeros(len(POINTS))
    for channel, name in enumerate(POINTS):
        if name not in places:
            continue
        known[channel] = 1
        place = places[name]
        seen = bool((place > 0).all() and (place < np.array(PATCH) - 1).all())
        if seen and not (erased and "eye" in name):
            target[channel] = bump(PATCH, place, SIGMA)
    return patch, target, known


def held_out(bundle: ModelBundle) -> dict[str, float]:
    """Run the model on two people it never saw: ITK's subject, whose face was removed, and a tumor patient."""
    predictor = Predictor(bundle, CPU)
    figures: dict[str, float] = {}
    for who, make in (("ITK's subject", images.itk_subject), ("a tumor patient", images.tumor_2)):
        for point in predictor.predict(make()).points:
            true = BY_EYE[make].get(point.name)
            if true is not None:
                distance = float(np.linalg.norm(np.asarray(point.position) - np.array(true)))
                figures[f"{point.name}, {who}, mm"] = round(distance, 1)
            elif make is images.itk_subject:
                figures[f"{point.name}, {who}, score though removed"] = round(point.score, 3)
    return figures


def tell(figures: Mapping[str, float]) -> str:
    """Return the figures as a sentence."""
    middle = [value for name, value in figures.items() if name.endswith("ITK's subject, mm")]
    eyes = [value for name, value in figures.items() if name.endswith("a tumor patient, mm")]
    scores = [value for name, value in figures.items() if name.endswith("removed")]
    return (
        f"On another person its four midline points lie {np.mean(middle):.1f} mm from those read off by eye on average "
        f"(at most {max(middle):.1f} mm), on a tumor patient the eyes {np.mean(eyes):.1f} mm (at most {max(eyes):.1f} "
        f"mm); for the two eyes that were removed from an image it gives scores up to {max(scores):.2f}."
    )
