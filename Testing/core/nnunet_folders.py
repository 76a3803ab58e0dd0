"""Result folders of nnU-Net for tests, and nnU-Net itself."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from core import nnunet_environment, tiny_nnunet
from core.tiny_nnunet import write_folder


def take_nnunet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nnU-Net as if it were installed: from the cache of the test data, after everything else."""
    packages = str(nnunet_environment.packages())
    monkeypatch.setattr(sys, "path", [*sys.path, packages])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), packages]))


def write_small_folder(root: Path) -> Path:
    """Write a folder with weights of nothing in particular: recognizing it takes no network."""
    import torch

    weights = [{"layer.weight": torch.ones(2)}, {"layer.weight": torch.zeros(2)}]
    return write_folder(root, tiny_nnunet.plans(), tiny_nnunet.dataset(), weights)


def change(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


ARCH = "architecture.arch_kwargs"
"""Place of a network's arguments in a configuration, for :func:`altered`."""


def altered(path: str, value: Any) -> dict[str, Any]:
    """Return plans with one value replaced."""
    plans = json.loads(json.dumps(tiny_nnunet.plans()))
    part = plans if path.startswith("/") else plans["configurations"]["3d_fullres"]
    *parents, last = path.strip("/").split(".")
    for name in parents:
        part = part[name]
    part[last] = value
    return plans


def old_plans() -> dict[str, Any]:
    """Return plans as nnU-Net wrote them before 2.4, with the network told by its numbers."""
    plans = json.loads(json.dumps(tiny_nnunet.plans()))
    configuration = plans["configurations"]["3d_fullres"]
    del configuration["architecture"]
    configuration.update(
        UNet_class_name="PlainConvUNet", UNet_base_num_features=4, unet_max_num_features=8,
        n_conv_per_stage_encoder=[1, 1], n_conv_per_stage_decoder=[1], num_pool_per_axis=[1, 1, 1],
        pool_op_kernel_sizes=[[1, 1, 1], [2, 2, 2]], conv_kernel_sizes=[[3, 3, 3], [3, 3, 3]],
    )  # fmt: skip
    return plans
