"""Reconstruction: takes Rician noise out of T1-weighted MR of the head, slice by slice."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from meddl.inference import Predictor
from meddl.models import ModelBundle
from meddl.volume import Volume
from scipy import ndimage

from demo_models import images
from demo_models.bundle import CPU, Definition

TEST = {"a tumor patient": images.tumor_2, "ITK's subject": images.itk_subject}
NOISE_LEVELS = (0.03, 0.06, 0.10)
"""Standard deviation of the noise that is added for the test, as a share of the image's 99.5th percentile."""

DEFINITION = Definition(
    "demo_mr_denoising",
    {
        "name": "Demo: less noise in MR",
        "task": "reconstruction",
        "description": "Takes noise out of T1-weighted MR images of the head, slice by slice and at any noise level "
        "up to about 12 % of the brightest tissue.",
        "intended_use": "Trying out reconstruction: to see an image before and after, and the difference. Not a "
        "medical device; what is faint may be taken for noise.",
        "limits": "T1-weighted MR of the head, voxels of about 1 mm in the plane of the slices, noise without "
        "structure. Made from the scans of a single healthy man: lesions are not in its experience.",
        "data_type": "nifti",
        "data_source": "Colin27 of Debian's mricron-data (BSD-3-Clause): a mean of 27 scans of one man, to which noise "
        "was added.",
        "image_classes": "T1-weighted MR, any positive scale",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "MR",
                    "num_channels": 1,
                    "spatial_shape": ["*", "*"],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {"0": "T1-weighted MR"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "magnitude",
                    "num_channels": 1,
                    "spatial_shape": ["*", "*"],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {"0": "what to add to the image"},
                }
            },
        },
        "meddl": {
            "task": "reconstruction",
            "organ": "head",
            "reconstruction": {"residual": True},
            "expected": {
                "modality": ["MR"],
                "spacing_mm": {"min": [0.5, 0.5, 0.5], "max": [1.6, 1.6, 7.0]},
                "field_of_view_mm": {"min": [120, 120, 1], "max": [300, 300, 300]},
            },
        },
    },
    {
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "meddl.networks.DenoisingCNN",
            "spatial_dims": 2,
            "channels": 1,
            "features": 32,
            "layers": 7,
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {
                    "_target_": "ScaleIntensityRangePercentilesd",
                    "keys": "image", "lower": 0.0, "upper": 99.5, "b_min": 0.0, "b_max": 1.0, "clip": False,
                },
            ],
        },
        "inferer": {
            "_target_": "SliceInferer",
            "roi_size": [128, 128], "spatial_dim": 2, "sw_batch_size": 4, "overlap": 0.25, "mode": "gaussian",
        },
    },
)  # fmt: skip

DATA = "Trained on 1 MR image of 1 person (Colin27, a mean of 27 scans)."
CROP = 56
BATCH = 8


def train(steps: int = 900, seed: int = 0) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Train on crops of slices in all three directions, with noise of random strength."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = DEFINITION.network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1.5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, total_steps=steps, pct_start=0.1)
    clean = images.colin27().array[0].astype(np.float32)
    clean /= np.percentile(clean, 99.5)
    started, mean_loss = time.monotonic(), 0.0
    for step in range(steps):
        goal = torch.stack([_crop(clean, random) for _ in range(BATCH)])
        sigma = torch.tensor(0.13 * random.random((BATCH, 1, 1, 1)) ** 1.5, dtype=torch.float32)
        inputs = rician(goal, sigma, random)
        loss = F.mse_loss(inputs + network(inputs), goal)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean_loss += loss.item() / 50
        if step % 50 == 49:
            reached = -10 * np.log10(mean_loss)
            print(f"step {step + 1}: PSNR {reached:.2f} dB, {time.monotonic() - started:.0f} s", flush=True)
            mean_loss = 0.0
    return network.eval(), {}


