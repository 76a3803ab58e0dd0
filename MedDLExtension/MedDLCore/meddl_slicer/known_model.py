"""Tiny models whose right answers are known, one per task. For self-tests, which need no network.

They are ordinary MONAI Bundles with a real network (one convolution), so that a test runs the same way as a model of a
user does, from the panel to the worker process and back.
"""

from __future__ import annotations

import hashlib
import json
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

BRAIN = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^12738006^Brain~^^~Anatomic codes - DICOM master list~^^~^^"
)


def write_threshold_bundle(folder: Path, threshold: float, *, window: int | None = None, code: bool = False) -> Path:
    """Write the bundle and return its folder.

    Args:
        folder: is made.
        threshold: voxels above it are "Brain".
        window: edge of a sliding window in voxels, with much overlap: the smaller, the longer a run takes.
        code: make the config call something that needs the user's consent.
    """
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    # No two are the same model: a worker keeps a loaded one, whose files may be gone when the next test asks for it.
    metadata = {**_METADATA, "changelog": {"0.1.0": f"made for a self-test ({uuid.uuid4()})"}}
    _write_json(folder / "configs" / "metadata.json", metadata)
    _write_json(folder / "configs" / "inference.json", _inference(window, code))
    weights = {
        "weight": np.array([-1.0, 1.0], np.float32).reshape(2, 1, 1, 1, 1),
        "bias": np.array([threshold, -threshold], np.float32),
    }
    _write_safetensors(folder / "models" / "model.safetensors", weights)
    return folder


def write_greedy_bundle(folder: Path, threshold: float, most: int) -> Path:
    """Write the threshold bundle with a network that runs out of memory on windows of more than ``most`` voxels.

    It brings its network as program code, which takes the user's consent.
    """
    write_threshold_bundle(folder, threshold, window=32)
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    metadata["meddl"]["windows"] = {"divisible_by": 4, "min": [8, 8, 8]}
    _write_json(folder / "configs" / "metadata.json", metadata)
    config = json.loads((folder / "configs" / "inference.json").read_text(encoding="utf-8"))
    config["network_def"] = {"_target_": "scripts.greedy.Greedy", "most": most}
    config["inferer"]["overlap"] = 0.25
    _write_json(folder / "configs" / "inference.json", config)
    (folder / "scripts").mkdir()
    (folder / "scripts" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "scripts" / "greedy.py").write_text(_GREEDY, encoding="utf-8")
    return folder


def write_frames_bundle(folder: Path, count: int) -> Path:
    """Write a classifier of ``count`` time frames and return its folder.

    "Brighter" has the probability 1 / (1 + exp(-d)), where d is the mean of the last frame minus that of the first, in
    tenths.
    """
    config = _inference(None, False)
    config["network_def"] = {"_target_": "torch.nn.Linear", "in_features": count, "out_features": 1}
    config["postprocessing"]["transforms"] = [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}]
    weights = np.zeros((1, count), np.float32)
    weights[0, 0], weights[0, -1] = -0.1, 0.1
    metadata = {
        **_METADATA,
        "name": "Brighter (self-test)",
        "task": "classification",
        "changelog": {"0.1.0": f"made for a self-test ({uuid.uuid4()})"},
        "network_data_format": _formats("classification", ["Brighter"]),
        "meddl": {"task": "classification", "classes": [{"name": "Brighter"}], "sequence": {"axis": "frames"}},
    }
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _write_json(folder / "configs" / "metadata.json", metadata)
    _write_json(folder / "configs" / "inference.json", config)
    _write_safetensors(folder / "models" / "model.safetensors", {"weight": weights, "bias": np.zeros(1, np.float32)})
    return folder


