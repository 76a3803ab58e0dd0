"""A small segmentation bundle as the Model Zoo's are written: random weights, but every step of a real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import UNet

NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
}
CONFIG: dict[str, Any] = {
    "imports": ["$import glob"],
    "bundle_root": ".",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "dataset_dir": "/data",
    "datalist": "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))",
    "network_def": NETWORK,
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 1.5], "mode": "bilinear"},
            {"_target_": "ScaleIntensityd", "keys": "image"},
            {"_target_": "EnsureTyped", "keys": "image"},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32], "sw_batch_size": 1, "overlap": 0.25},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {
                "_target_": "Invertd",
                "keys": "pred",
                "transform": "@preprocessing",
                "orig_keys": "image",
                "nearest_interp": False,
                "to_tensor": True,
            },
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "$@bundle_root + '/eval'"},
        ],
    },
    "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "network": "@network"},
    "run": ["$@evaluator.run()"],
}
METADATA: dict[str, Any] = {
    "version": "0.3.0",
    "monai_version": "1.6.1",
    "pytorch_version": "2.13.0",
    "numpy_version": "2.4.6",
    "name": "Two blobs",
    "task": "segmentation of two blobs",
    "description": "For tests only: random weights.",
    "license": "Apache-2.0",
    "authors": "MedDL",
    "copyright": "MedDL",
    "network_data_format": {
        "inputs": {
            "image": {"type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1,
                      "spatial_shape": [32, 32, 32], "dtype": "float32", "value_range": [0, 1],
                      "is_patch_data": True, "channel_def": {"0": "image"}}
        },
        "outputs": {
            "pred": {"type": "image", "format": "segmentation", "num_channels": 3, "spatial_shape": [32, 32, 32],
                     "dtype": "float32", "value_range": [0, 1], "is_patch_data": True,
                     "channel_def": {"0": "background", "1": "first blob", "2": "second blob"}}
        },
    },
}  # fmt: skip


def write(folder: Path, *, config: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None) -> Path:
    """Write the bundle to ``folder`` and return it; ``config`` and ``metadata`` replace top-level entries."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    (folder / "configs" / "metadata.json").write_text(json.dumps({**METADATA, **(metadata or {})}))
    torch.save(network().state_dict(), folder / "models" / "model.pt")
    return folder


def write_program(folder: Path) -> Path:
    """Write the same bundle with its network as a TorchScript program, which needs trust."""
    network_def = {"_target_": "torch.jit.load", "f": "$@bundle_root + '/models/model.ts'", "map_location": "cpu"}
    write(folder, config={"network_def": network_def})
    torch.jit.save(torch.jit.trace(network(), torch.zeros(1, 1, 32, 32, 32)), folder / "models" / "model.ts")
    return folder


def network() -> UNet:
    """Return the network with its fixed random weights."""
    torch.manual_seed(5)
    return UNet(**{key: value for key, value in NETWORK.items() if key != "_target_"}).eval()
