"""Detection: boxes round the left and the right lung in CT, by a center-heat-map network."""

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
from scipy import ndimage

from demo_models import images
from demo_models.augment import Placement, sample
from demo_models.bundle import CPU, Definition
from demo_models.heatmaps import bump, start_at

CLASSES = ("Left lung", "Right lung")
GRID_MM = 10.0
SOURCE_MM = 5.0
PATCH = (40, 32, 32)
SMALLEST_LUNG_ML = 60.0
SIGMA = 1.5

DEFINITION = Definition(
    "demo_lung_boxes",
    {
        "name": "Demo: boxes round the lungs",
        "task": "detection",
        "description": "Draws a box round the left and the right lung in a CT of the trunk.",
        "intended_use": "Trying out detection: to see boxes, scores and the table on one's own CT. Not a medical "
        "device.",
        "limits": "Adults lying on their back, whole width of the trunk in the image. Trained on three people only: "
        "expect wrong boxes after lung surgery, with effusions or collapsed lungs, in children, and where the image "
        "shows a lung's tip only.",
        "data_type": "nifti",
        "data_source": "Images of the packages pyradiomics 3.0.1 (BSD-3-Clause) and TotalSegmentator 2.18.0 "
        "(Apache-2.0); boxes from thresholds (air inside the body) and TotalSegmentator's lung labels.",
        "image_classes": "CT in Hounsfield units",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield",
                    "modality": "CT",
                    "num_channels": 1,
                    "spatial_shape": ["8*n", "8*n", "8*n"],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {"0": "CT"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "heatmap",
                    "format": "detection",
                    "num_channels": 8,
                    "spatial_shape": ["8*n", "8*n", "8*n"],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {
                        "0": "Left lung",
                        "1": "Right lung",
                        "2": "offset i",
                        "3": "offset j",
                        "4": "offset k",
                        "5": "log size i",
                        "6": "log size j",
                        "7": "log size k",
                    },
                }
            },
        },
        "meddl": {
            "task": "detection",
            "organ": "lung",
            "classes": [
                {"name": "Left lung", "code": "SCT^44029006^Left lung"},
                {"name": "Right lung", "code": "SCT^3341006^Right lung"},
            ],
            "detection": {"score_threshold": 0.3, "nms_iou": 0.2, "max_boxes": 10},
            "expected": {
                "modality": ["CT"],
                "spacing_mm": {"min": [0.3, 0.3, 0.3], "max": [6.0, 6.0, 6.0]},
                "field_of_view_mm": {"min": [220, 180, 100], "max": [600, 600, 700]},
                "intensity": {"p1": [-2100, -800], "p50": [-1100, 100], "p99": [50, 900]},
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
            "out_channels": 8,
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
                    "_target_": "ScaleIntensityRanged",
                    "keys": "image", "a_min": -1000.0, "a_max": 500.0, "b_min": 0.0, "b_max": 1.0, "clip": True,
                },
                {"_target_": "DivisiblePadd", "keys": "image", "k": 8},
            ],
        },
        "inferer": {"_target_": "SimpleInferer"},
    },
)  # fmt: skip

TRAINING = (images.chest_d, images.chest_e, images.abdomen_a)
DATA = "Trained on 3 CT images of 3 people."


