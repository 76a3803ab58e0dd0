"""Classification: which region of the body an axial slice shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from meddl.inference import Predictor
from meddl.models import ModelBundle
from meddl.volume import Volume

from demo_models import images, lung_boxes
from demo_models.bundle import CPU, Definition
from demo_models.calibration import fit_temperature

CLASSES = ("Head", "Chest", "Abdomen")
SIZE = 96
LUNG_SHARE = (0.03, 0.15)
"""Slices whose lungs take up less of the body than the first are abdomen, more than the second chest, others "
"neither."""

DEFINITION = Definition(
    "demo_body_region",
    {
        "name": "Demo: region of the body",
        "task": "classification",
        "description": "Tells whether an axial slice shows the head, the chest or the abdomen; of a volume, it looks "
        "at the middle slice.",
        "intended_use": "Trying out classification, also on single pictures (PNG, JPEG, a single DICOM slice). Not a "
        "medical device.",
        "limits": "Axial slices of adults. Heads were only seen in MR, chests only in CT, abdomens only in CT, so the "
        "kind of image helps the answer and misleads it elsewhere (an MR of the abdomen, a CT of the head). Other "
        "regions are given one of the three names.",
        "data_type": "nifti",
        "data_source": "Training: Colin27 of Debian's mricron-data (BSD-3-Clause), the mean head of pydeface 2.1.0 "
        "(MIT), brain1 and lung1 of pyradiomics 3.0.1 (BSD-3-Clause), the abdomen CT of TotalSegmentator 2.18.0 "
        "(Apache-2.0). Calibration: brain2 and lung2 of pyradiomics.",
        "image_classes": "axial slices of CT or MR",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "CT, MR",
                    "num_channels": 1,
                    "spatial_shape": [SIZE, SIZE],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "probabilities",
                    "format": "classification",
                    "num_channels": len(CLASSES),
                    "spatial_shape": [],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {str(number): name for number, name in enumerate(CLASSES)},
                }
            },
        },
        "meddl": {
            "task": "classification",
            "organ": "whole body",
            "classes": [
                {"name": "Head", "code": "SCT^69536005^Head"},
                {"name": "Chest", "code": "SCT^51185008^Chest"},
                {"name": "Abdomen", "code": "SCT^818981001^Abdomen"},
            ],
            "expected": {"modality": ["CT", "MR"]},
        },
    },
    {
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "DenseNet",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": len(CLASSES),
            "init_features": 16,
            "growth_rate": 12,
            "block_config": [3, 4, 4],
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {
                    "_target_": "ScaleIntensityRangePercentilesd",
                    "keys": "image", "lower": 1.0, "upper": 99.0, "b_min": 0.0, "b_max": 1.0, "clip": True,
                },
                {"_target_": "Resized", "keys": "image", "spatial_size": [SIZE, SIZE], "mode": "area"},
            ],
        },
        "inferer": {"_target_": "SimpleInferer"},
    },
    flat=True,
)  # fmt: skip

HEADS = {
    images.colin27: (-60, 75),
    images.mean_head: (-65, 60),
    images.tumor_1: (-70, 70),
    images.tumor_2: (-55, 70),
    images.itk_subject: (80, 185),
}
"""Between which heights (RAS mm) the slices show a head and neither neck nor the crown's last bit."""
TRAINING = (images.colin27, images.mean_head, images.tumor_1, images.chest_d, images.abdomen_a)
CALIBRATION = (images.tumor_2, images.chest_e)
TEST = (images.itk_subject, images.chest_b, images.upper_abdomen_c)
DATA = "Trained on 5 images of 5 people (one of them a mean of several): 3 heads in MR, a chest and an abdomen in CT."


def slices(make: Callable[[], Volume]) -> Iterable[tuple[Volume, int]]:
    """Yield single slices of an image and their classes; those that show two regions are left out."""
    volume = images.upright(make(), 4.0) if make in HEADS else make()
    if make not in HEADS:
        spacing = max(3.0, float(volume.spacing.min()))
        volume = images.upright(volume, spacing)
    shares = None if make in HEADS or make is images.abdomen_mr else _lung_shares(volume, make)
    for k in range(volume.shape[2]):
        place = volume.affine.copy()
        place[:3, 3] += place[:3, 2] * k
        if make in HEADS:
            low, high = HEADS[make]
            region = 0 if low <= place[2, 3] <= high else None
        elif shares is None:
            region = 2
        else:
            region = 2 if shares[k] < LUNG_SHARE[0] else 1 if shares[k] > LUNG_SHARE[1] else None
        if region is not None:
            yield Volume(volume.array[..., k : k + 1], place), region


def _lung_shares(volume: Volume, make: Callable[[], Volume]) -> np.ndarray:
    """Return per slice how much of the body lies in the lungs; 0.1 (no answer) above their tips."""
    lungs = lung_boxes.mask(volume, make) > 0
    body = (volume.array[0] > -300) | lungs
    shares = lungs.sum(axis=(0, 1)) / np.maximum(body.sum(axis=(0, 1)), 1)
    if lungs.any():
        top = int(np.nonzero(lungs.any(axis=(0, 1)))[0].max())
        shares[top:] = 0.1
    return shares