def rician(clean: torch.Tensor, sigma: torch.Tensor | float, random: np.random.Generator) -> torch.Tensor:
    """Return the magnitude of ``clean`` with Gaussian noise in its real and imaginary part (Gudbjartsson 1995)."""
    noise = torch.tensor(random.standard_normal((2, *clean.shape), dtype=np.float32)) * sigma
    return torch.sqrt((clean + noise[0]) ** 2 + noise[1] ** 2)


def noisy(volume: Volume, level: float, seed: int = 1) -> Volume:
    """Return ``volume`` with noise of ``level`` times its 99.5th percentile: what the model is tested with."""
    clean = torch.tensor(volume.array.astype(np.float32))
    scale = float(np.percentile(volume.array, 99.5))
    return volume.with_array(rician(clean, level * scale, np.random.default_rng(seed)).numpy())


def psnr(image: np.ndarray, reference: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB inside the head; the peak is the reference's 99.5th percentile."""
    head = reference > 0.1 * np.percentile(reference, 99.5)
    error = float(np.mean((image[head].astype(np.float64) - reference[head]) ** 2))
    return float(20 * np.log10(np.percentile(reference, 99.5)) - 10 * np.log10(error))


def _crop(volume: np.ndarray, random: np.random.Generator) -> torch.Tensor:
    """Return a slice's part ``(1, CROP, CROP)`` with voxels of 1 to 2 mm, turned and mirrored at random."""
    axis = int(random.integers(3))
    index = int(random.integers(10, volume.shape[axis] - 10))
    whole = torch.tensor(np.take(volume, index, axis))
    size = int(random.integers(CROP, 2 * CROP + 1)) if random.random() < 0.6 else CROP
    start = [int(random.integers(0, max(1, n - size + 1))) for n in whole.shape]
    part = whole[start[0] : start[0] + size, start[1] : start[1] + size][None, None]
    # Averaged as thick slices are, or picked out as they are in images with sharp edges of few voxels.
    part = F.interpolate(part, (CROP, CROP), mode="area" if random.random() < 0.4 else "nearest")[0]
    part = torch.rot90(part, int(random.integers(4)), (1, 2))
    part = part.flip(1) if random.random() < 0.5 else part
    return part * float(random.uniform(0.6, 1.2))


def held_out(bundle: ModelBundle) -> dict[str, float]:
    """Take away the noise that was added to images of two people whom the model never saw."""
    predictor = Predictor(bundle, CPU)
    figures: dict[str, float] = {}
    for who, make in TEST.items():
        clean = make()
        reference = clean.array.astype(np.float32)
        for level in NOISE_LEVELS:
            before = noisy(clean, level)
            after = predictor.predict(before).image.array
            blurred = [ndimage.gaussian_filter(before.array, (0, sigma, sigma, 0)) for sigma in (0.4, 0.6, 0.8, 1.0)]
            figures[f"PSNR of {who} with {level:.0%} noise, dB"] = round(psnr(before.array, reference), 2)
            figures[f"PSNR of {who} by the model at {level:.0%}, dB"] = round(psnr(after, reference), 2)
            best = max(psnr(each, reference) for each in blurred)
            figures[f"PSNR of {who} by the best Gaussian at {level:.0%}, dB"] = round(best, 2)
    return figures


def tell(figures: Mapping[str, float]) -> str:
    """Return the figures as a sentence."""

    def of(who: str) -> str:
        return "; ".join(
            f"{level:.0%} noise: {figures[f'PSNR of {who} with {level:.0%} noise, dB']:.1f} dB before, "
            f"{figures[f'PSNR of {who} by the model at {level:.0%}, dB']:.1f} dB after "
            f"({figures[f'PSNR of {who} by the best Gaussian at {level:.0%}, dB']:.1f} dB by the best Gaussian filter)"
            for level in NOISE_LEVELS
        )

    near, far = TEST
    return (
        f"On another person's head of 0.8 mm voxels ({near}), PSNR against the image before noise was added: "
        f"{of(near)}. On another's of 2 mm voxels, sharp and noisy by itself ({far}), a kind it is not made for, it "
        f"takes detail away: {of(far)}."
    )
