"""One side of the inference benchmark in a process of its own.

    python inference_side.py monai|torch|openvino NETWORK CLASSES LABELS.npy RUNS

Prints JSON: seconds of each run from the image in memory to labels on the finer grid, peak memory, what ran.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import harness
import numpy as np
import torch
from meddl.inference.executor import Executor
from meddl.inference.options import RunOptions
from meddl.inference.restore import RestoreLabels
from meddl.volume import Grid
from monai.inferers import SlidingWindowInferer, sliding_window_inference
from monai.networks.nets import DynUNet, SegResNet, SwinUNETR, UNet

MONAI, TORCH, OPENVINO = "monai", "torch", "openvino"
NETWORKS = ("UNet", "SegResNet", "DynUNet", "SwinUNETR")

IMAGE, TARGET = (96, 96, 64), (192, 192, 128)
WINDOW, OVERLAP = (64, 64, 64), 0.25
CODES = 8
"""Channels of the image; each class has its own direction in them."""


class Planted(torch.nn.Module):
    """A network with random weights whose labels nevertheless look like organs.

    With random weights alone every class would contend everywhere, as in no trained model. So scores that follow the
    image are added: they decide, and the network's own, a fifth as large, disturb them.
    """

    def __init__(self, network: torch.nn.Module, codes: torch.Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("codes", 10 * codes[:, :, None, None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x) + torch.nn.functional.conv3d(x, self.codes)


def network(name: str, classes: int) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "UNet":
        made: torch.nn.Module = UNet(3, CODES, classes, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2)
    elif name == "SegResNet":
        made = SegResNet(init_filters=16, in_channels=CODES, out_channels=classes)
    elif name == "DynUNet":
        made = DynUNet(3, CODES, classes, [3] * 5, [1, 2, 2, 2, 2], [2, 2, 2, 2], filters=[16, 32, 64, 128, 256])
    else:
        made = SwinUNETR(in_channels=CODES, out_channels=classes, feature_size=12)
    return Planted(made, codes(classes)).eval()


def codes(classes: int) -> torch.Tensor:
    directions = torch.randn(classes, CODES, generator=torch.Generator().manual_seed(1))
    return directions / directions.norm(dim=1, keepdim=True)


def image(classes: int) -> torch.Tensor:
    """Balls of every class in a background of the first, `(CODES, i, j, k)` with noise."""
    generator = torch.Generator().manual_seed(2)
    where = torch.stack(torch.meshgrid(*[torch.arange(size).float() for size in IMAGE], indexing="ij"))
    labels = torch.zeros(IMAGE, dtype=torch.long)
    for label in range(1, classes):
        center = torch.rand(3, generator=generator) * torch.tensor(IMAGE)
        radius = (4.0 if classes > 20 else 9.0) + 4 * float(torch.rand(1, generator=generator))
        labels[(where - center.reshape(3, 1, 1, 1)).norm(dim=0) < radius] = label
    return codes(classes)[labels].permute(3, 0, 1, 2) + 0.05 * torch.randn(CODES, *IMAGE, generator=generator)


def target_grid() -> Grid:
    """Twice as fine, over the same field of view: what `interpolate` resizes to."""
    scale = np.array(IMAGE) / np.array(TARGET)
    affine = np.diag([*scale, 1.0])
    affine[:3, 3] = scale / 2 - 0.5
    return Grid(TARGET, affine)


def by_monai(net: torch.nn.Module, picture: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        scores = sliding_window_inference(picture[None], WINDOW, 1, net, overlap=OVERLAP, mode="gaussian")
        finer = torch.nn.functional.interpolate(scores, TARGET, mode="trilinear", align_corners=False)
        return finer.argmax(dim=1)[0].to(torch.uint8).numpy()


def by_meddl(executor: Executor, picture: torch.Tensor) -> np.ndarray:
    sink = RestoreLabels(np.eye(4), target_grid())
    executor.run(picture, sink, on_window=lambda done, total: None, cancelled=lambda: False)
    return sink.labels


def main(side: str, name: str, classes: str, file: str, runs: str) -> None:
    net, picture = network(name, int(classes)), image(int(classes))
    options = RunOptions(engine=side if side != MONAI else TORCH)
    inferer = SlidingWindowInferer(WINDOW, 1, OVERLAP, mode="gaussian")
    executor = Executor(net, torch.device("cpu"), options, inferer=inferer)
    seconds = []
    idle = harness.peak_memory()
    for _ in range(int(runs)):
        started = time.perf_counter()
        labels = by_monai(net, picture) if side == MONAI else by_meddl(executor, picture)
        seconds.append(time.perf_counter() - started)
    np.save(file, labels)
    facts: dict[str, Any] = {"seconds": seconds, "peak": harness.peak_memory(), "idle": idle}
    print(json.dumps(facts | {"report": executor.report() if side != MONAI else {}}))


if __name__ == "__main__":
    main(*sys.argv[1:])
