"""Recurrent classification: do a stack's slices run in the direction that its header says?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from meddl.inference import Predictor
from meddl.models import ModelBundle
from meddl.volume import Volume

from demo_models import images
from demo_models.augment import Placement, sample, shade
from demo_models.bundle import CPU, Definition
from demo_models.calibration import fit_temperature

CLASSES = ("Order as the header says", "Order reversed")
SHAPE = (32, 32, 24)
SOURCE_MM = 5.0
SHORTEST_MM = 80.0

DEFINITION = Definition(
    "demo_slice_order",
    {
        "name": "Demo: order of the slices",
        "task": "classification",
        "description": "Reads the axial slices of a stack one after the other and tells whether they run from the "
        "feet to the head as the header says, or the other way round.",
        "intended_use": "Trying out recurrent models: a convolutional network per slice and a GRU over the slices. "
        "Not a medical device.",
        "limits": "Stacks of head or trunk at least 8 cm high. Trained on six people only; says nothing of left and "
        "right. An answer near one half means: look yourself.",
        "data_type": "nifti",
        "data_source": "Training: Colin27 of Debian's mricron-data (BSD-3-Clause), the mean head of pydeface 2.1.0 "
        "(MIT), brain1, lung1 and lung2 of pyradiomics 3.0.1 (BSD-3-Clause), the abdomen CT of TotalSegmentator 2.18.0 "
        "(Apache-2.0). Calibration: brain2 of pyradiomics.",
        "image_classes": "stacks of CT or MR",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "CT, MR",
                    "num_channels": 1,
                    "spatial_shape": list(SHAPE),
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
            "sequence": {"axis": "slices", "length": SHAPE[2]},
            "classes": [{"name": name} for name in CLASSES],
            "expected": {
                "modality": ["CT", "MR"],
                "field_of_view_mm": {"min": [120, 120, SHORTEST_MM], "max": [600, 600, 800]},
            },
        },
    },
    {
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "meddl.networks.RecurrentClassifier",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": len(CLASSES),
            "features": [16, 32, 48],
            "hidden": 32,
            "cell": "gru",
            "dropout": 0.3,
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
                {
                    "_target_": "ScaleIntensityRangePercentilesd",
                    "keys": "image", "lower": 1.0, "upper": 99.0, "b_min": 0.0, "b_max": 1.0, "clip": True,
                },
                {"_target_": "Resized", "keys": "image", "spatial_size": list(SHAPE), "mode": "area"},
            ],
        },
        "inferer": {"_target_": "SimpleInferer"},
    },
)  # fmt: skip

TRAINING = (images.colin27, images.mean_head, images.tumor_1, images.chest_d, images.chest_e, images.abdomen_a)
CALIBRATION = (images.tumor_2,)
TEST = (images.itk_subject, images.chest_b)
DATA = "Trained on 6 images of 6 people (one of them a mean of several): 3 heads in MR, 2 chests and an abdomen in CT."
PLACEMENT = Placement(angle_deg=15, scale=(0.75, 1.3), stretch=0.15, shift_mm=30, mirror=True)


def stacks(make: Callable[[], Volume], count: int, seed: int) -> Iterable[tuple[Volume, int]]:
    """Yield an image and random parts of it at least 8 cm high, each in both orders: 0 as it is, 1 reversed."""
    random = np.random.default_rng(seed)
    whole = images.upright(make(), 3.0)
    for number in range(count):
        low, high = (0, whole.shape[2]) if number == 0 else _range(whole.shape[2], 3.0, random)
        part = np.ascontiguousarray(whole.array[..., low:high])
        affine = whole.affine.copy()
        affine[:3, 3] += affine[:3, 2] * low
        yield Volume(part, affine), 0
        yield Volume(np.ascontiguousarray(part[..., ::-1]), affine), 1


def prepared(makes: Iterable[Callable[[], Volume]], count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return stacks as the network gets them and their classes."""
    pairs = [(DEFINITION.prepare(v).as_tensor(), order) for make in makes for v, order in stacks(make, count, seed)]
    return torch.stack([image for image, _ in pairs]), torch.tensor([order for _, order in pairs])


