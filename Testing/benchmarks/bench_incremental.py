"""Networks on images that differ from one in a block: all of it anew, and only what the block reaches.

The networks are of the sizes in use, with random weights: how long they take does not depend on those. Blocks are drawn
by chance, as many as run at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import harness
import torch
from meddl.saliency.incremental.network import IncrementalNetwork


@dataclass(frozen=True)
class Case:
    """A network, and what it sees.

    Attributes:
        name: of the network.
        network: makes it.
        edge: voxels along each axis of the image.
        axes: 2 or 3.
        block: voxels along each axis of a block.
        at_once: images that run together.
    """

    name: str
    network: Callable[[], torch.nn.Module]
    edge: int
    axes: int
    block: int
    at_once: int


def _network(name: str, axes: int, **settings: Any) -> torch.nn.Module:
    from monai.networks import nets

    torch.manual_seed(0)
    kinds = {
        "DenseNet121": lambda: nets.DenseNet121(axes, 1, 3),
        "ResNet18": lambda: nets.resnet18(spatial_dims=axes, n_input_channels=1, num_classes=3),
        "UNet": lambda: nets.UNet(axes, 1, 2, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2, **settings),
    }
    made: torch.nn.Module = kinds[name]().eval()
    return made


CASES = (
    Case("DenseNet121", lambda: _network("DenseNet121", 2), 224, 2, 16, 16),
    Case("DenseNet121", lambda: _network("DenseNet121", 2), 512, 2, 16, 4),
    Case("ResNet18", lambda: _network("ResNet18", 3), 96, 3, 12, 1),
    Case("UNet, batch norm", lambda: _network("UNet", 3, norm="batch"), 96, 3, 12, 1),
    Case("UNet, instance norm", lambda: _network("UNet", 3, norm="instance"), 96, 3, 12, 1),
)


def measure(repeats: int) -> list[harness.Table]:
    columns = ("", "image", "block", "at once", "whole CPU s", "incremental CPU s", "wall ratio", "CPU ratio",
               "largest difference")  # fmt: skip
    table = harness.Table("Networks where a block of the image changed", columns)
    for case in CASES:
        table.rows.append(_row(case, repeats))
        print(*table.rows[-1], sep=", ", flush=True)
    table.notes += [
        "CPU s: of one image",
        "largest difference: of the answers, as a share of the largest change by a block",
        f"{torch.get_num_threads()} threads",
    ]
    return [table]


def _row(case: Case, repeats: int) -> tuple[Any, ...]:
    network = case.network()
    random = torch.Generator().manual_seed(1)
    image = torch.rand((1, 1, *[case.edge] * case.axes), generator=random)
    images = image.repeat(case.at_once, 1, *[1] * case.axes)
    for each in images:
        starts = torch.randint(0, case.edge - case.block, (case.axes,), generator=random).tolist()
        each[(slice(None), *(slice(start, start + case.block) for start in starts))] = 0.5
    incremental = IncrementalNetwork(network, image)
    with torch.no_grad():
        change = float((network(images) - network(image)).abs().max())
        difference = float((network(images) - incremental(images)).abs().max())
        ways = {"whole": lambda: network(images), "incremental": lambda: incremental(images)}
        for way in ways.values():
            way()
        samples = harness.interleaved({name: lambda way=way: harness.timed(way) for name, way in ways.items()}, repeats)
    pairs = list(zip(samples["whole"], samples["incremental"], strict=True))
    ratios = [harness.median(getattr(a, of) / getattr(b, of) for a, b in pairs) for of in ("wall", "cpu")]
    whole, part = (harness.median(each.cpu for each in samples[name]) / case.at_once for name in ways)
    size = " x ".join([str(case.edge)] * case.axes)
    return (
        case.name, size, case.block, case.at_once, f"{whole:.3f}", f"{part:.3f}", *(f"{ratio:.1f}" for ratio in ratios),
        f"{difference / change:.1e}",
    )  # fmt: skip


if __name__ == "__main__":
    harness.main(measure, repeats=5)