def lungs(volume: Volume) -> np.ndarray:
    """Return ``(I, J, K)`` on an upright image: 1 left lung, 2 right lung, by thresholds.

    The largest piece of air inside the body on either side of the spine, without the windpipe's cross-sections.
    """
    air = volume.array[0] < -500
    padded = np.pad(air, ((1, 1), (1, 1), (0, 0)), constant_values=True)
    outside = np.zeros_like(padded)
    for k in range(padded.shape[2]):
        pieces, _ = ndimage.label(padded[..., k])
        outside[..., k] = pieces == pieces[0, 0]
    inside = air & ~outside[1:-1, 1:-1]
    cell_mm2 = float(np.prod(volume.spacing[:2]))
    bone = volume.array[0] > 250
    back = bone[:, : bone.shape[1] // 2]
    middle = float(np.average(np.arange(bone.shape[0]), weights=back.sum(axis=(1, 2)) + 1e-6))
    across_mm = (np.arange(air.shape[0]) - middle) * volume.spacing[0]
    for k in range(inside.shape[2]):
        pieces, count = ndimage.label(inside[..., k])
        for piece in range(1, count + 1):
            where = pieces == piece
            if where.sum() * cell_mm2 < 900 and abs(across_mm[np.nonzero(where)[0].mean().astype(int)]) < 30:
                inside[..., k][where] = False
    inside = ndimage.binary_opening(inside)
    found = np.zeros(air.shape, np.uint8)
    for label, side in ((1, across_mm < 0), (2, across_mm >= 0)):  # RAS: to the right is positive
        pieces, count = ndimage.label(inside & side[:, None, None])
        if count:
            sizes = np.bincount(pieces.ravel())[1:]
            if sizes.max() * volume.voxel_volume_ml > SMALLEST_LUNG_ML:
                found[pieces == 1 + sizes.argmax()] = label
    return found


def mask(image: Volume, make: Callable[[], Volume]) -> np.ndarray:
    """Return the lungs of an upright image: TotalSegmentator's labels where there are some, else by thresholds."""
    if make is images.abdomen_a:
        labels = images.on_grid_of(images.abdomen_a_labels(), image)
        return np.where(labels == 10, 1, np.where(labels == 14, 2, 0)).astype(np.uint8)
    return lungs(image)


def boxes_mm(labels: np.ndarray, affine: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return center and size (RAS mm) of the box round each label's voxels, by class name."""
    found = {}
    for label, name in enumerate(CLASSES, 1):
        where = np.argwhere(labels == label)
        if len(where):
            low, high = where.min(axis=0) - 0.5, where.max(axis=0) + 0.5
            center = affine[:3, :3] @ ((low + high) / 2) + affine[:3, 3]
            found[name] = center, (high - low) * np.linalg.norm(affine[:3, :3], axis=0)
    return found


def train(steps: int = 900, seed: int = 0) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Train on patches of random place, size and contrast."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = DEFINITION.network()
    start_at(network, [-4.0, -4.0, 0.0, 0.0, 0.0, 4.9, 5.1, 5.4])  # log mm of a usual lung
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    sources = _sources()
    started = time.monotonic()
    for step in range(steps):
        batch = [_example(*sources[ORDER[(2 * step + n) % len(ORDER)]], random) for n in range(2)]
        inputs, heat, boxes, weight = (torch.stack(part) for part in zip(*batch, strict=True))
        output = network(inputs)
        # Centers: heat maps as of landmarks. Boxes: only near a center, each of the six numbers in its own weight.
        centers = F.binary_cross_entropy_with_logits(output[:, :2], heat, reduction="sum") / (BUMP_MASS * len(batch))
        geometry = (weight * (output[:, 2:] - boxes).abs() * BOX_LOSS).sum() / weight.sum().clamp(min=1)
        loss = centers + geometry
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {loss.item():.3f}, {time.monotonic() - started:.0f} s", flush=True)
    return network.eval(), {}


FEATURES = "model.1.submodule.1.submodule.0"
"""The network's layer by which it is told what is unlike the images it was trained on."""


def variants(random: np.random.Generator, count: int = 260) -> Iterator[torch.Tensor]:
    """Yield images as training draws them."""
    sources = _sources()
    for number in range(count):
        yield _example(*sources[ORDER[number % len(ORDER)]], random)[0]


def _sources() -> list[tuple[torch.Tensor, torch.Tensor, np.ndarray]]:
    found = []
    for make in TRAINING:
        upright = images.upright(make(), SOURCE_MM)
        found.append((torch.tensor(upright.array), torch.tensor(mask(upright, make)[None]), upright.spacing))
    return found


BUMP_MASS = (2 * np.pi) ** 1.5 * SIGMA**3
BOX_LOSS = torch.tensor([0.3, 0.3, 0.3, 3.0, 3.0, 3.0]).reshape(1, 6, 1, 1, 1)
ORDER = (0, 1, 0, 1, 2)
"""The abdomen, which shows the lungs' tips only, comes less often."""
PLACEMENT = Placement(angle_deg=8, scale=(0.8, 1.25), stretch=0.1, shift_mm=30, mirror=True)


def _example(
    image: torch.Tensor, labels: torch.Tensor, spacing: np.ndarray, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    matrix, mirrored = PLACEMENT.draw(random)
    middle = (np.array(image.shape[1:]) - 1) / 2 * SOURCE_MM
    patch = sample(image + 1024, SOURCE_MM, matrix, PATCH, GRID_MM, middle) - 1024
    where = sample(labels.float(), SOURCE_MM, matrix, PATCH, GRID_MM, middle, mode="nearest")[0].numpy()
    # Sometimes only a part of the trunk was scanned.
    low, high = sorted(random.integers(0, PATCH[2] + 1, 2)) if random.random() < 0.25 else (0, PATCH[2])
    if high - low > 10:
        patch[..., :low], patch[..., high:] = -1024, -1024
        where[..., :low], where[..., high:] = 0, 0
    bright = patch > 40  # contrast agent, bone
    patch = torch.where(bright, 40 + (patch - 40) * float(random.uniform(0.7, 2.0)), patch)
    patch = patch + float(random.uniform(0, 60)) * torch.tensor(random.standard_normal(PATCH, dtype=np.float32))
    patch = ((patch + 1000 + float(random.uniform(-30, 30))) / 1500).clamp(0, 1)
    heat, boxes, weight = torch.zeros(2, *PATCH), torch.zeros(6, *PATCH), torch.zeros(1, *PATCH)
    index = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in PATCH), indexing="ij"))
    for label, name in ((1, 0), (2, 1)):
        points = np.argwhere(where == label)
        if len(points) * GRID_MM**3 / 1000 < SMALLEST_LUNG_ML:
            continue
        start, end = points.min(axis=0) - 0.5, points.max(axis=0) + 0.5
        center, size = (start + end) / 2, end - start
        channel = 1 - name if mirrored else name
        heat[channel] = bump(PATCH, center, SIGMA)
        near = bump(PATCH, center, 2.0) > 0.3
        offset = torch.tensor(center, dtype=torch.float32).reshape(3, 1, 1, 1) - index
        sizes = torch.tensor(np.log(size * GRID_MM), dtype=torch.float32).reshape(3, 1, 1, 1).expand(3, *PATCH)
        boxes[:, near] = torch.cat([offset, sizes])[:, near]
        weight[:, near] = 1
    return patch, heat, boxes, weight


