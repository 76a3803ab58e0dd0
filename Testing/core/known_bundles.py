"""Bundles of any task whose right answer is known in closed form: their network is one layer with given numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from meddl.models import ModelBundle
from safetensors.torch import save_file

LOAD = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"}]
TO_RAS = {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None}


def oblique(spacing: Sequence[float] = (1.2, 1.5, 2.0)) -> np.ndarray:
    """Return an affine whose axes run posterior, inferior, right-to-left, turned by 17 and 9 degrees, without shear."""
    a, b = np.deg2rad(17), np.deg2rad(9)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    axes = np.array([[0, 0, -1], [-1, 0, 0], [0, -1, 0]], dtype=float)
    affine = np.eye(4)
    affine[:3, :3] = tilt @ turn @ axes * np.asarray(spacing)
    affine[:3, 3] = (40.0, 55.0, 70.0)
    return affine


def write(
    folder: Path,
    task: str,
    network: Mapping[str, Any],
    weights: Mapping[str, np.ndarray] | None = None,
    *,
    channels: Sequence[str] = ("image",),
    classes: Sequence[str] = (),
    outputs: int | None = None,
    preprocessing: Sequence[Mapping[str, Any]] = (),
    postprocessing: Sequence[Mapping[str, Any]] = (),
    inferer: Mapping[str, Any] | None = None,
    meddl: Mapping[str, Any] | None = None,
    flat: bool = False,
) -> ModelBundle:
    """Write a bundle that needs no trust and return it."""
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    shape = ["*", "*"] if flat else ["*", "*", "*"]
    image = {
        "type": "image", "format": "magnitude", "num_channels": len(channels), "spatial_shape": shape,
        "channel_def": {str(index): name for index, name in enumerate(channels)},
    }  # fmt: skip
    answer = {
        "type": "image", "format": task, "num_channels": outputs or max(1, len(classes)),
        "channel_def": {str(index): name for index, name in enumerate(classes)},
    }  # fmt: skip
    metadata = {
        "version": "1.0.0", "monai_version": "1.6.1", "pytorch_version": "2.8.0", "numpy_version": "2.0.0",
        "name": f"Known {task}", "task": task, "description": "For tests.", "authors": "MedDL contributors",
        "copyright": "MedDL contributors", "license": "Apache-2.0", "intended_use": "Testing only.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": answer}},
        "meddl": {"task": task, **(meddl or {})},
    }  # fmt: skip
    config = {
        "network_def": dict(network),
        "preprocessing": {"_target_": "Compose", "transforms": [*LOAD, *preprocessing]},
        "inferer": dict(inferer or {"_target_": "SimpleInferer"}),
        "postprocessing": {"_target_": "Compose", "transforms": list(postprocessing)},
    }
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in (weights or {}).items()}
    save_file(tensors or {"none": torch.zeros(1)}, folder / "models" / "model.safetensors")
    return ModelBundle.open(folder)


def voxelwise(inputs: int, weights: Sequence[Sequence[float]], bias: Sequence[float], dims: int = 3) -> dict[str, Any]:
    """Return ``network`` and ``weights`` of a layer that looks at single voxels: ``weights @ input + bias``."""
    rows = np.array(weights, dtype=np.float32).reshape(len(bias), inputs, *([1] * dims))
    network = {"_target_": f"torch.nn.Conv{dims}d", "in_channels": inputs, "out_channels": len(bias), "kernel_size": 1}
    return {"network": network, "weights": {"weight": rows, "bias": np.array(bias, dtype=np.float32)}}
