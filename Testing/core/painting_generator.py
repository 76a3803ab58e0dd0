"""Generators made by hand, whose images are known in closed form: each structure has its gray value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from meddl.models.bundle import ModelBundle
from meddl.synthesis.facts import SynthesisFacts

LOW, HIGH = 0.0, 1000.0


def painter(
    folder: Path,
    grays: Mapping[str, float],
    *,
    size: Sequence[int] = (32, 32),
    spacing_mm: float = 2.0,
    plane: str = "axial",
    where: str = "whole",
    grain: float = 0.0,
    trained_on: Mapping[str, object] | None = None,
) -> ModelBundle:
    """Write a conditioned generator that paints each structure in its gray (0 to 1000) and the background at 500.

    Args:
        grays: by structure; the first has the value 1.
        grain: how much of the noise is in the image.
    """
    names = ["background", *grays]
    values = np.array([500.0, *grays.values()])
    answers = np.arctanh(np.clip(2 * (values - LOW) / (HIGH - LOW) - 1, -0.9999, 0.9999))
    weights = np.concatenate([answers, [grain]]).astype(np.float32)
    network = {
        "_target_": f"torch.nn.Conv{len(size)}d",
        "in_channels": len(names) + 1,
        "out_channels": 1,
        "kernel_size": 1,
        "bias": False,
    }
    definition = {
        "_target_": "meddl.networks.LabelsToImage",
        "network": network,
        "kind": "gan",
        "labels": len(names),
        "size": list(size),
        "low": LOW,
        "high": HIGH,
        "noise_channels": 1,
    }
    facts = SynthesisFacts(
        "gan", True, tuple(size), spacing_mm, plane, dict(enumerate(names)), LOW, HIGH, "MR", dict(trained_on or {}),
        where,
    )  # fmt: skip
    return _bundle(folder, definition, facts, {"network.weight": weights.reshape(1, -1, *[1] * len(size))})


def noise_painter(folder: Path, size: Sequence[int] = (16, 24), plane: str = "axial") -> ModelBundle:
    """Write an unconditioned flow of no velocity: its images are the noise itself, cut off at three times its width."""
    network = {
        "_target_": "DiffusionModelUNet",
        "spatial_dims": len(size),
        "in_channels": 1,
        "out_channels": 1,
        "channels": [4],
        "num_res_blocks": 1,
        "attention_levels": [False],
        "num_head_channels": 4,
        "norm_num_groups": 4,
    }
    definition = {
        "_target_": "meddl.networks.ImageFromNoise",
        "network": network,
        "kind": "rectified_flow",
        "size": list(size),
        "sampling_steps": 3,
        "low": LOW,
        "high": HIGH,
    }
    from meddl.synthesis.networks import make_network

    state = {name: value.numpy() for name, value in make_network(definition).state_dict().items()}
    facts = SynthesisFacts("rectified_flow", False, tuple(size), 1.5, plane, {}, LOW, HIGH, "MR")
    return _bundle(folder, definition, facts, state)


def _bundle(
    folder: Path, definition: Mapping[str, object], facts: SynthesisFacts, state: Mapping[str, np.ndarray]
) -> ModelBundle:
    from safetensors.numpy import save_file

    metadata = {
        "name": "painter",
        "version": "1.0.0",
        "network_data_format": {"inputs": {}, "outputs": {}},
        "meddl": {"task": "generation", "synthesis": facts.to_metadata()},
    }
    for name, content in (("inference", {"network_def": definition}), ("metadata", metadata)):
        (folder / "configs").mkdir(parents=True, exist_ok=True)
        (folder / "configs" / f"{name}.json").write_text(json.dumps(content))
    (folder / "models").mkdir(exist_ok=True)
    save_file({name: np.ascontiguousarray(value) for name, value in state.items()}, folder / "models/model.safetensors")
    return ModelBundle.open(folder)