def overlap(one: tuple[np.ndarray, np.ndarray], two: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the intersection over the union of two upright boxes, each a (center, size)."""
    low = np.maximum(one[0] - one[1] / 2, two[0] - two[1] / 2)
    high = np.minimum(one[0] + one[1] / 2, two[0] + two[1] / 2)
    common = float(np.prod(np.clip(high - low, 0, None)))
    return common / (float(np.prod(one[1])) + float(np.prod(two[1])) - common)


def truth(make: Callable[[], Volume]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the boxes that an image's lungs have."""
    upright = images.upright(make(), SOURCE_MM)
    return boxes_mm(mask(upright, make), upright.affine)


def held_out(bundle: ModelBundle) -> dict[str, float]:
    """Run the model on a chest and on an upper abdomen of people it never saw."""
    predictor = Predictor(bundle, CPU)
    found = predictor.predict(images.chest_b()).boxes
    figures: dict[str, float] = {"boxes in the chest": len(found)}
    for name, box in truth(images.chest_b).items():
        best = max((each for each in found if each.label == name), key=lambda each: each.score, default=None)
        # The image's axes lie along those of the patient, so boxes may be compared as upright ones.
        figures[f"overlap, {name.lower()}"] = round(overlap((best.center, best.size), box), 3) if best else 0.0
        figures[f"score, {name.lower()}"] = round(best.score, 3) if best else 0.0
    figures["boxes in the upper abdomen"] = len(predictor.predict(images.upper_abdomen_c()).boxes)
    return figures


def tell(figures: Mapping[str, float]) -> str:
    """Return the figures as a sentence."""
    false = figures["boxes in the upper abdomen"]
    return (
        f"In the chest CT of another person its boxes overlap the true ones by {figures['overlap, left lung']:.0%} "
        f"(left) and {figures['overlap, right lung']:.0%} (right, intersection over union), with "
        f"{figures['boxes in the chest'] - 2:.0f} boxes too many; in the upper abdomen of yet another, which holds at "
        f"most the lungs' tips, it drew {false:.0f}."
    )