def write_known_bundle(folder: Path, task: str, channels: int = 1, **facts: Any) -> Path:
    """Write a bundle for ``task`` and return its folder. All look at one thing: how bright a voxel is.

    - classification: "Bright" where the image's mean is above 100, else "Dark";
    - detection: a "Spot", a box of 10 mm, round each place that is brighter than 150 and than all round it;
    - landmarks: the "Brightest" and the "Darkest" place;
    - reconstruction: the image, half as bright;
    - segmentation: what is above 100 in the sum of all channels, named "A", "B" in the metadata, is "Brain".

    ``facts`` go into the metadata's ``meddl``, for instance ``expected={...}``.
    """
    metadata, config, weights = _KNOWN[task](channels)
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    metadata = {**_METADATA, "name": f"{task.capitalize()} (self-test)", "task": task, **metadata}
    metadata["meddl"] = {**metadata["meddl"], **facts}
    metadata["changelog"] = {"0.1.0": f"made for a self-test ({uuid.uuid4()})"}
    _write_json(folder / "configs" / "metadata.json", metadata)
    _write_json(folder / "configs" / "inference.json", config)
    _write_safetensors(folder / "models" / "model.safetensors", weights)
    return folder


def write_catalog(folder: Path, threshold: float) -> str:
    """Write a catalog with the threshold bundle as its only model, to be added without a network; returns its id.

    Its archive lies beside the catalog. It is used where the environment variable MEDDL_MODELS_DIR names ``folder``.
    """
    bundle = write_threshold_bundle(folder / "threshold", threshold)
    archive = folder / "threshold.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
            zipped.write(path, path.relative_to(bundle).as_posix())
    data = archive.read_bytes()
    model = {
        "id": "threshold",
        "name": _METADATA["name"],
        "description": _METADATA["description"],
        "task": "segmentation",
        "organ": "brain",
        "modality": "MR",
        "license": _METADATA["license"],
        "size_mb": 1,
        "source": {"url": archive.name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)},
    }
    _write_json(folder / "catalog.json", {"version": 1, "models": [model]})
    return model["id"]


_METADATA = {
    "version": "0.1.0",
    "monai_version": "1.6.1",
    "pytorch_version": "2.8.0",
    "numpy_version": "2.0.0",
    "name": "Threshold (self-test)",
    "task": "segmentation",
    "description": "Finds what is brighter than a threshold.",
    "authors": "MedDL contributors",
    "copyright": "MedDL contributors",
    "license": "Apache-2.0",
    "intended_use": "Testing only.",
    "network_data_format": {
        "inputs": {"image": {"type": "image", "format": "magnitude", "num_channels": 1}},
        "outputs": {
            "pred": {
                "type": "image",
                "format": "segmentation",
                "num_channels": 2,
                "channel_def": {"0": "background", "1": "Brain"},
            }
        },
    },
    "meddl": {"segments": {"1": {"name": "Brain", "color": [0.9, 0.8, 0.7], "terminology": BRAIN}}},
}


_GREEDY = """import torch


class Greedy(torch.nn.Conv3d):
    def __init__(self, most):
        super().__init__(1, 2, 1)
        self.most = most

    def forward(self, window):
        if window[0, 0].numel() > self.most:
            raise MemoryError("more memory than there is")
        return super().forward(window)
"""


def _inference(window: int | None, code: bool) -> dict:
    config = {
        "network_def": {
            "_target_": "torch.nn.Conv3d",
            "in_channels": 1,
            "out_channels": 2,
            "kernel_size": 1,
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
            ],
        },
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": [{"_target_": "AsDiscreted", "keys": "pred"}]},
    }
    if window is not None:
        config["inferer"] = {"_target_": "SlidingWindowInferer", "roi_size": [window] * 3, "overlap": 0.75}
    if code:
        config["preprocessing"]["transforms"].append(
            {"_target_": "Lambdad", "keys": "image", "func": "$lambda image: image"}
        )
    return config


def _formats(kind: str, names: Sequence[str], channels: int = 1) -> dict:
    inputs = {"type": "image", "format": "magnitude", "num_channels": channels}
    defined = {str(index): name for index, name in enumerate(names)}
    outputs = {"type": "image", "format": kind, "num_channels": len(names), "channel_def": defined}
    return {"inputs": {"image": inputs}, "outputs": {"pred": outputs}}