def prepared(makes: Iterable[Callable[[], Volume]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all slices of some images as the network gets them, and their classes."""
    pairs = [(DEFINITION.prepare(volume).as_tensor(), region) for make in makes for volume, region in slices(make)]
    return torch.stack([image for image, _ in pairs]), torch.tensor([region for _, region in pairs])


def train(steps: int = 260, seed: int = 0) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Return the trained network and, for the metadata, the temperature of its logits."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = DEFINITION.network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    inputs, regions = prepared(TRAINING)
    by_class = [np.flatnonzero(regions == number) for number in range(len(CLASSES))]
    print(f"slices: {[len(each) for each in by_class]}", flush=True)
    started = time.monotonic()
    for step in range(steps):
        chosen = np.concatenate([random.choice(each, 8) for each in by_class])
        loss = F.cross_entropy(network(_vary(inputs[chosen], random)), regions[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {loss.item():.3f}, {time.monotonic() - started:.0f} s", flush=True)
    network.eval()
    held, truth = prepared(CALIBRATION)
    with torch.inference_mode():
        return network, {"calibration": {"temperature": fit_temperature(network(held), truth)}}


FEATURES = "features.transition1"
"""The network's layer by which it is told what is unlike the slices it was trained on."""


def variants(random: np.random.Generator, count: int = 400) -> Iterator[torch.Tensor]:
    """Yield slices as training draws them."""
    inputs, regions = prepared(TRAINING)
    by_class = [np.flatnonzero(regions == number) for number in range(len(CLASSES))]
    for number in range(count):
        yield _vary(inputs[random.choice(by_class[number % len(CLASSES)], 1)], random)[0]


def _vary(batch: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Turn, stretch, mirror and shift pictures, and look at them through random gray-level windows."""
    count = len(batch)
    angle = np.deg2rad(random.uniform(-20, 20, count)) + np.pi / 2 * random.integers(0, 4, count) * (
        random.random(count) < 0.25
    )
    scale = np.exp(random.uniform(-0.3, 0.3, (count, 2)))
    mirror = np.where(random.random((count, 2)) < 0.5, -1.0, 1.0)
    theta = np.zeros((count, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 1] = np.cos(angle) * scale[:, 0] * mirror[:, 0], -np.sin(angle) * scale[:, 1]
    theta[:, 1, 0], theta[:, 1, 1] = np.sin(angle) * scale[:, 0], np.cos(angle) * scale[:, 1] * mirror[:, 1]
    theta[..., 2] = random.uniform(-0.15, 0.15, (count, 2))
    grid = F.affine_grid(torch.tensor(theta), list(batch.shape), align_corners=False)
    moved = F.grid_sample(batch, grid, align_corners=False)
    low = torch.tensor(random.uniform(0.0, 0.4, (count, 1, 1, 1)), dtype=torch.float32)
    high = torch.tensor(random.uniform(0.6, 1.1, (count, 1, 1, 1)), dtype=torch.float32)
    plain = torch.tensor(random.random((count, 1, 1, 1)) < 0.4)
    low, high = torch.where(plain, 0.0, low), torch.where(plain, 1.0, high)
    seen = ((moved - low) / (high - low)).clamp(0, 1)
    seen = seen ** torch.tensor(np.exp(random.uniform(-0.4, 0.4, (count, 1, 1, 1))), dtype=torch.float32)
    noise = torch.tensor(random.standard_normal(seen.shape, dtype=np.float32))
    return (seen + noise * torch.tensor(random.uniform(0, 0.08, (count, 1, 1, 1)), dtype=torch.float32)).clamp(0, 1)


def held_out(bundle: ModelBundle) -> dict[str, float]:
    """Run the model on all slices of people it never saw."""
    predictor = Predictor(bundle, CPU)
    figures: dict[str, float] = {}
    for kind, makes in (("", TEST), (" of an abdomen in MR", (images.abdomen_mr,))):
        right = [
            (answer.best.name == CLASSES[region], answer.classes[region].probability)
            for make in makes
            for volume, region in slices(make)
            for answer in (predictor.predict(volume),)
        ]
        figures[f"slices{kind}"] = len(right)
        figures[f"right{kind}"] = round(float(np.mean([each[0] for each in right])), 3)
        figures[f"mean probability of the right answer{kind}"] = round(float(np.mean([each[1] for each in right])), 3)
    return figures


def tell(figures: Mapping[str, float]) -> str:
    """Return the figures as a sentence."""
    return (
        f"Of {figures['slices']:.0f} slices of three other people (a head in MR, a chest and an upper abdomen in CT) "
        f"it named {figures['right']:.0%} rightly; of {figures['slices of an abdomen in MR']:.0f} slices of an "
        f"abdomen in MR, a kind it never saw, {figures['right of an abdomen in MR']:.0%}: it goes by the kind "
        "of image as well."
    )