def train(steps: int = 280, seed: int = 0) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Return the trained network and, for the metadata, the temperature of its logits."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = DEFINITION.network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    sources = []
    for make in TRAINING:
        volume = images.upright(make(), SOURCE_MM)
        low, high = np.percentile(volume.array, [0.5, 99.5])
        sources.append(torch.tensor(np.clip((volume.array - low) / (high - low), 0, 1.2), dtype=torch.float32))
    started = time.monotonic()
    for step in range(steps):
        examples = [_example(source, random) for source in sources]
        inputs = torch.stack(examples)
        # Each stack in both orders, so that nothing but the order tells the classes apart.
        logits = network(torch.cat([inputs, inputs.flip(-1)]))
        loss = F.cross_entropy(logits, torch.tensor([0] * len(examples) + [1] * len(examples)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {loss.item():.3f}, {time.monotonic() - started:.0f} s", flush=True)
    network.eval()
    held, truth = prepared(CALIBRATION, 20)
    with torch.inference_mode():
        return network, {"calibration": {"temperature": fit_temperature(network(held), truth)}}


def _range(length: int, voxel_mm: float, random: np.random.Generator) -> tuple[int, int]:
    shortest = min(length, int(np.ceil(SHORTEST_MM / voxel_mm)))
    size = int(random.integers(shortest, length + 1))
    low = int(random.integers(0, length - size + 1))
    return low, low + size


def _example(source: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    matrix, _ = PLACEMENT.draw(random)
    low, high = _range(source.shape[3], SOURCE_MM, random)
    height_mm = (high - low) * SOURCE_MM
    shape = (source.shape[1], source.shape[2], max(4, round(height_mm / SOURCE_MM)))
    center = np.array([(source.shape[1] - 1) / 2, (source.shape[2] - 1) / 2, (low + high - 1) / 2]) * SOURCE_MM
    matrix[2, 3] *= 0.3
    part = sample(source, SOURCE_MM, matrix, shape, SOURCE_MM, center)
    cut = int(random.integers(0, max(1, shape[0] // 8) + 1))
    part = part[:, cut : shape[0] - cut, cut : shape[1] - cut]
    part = F.interpolate(part[None], SHAPE, mode="trilinear", align_corners=False)[0]
    lower, upper = float(random.uniform(0, 0.35)), float(random.uniform(0.65, 1.0))
    if random.random() < 0.5:
        part = (part - lower) / (upper - lower)
    part = shade(part.clamp(0, 1.2), random, 0.2) ** float(np.exp(random.uniform(-0.4, 0.4)))
    noise = torch.tensor(random.standard_normal(part.shape, dtype=np.float32)) * float(random.uniform(0, 0.08))
    return (part + noise).clamp(0, 1)


def held_out(bundle: ModelBundle) -> dict[str, float]:
    """Run the model on whole stacks and parts of them, in both orders, of people it never saw."""
    predictor = Predictor(bundle, CPU)
    figures: dict[str, float] = {}
    for kind, make in ((" head", TEST[0]), (" chest", TEST[1]), ("n abdomen in MR", images.abdomen_mr)):
        shown = list(stacks(make, 1 if make is images.abdomen_mr else 20, seed=1))
        right = [predictor.predict(volume).best.name == CLASSES[order] for volume, order in shown]
        figures[f"stacks of a{kind}"] = len(right)
        figures[f"right of a{kind}"] = round(float(np.mean(right)), 3)
    return figures


def tell(figures: Mapping[str, float]) -> str:
    """Return the figures as a sentence."""
    return (
        f"Of {figures['stacks of a head']:.0f} parts, at least 8 cm high and in both orders, of another person's head "
        f"in MR it told {figures['right of a head']:.0%} rightly, of {figures['stacks of a chest']:.0f} parts of "
        f"another person's chest in CT {figures['right of a chest']:.0%}; of a 6 cm high abdomen in MR, a kind it "
        f"never saw, {figures['right of an abdomen in MR']:.0%} of 2."
    )