def _convolution(channels: int, outputs: int, size: int = 1) -> dict:
    return {
        "_target_": "torch.nn.Conv3d",
        "in_channels": channels,
        "out_channels": outputs,
        "kernel_size": size,
    }


def _weights(weight: Sequence[Sequence[float]], bias: Sequence[float], size: int = 1) -> dict[str, np.ndarray]:
    grid = np.array(weight, np.float32)[..., None, None, None]
    return {
        "weight": np.ascontiguousarray(np.broadcast_to(grid, (*grid.shape[:2], size, size, size))),
        "bias": np.array(bias, np.float32),
    }


def _classifier(channels: int) -> tuple[dict, dict, dict[str, np.ndarray]]:
    config = _inference(None, False)
    config["network_def"] = _convolution(1, 2, 4)
    config["preprocessing"]["transforms"].append(
        {"_target_": "Resized", "keys": "image", "spatial_size": [4, 4, 4], "mode": "area"}
    )
    config["postprocessing"]["transforms"] = [{"_target_": "Activationsd", "keys": "pred", "softmax": True}]
    metadata = {
        "network_data_format": _formats("classification", ["Dark", "Bright"]),
        "meddl": {"task": "classification", "classes": [{"name": "Dark"}, {"name": "Bright"}]},
    }
    return metadata, config, _weights([[-1 / 640], [1 / 640]], [10.0, -10.0], 4)


def _detector(channels: int) -> tuple[dict, dict, dict[str, np.ndarray]]:
    config = _inference(None, False)
    config["network_def"] = _convolution(1, 7)
    config["postprocessing"]["transforms"] = []
    metadata = {
        "network_data_format": _formats("detection", ["Spot"]),
        "meddl": {
            "task": "detection",
            "classes": [{"name": "Spot"}],
            "detection": {"score_threshold": 0.3, "nms_iou": 0.2, "max_boxes": 5},
        },
    }
    size = float(np.log(10.0))
    return metadata, config, _weights([[0.1], *[[0.0]] * 6], [-15.0, 0.0, 0.0, 0.0, size, size, size])


def _pointer(channels: int) -> tuple[dict, dict, dict[str, np.ndarray]]:
    config = _inference(None, False)
    config["network_def"] = _convolution(1, 2)
    config["postprocessing"]["transforms"] = []
    metadata = {
        "network_data_format": _formats("heatmap", ["Brightest", "Darkest"]),
        "meddl": {"task": "landmarks"},
    }
    return metadata, config, _weights([[0.1], [-0.1]], [-15.0, -1.0])


def _dimmer(channels: int) -> tuple[dict, dict, dict[str, np.ndarray]]:
    config = _inference(None, False)
    config["network_def"] = _convolution(1, 1)
    config["postprocessing"]["transforms"] = []
    metadata = {
        "network_data_format": _formats("image", ["image"]),
        "meddl": {"task": "reconstruction", "reconstruction": {"residual": False}},
    }
    return metadata, config, _weights([[0.5]], [0.0])


def _adder(channels: int) -> tuple[dict, dict, dict[str, np.ndarray]]:
    config = _inference(None, False)
    config["network_def"] = _convolution(channels, 2)
    formats = _formats("segmentation", ["background", "Brain"], channels)
    names = [{"name": "ABCDEFGH"[index], "hints": ["abcdefgh"[index]]} for index in range(channels)]
    metadata = {
        "network_data_format": formats,
        "meddl": {"task": "segmentation", "channels": names, "segments": _METADATA["meddl"]["segments"]},
    }
    return metadata, config, _weights([[-1.0] * channels, [1.0] * channels], [100.0, -100.0])


_KNOWN = {
    "classification": _classifier,
    "detection": _detector,
    "landmarks": _pointer,
    "reconstruction": _dimmer,
    "segmentation": _adder,
}


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _write_safetensors(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the format by hand: a test that makes its model must not need PyTorch in Slicer's own process."""
    header, offset = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in arrays.values()))
