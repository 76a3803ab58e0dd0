"""Synthesis: axial T1-weighted slices of heads out of label maps of their tissues. What both demo generators share."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from meddl.synthesis import SynthesisConfig
from meddl.synthesis.bundle_writing import TITLES, inference_config, metadata_of
from meddl.synthesis.facts import SynthesisFacts
from meddl.synthesis.networks import network_config

from demo_models import head_tissues
from demo_models.bundle import Definition

DATA = "Trained on 3 MR images: one man, one patient, and a mean of several people."
EXAMPLES = 315
SLICES, SEEDS = 12, (1, 2)
_VOXELS = 20
"""A structure of fewer voxels in a slice has no mean worth the name."""


def definition_of(id: str, config: SynthesisConfig) -> Definition:
    """Return what of a demo generator's bundle is known before it is trained."""
    told = {"dataset": "heads", "cases": 3, "patients": 3, "examples": EXAMPLES, "steps": config.steps}
    facts = SynthesisFacts(
        config.kind, True, config.size, head_tissues.SPACING_MM, config.plane, dict(head_tissues.NAMES),
        head_tissues.LOW, head_tissues.HIGH, "MR", told,
    )  # fmt: skip
    kind = TITLES[config.kind]
    metadata = metadata_of(config, facts, f"Demo: heads from labels ({kind})")
    return Definition(
        id,
        {
            "name": metadata["name"],
            "task": metadata["task"],
            "description": "Makes axial T1-weighted MR slices of the head out of label maps of head, cerebrospinal "
            f"fluid, gray and white matter, each of another noise ({kind}, 64 x 64 voxels of 3.4 mm).",
            "intended_use": "Trying out synthesis: label maps in, images of nobody out. Images for training other "
            "models come from a generator that was trained on your own data.",
            "limits": "Coarse axial slices of heads, each made without its neighbors: other directions show steps. "
            "Learned from three heads, it may give parts of them back; lesions are not in its experience. Its label "
            "maps were made by thresholds, and nobody has checked them. Nothing it shows is true of anybody.",
            "data_type": "nifti",
            "data_source": "Colin27 of Debian's mricron-data (BSD-3-Clause), the mean head of pydeface (MIT) and a "
            "tumor patient of pyradiomics' tests (BSD-3-Clause); tissues by brain extraction and Otsu's thresholds.",
            "image_classes": "T1-weighted MR, arbitrary units from 0 to 500",
            "network_data_format": metadata["network_data_format"],
            "meddl": {
                **metadata["meddl"],
                "organ": "head",
                "expected": {"modality": ["MR", "SEG"]},
            },
        },
        inference_config(config, facts, network_config(config, len(head_tissues.NAMES), facts.low, facts.high)),
    )


def exported(folder: Path) -> Path:
    """Write the heads as a dataset, as `meddl export` does, and return its root."""
    from meddl.datasets import Case, ExportOptions, SegmentationLabel, SplitOptions, export_dataset

    cases = [
        Case(name, {"T1": image}, SegmentationLabel(labels, head_tissues.SEGMENTS), name, split="train")
        for name, (image, labels) in head_tissues.training_heads().items()
    ]
    return export_dataset(cases, folder, ExportOptions("monai", "heads", split=SplitOptions(folds=0))).root


def learned(definition: Definition, config: SynthesisConfig) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Train as `meddl synth train` does and return the network."""
    from meddl.synthesis.training import train
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as folder:
        root = exported(Path(folder) / "dataset")
        trained = train(root, config, Path(folder) / "model", log=lambda line: print(line, flush=True))
        state = load_file(trained.bundle / "models" / "model.safetensors")
        rows = trained.history.rows
        print(f"{rows[-1][2]:.0f} s", flush=True)
    network = definition.network()
    network.load_state_dict(state)
    return network.eval(), knowing(definition, head_tissues.training_digests(head_tissues.training_heads()))


def knowing(definition: Definition, digests: list[str]) -> dict[str, Any]:
    """Return what the metadata's part "meddl" says of the training once it tells the images that were learned from.

    By them a dataset knows the generator that has seen whom its models are judged by.
    """
    told = definition.metadata["meddl"]["synthesis"]
    return {"synthesis": {**told, "trained_on": {**told["trained_on"], "images_sha256": digests}}}


def made(network: Any, labels: np.ndarray, seed: int) -> np.ndarray:
    """Return images ``(N, 64, 64)`` in -1..1 that fit label maps ``(N, 64, 64)``."""
    with torch.inference_mode():
        maps = torch.from_numpy(labels.astype(np.float32))[:, None]
        images = network.generate(maps, generator=torch.Generator().manual_seed(seed))[:, 0].numpy()
    span = head_tissues.HIGH - head_tissues.LOW
    return np.asarray((images - head_tissues.LOW) * (2 / span) - 1)


BRIGHTNESS = "correlation of the structures' mean brightness"
LIKENESS = "SSIM with the real slices"
PAINTED = "SSIM of label maps painted with real means"
VARIETY = "difference between two seeds, share of the range"
ERROR = "difference from the real slices, share of the range"


def figures_of(definition: Definition, config: SynthesisConfig) -> dict[str, float]:
    """Compare images made of label maps of a person who was not learned from with that person's real ones."""
    from demo_models.bundle import load_network

    real = head_tissues.slices_of(head_tissues.held_out_head(), config, SLICES)
    assert real.labels is not None
    images, labels = real.images[:, 0], real.labels
    network = load_network(definition)
    synthetic = [made(network, labels, seed) for seed in SEEDS]
    brightness = _means(images, labels)
    # What the label maps alone tell: one brightness for each structure.
    painted = np.array([images[labels == value].mean() for value in head_tissues.NAMES], np.float32)[labels]
    correlations = [np.corrcoef(brightness, _means(each, labels))[0, 1] for each in synthetic]
    found = {
        BRIGHTNESS: np.mean(correlations),
        LIKENESS: np.mean([_ssim(images, each) for each in synthetic]),
        PAINTED: _ssim(images, painted),
        VARIETY: np.abs(synthetic[0] - synthetic[1]).mean() / 2,
        ERROR: np.mean([np.abs(each - images).mean() / 2 for each in synthetic]),
    }
    return {name: round(float(value), 3) for name, value in found.items()}


def tell_figures(figures: Mapping[str, float]) -> str:
    """Return the figures as a sentence."""
    return (
        f"On {SLICES} label maps of another person (ITK's subject), with {len(SEEDS)} seeds each: the mean brightness "
        f"of the structures correlates with the real slices' by {figures[BRIGHTNESS]:.2f}; SSIM with the real slices "
        f"is {figures[LIKENESS]:.2f} (label maps painted with the real mean brightness of each structure: "
        f"{figures[PAINTED]:.2f}, but those maps were made of these slices' own brightness); images of two seeds "
        f"differ by {figures[VARIETY]:.1%} of the range of values, from "
        f"the real slices by {figures[ERROR]:.1%}."
    )


def _means(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean of each structure in each slice that has enough of it."""
    pairs = [(image[where], where) for image, each in zip(images, labels, strict=True)
             for value in range(1, len(head_tissues.NAMES)) if (where := each == value).sum() >= _VOXELS]  # fmt: skip
    return np.array([values.mean() for values, _ in pairs])


def _ssim(images: np.ndarray, others: np.ndarray) -> float:
    from monai.metrics.regression import SSIMMetric

    metric = SSIMMetric(spatial_dims=2, data_range=2.0)
    first, second = (torch.from_numpy(np.ascontiguousarray(each, np.float32))[:, None] for each in (images, others))
    return float(metric(first, second).mean())
