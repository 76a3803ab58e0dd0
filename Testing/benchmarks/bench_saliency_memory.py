"""Peak memory of each way of explaining, at 96^3 and 192^3, against what was reckoned and allowed before.

Each runs in a fresh process, on a small image first, so that imports do not count. The budget is what is reckoned for
one gradient, as `ExplainOptions.memory_mb`: what would take more is refused before it begins, occlusion covers fewer
blocks at once, and what is freed is given back at once. The last two rows have no budget, and half of it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import harness

EDGES = (96, 192)
METHODS = ("saliency", "smoothgrad", "integrated_gradients", "gradient_shap", "input_x_gradient", "gradcam",
           "gradcam_pp", "guided_gradcam", "occlusion", "ablation")  # fmt: skip


def measure(repeats: int) -> list[harness.Table]:
    columns = ("", "budget MB", "reckoned MB", "taken MB", "of the budget", "CPU s")
    tables = []
    for edge in EDGES:
        table = harness.Table(
            f"Peak memory at {edge}^3, U-Net with 8, 16 and 32 channels and batch normalization", columns
        )
        for id in METHODS:
            table.rows.append(_row(id, edge, "reckoned"))
        table.rows.append(_row("integrated_gradients", edge, "none"))
        table.rows.append(_row("integrated_gradients", edge, "half"))
        tables.append(table)
    tables[-1].notes += [
        "taken: most memory of the process, less what it had before; the network's weights and the image are no part",
        "reckoned: for one gradient, before it is taken; two steps, noisy copies or draws; 8 blocks, 8 supervoxels",
        "no budget: what is free; then glibc keeps for itself of what is freed, which is faster",
    ]
    return tables


def _row(id: str, edge: int, budget: str) -> tuple[Any, ...]:
    taken, reckoned, most, cpu, refused = _child(id, edge, budget)
    row = id, most or "none", reckoned, taken, refused or (f"{taken / most:.0%}" if most else ""), cpu
    print(edge, *row, sep=", ", flush=True)  # the others may take long
    return row


def _child(id: str, edge: int, budget: str) -> tuple[int, int, int, float, str]:
    """Return what was taken, reckoned and allowed in MB, seconds, and why nothing was done."""
    import os

    environment = {**os.environ, "PYTHONPATH": str(harness.CORE)}
    child = subprocess.run(
        [sys.executable, __file__, "--child", id, str(edge), budget],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    taken, reckoned, most, cpu, refused = child.stdout.strip().splitlines()[-1].split(" ", 4)
    return int(taken) >> 20, int(reckoned) >> 20, int(most), float(cpu), refused.strip("-")


def _explain(id: str, edge: int, budget: str) -> str:
    import torch
    from meddl.errors import OutOfMemory
    from meddl.saliency.memory import Reckoning, reckon
    from meddl.saliency.methods.known import METHODS as ALL
    from meddl.saliency.methods.method import Work
    from meddl.saliency.options import ExplainOptions
    from meddl.saliency.scorer import Scorer
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    network = UNet(3, 1, 2, (8, 16, 32), (2, 2), act="RELU", norm="batch")
    scorer = Scorer(network, lambda answer: answer[:, 1].flatten(1).sum(dim=1))

    def options(memory_mb: int, block: float) -> ExplainOptions:
        return ExplainOptions(steps=2, samples=2, finest_mm=block, block_mm=block, memory_mb=memory_mb)

    ALL[id].attribute(scorer, torch.rand(1, 1, 24, 24, 24), Work(options(0, 12)))
    image, refused = torch.rand(1, 1, edge, edge, edge), "-"
    # Of a small part: what is measured has not been taken before.
    part = reckon(scorer, torch.rand(1, 1, edge // 4, edge // 4, edge // 4), options(0, 12))
    reckoned = Reckoning(64 * part.need, 0).of(1)
    most = {"reckoned": 1 + (reckoned >> 20), "half": reckoned >> 21, "none": 0}[budget]
    before, begin = harness.peak_memory(), time.process_time()
    try:
        ALL[id].attribute(scorer, image, Work(options(most, edge / 2)))
    except OutOfMemory:
        refused = "refused beforehand"
    return f"{harness.peak_memory() - before} {reckoned} {most} {time.process_time() - begin:.1f} {refused}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(_explain(sys.argv[2], int(sys.argv[3]), sys.argv[4]))
    else:
        harness.main(measure, repeats=1)
