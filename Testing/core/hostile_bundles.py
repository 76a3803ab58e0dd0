"""A bundle that is fine, and how attacks are made of it; harmless where they succeed.

Each attack builds a bundle; were any of it executed, a file (the canary) would appear. All of them together are in
hostile_attacks.py.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METADATA: dict[str, Any] = {
    "version": "0.1.0",
    "monai_version": "1.6.1",
    "pytorch_version": "2.13.0",
    "numpy_version": "2.4.6",
    "task": "segmentation",
    "description": "a test model",
    "license": "MIT",
    "network_data_format": {
        "inputs": {
            "image": {
                "type": "image", "format": "magnitude", "modality": "CT", "num_channels": 1,
                "spatial_shape": [16, 16, 16], "dtype": "float32", "value_range": [0, 1],
                "is_patch_data": True, "channel_def": {"0": "image"},
            }
        },
        "outputs": {
            "pred": {
                "type": "image", "format": "segmentation", "num_channels": 2, "spatial_shape": [16, 16, 16],
                "dtype": "float32", "value_range": [0, 1], "is_patch_data": True,
                "channel_def": {"0": "background", "1": "organ"},
            }
        },
    },
}  # fmt: skip

INFERENCE: dict[str, Any] = {
    "bundle_root": ".",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": {
        "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2],
    },
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "ScaleIntensityd", "keys": "image"},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "overlap": 0.25},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        ],
    },
}  # fmt: skip


@dataclass(frozen=True)
class Attack:
    """One hostile bundle.

    Attributes:
        name: of the test.
        build: called with an empty folder and the canary's path; returns the bundle's path.
        inert: the attack lies where nothing ever looks, so the bundle may run; only the canary counts.
    """

    name: str
    build: Callable[[Path, Path], Path]
    inert: bool = False


ATTACKS: list[Attack] = []


def attack(name: str, *, inert: bool = False) -> Callable[[Callable[[Path, Path], Path]], Callable[[Path, Path], Path]]:
    def register(build: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        ATTACKS.append(Attack(name, build, inert))
        return build

    return register


def write_bundle(root: Path, config: Any = None, metadata: Any = None, *, weights: bool = True) -> Path:
    """Write a bundle that is fine but for what is passed in; ``config`` replaces ids of the inference config."""
    (root / "configs").mkdir(parents=True, exist_ok=True)
    (root / "models").mkdir(exist_ok=True)
    (root / "configs" / "metadata.json").write_text(json.dumps(METADATA if metadata is None else metadata))
    (root / "configs" / "inference.json").write_text(json.dumps({**INFERENCE, **(config or {})}))
    if weights:
        (root / "models" / "model.pt").write_bytes(state_dict_bytes())
    return root


_STATE: list[bytes] = []


def state_dict_bytes() -> bytes:
    """The test network's weights as ``torch.save`` writes them."""
    if not _STATE:
        import torch
        from monai.networks.nets import UNet

        torch.manual_seed(0)
        network = UNet(**{key: value for key, value in INFERENCE["network_def"].items() if key != "_target_"})
        buffer = io.BytesIO()
        torch.save(network.state_dict(), buffer)
        _STATE.append(buffer.getvalue())
    return _STATE[0]


class Payload:
    """Unpickling it makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.canary}",))


EVIL_MODULE = """
import pathlib
pathlib.Path({canary!r}).touch()
def run(*a, **k): pathlib.Path({canary!r}).touch()
Reader = run
"""


def write_scripts(root: Path, canary: Path) -> None:
    (root / "scripts").mkdir(exist_ok=True)
    for name in ("__init__.py", "evil.py"):
        (root / "scripts" / name).write_text(EVIL_MODULE.format(canary=str(canary)))


def write_pickles(root: Path, canary: Path) -> None:
    (root / "data").mkdir(exist_ok=True)
    (root / "data" / "evil.pkl").write_bytes(pickle.dumps(Payload(canary)))


OPEN = "$open('{canary}', 'w')"


def config_attack(name: str, config: Any, *, inert: bool = False) -> None:
    """Register an attack that is a config; every ``{canary}`` and ``{root}`` in its texts is filled in."""

    @attack(name, inert=inert)
    def build(root: Path, canary: Path) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        write_scripts(root, canary)
        filled = fill(config, canary, root)
        write_bundle(root, filled)
        write_pickles(root, canary)
        return root


def fill(node: Any, canary: Path, root: Path) -> Any:
    if isinstance(node, str):
        return node.replace("{canary}", str(canary)).replace("{root}", str(root))
    if isinstance(node, dict):
        return {fill(key, canary, root): fill(value, canary, root) for key, value in node.items()}
    return [fill(item, canary, root) for item in node] if isinstance(node, list) else node


NET = INFERENCE["network_def"]


def zip_of(folder: Path, archive: Path) -> Path:
    """Pack a bundle's folder."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                zipped.write(path, f"bundle/{path.relative_to(folder).as_posix()}")
    return archive
