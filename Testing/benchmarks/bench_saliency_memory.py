"""Peak memory of each way of explaining, at 96^3 and 192^3, against what was reckoned and allowed before.

Each runs in a fresh process, on a small image first, so that imports and kernels do not count. The budget is that of
`ExplainOptions.memory_mb`: what would take more is refused before it begins, and occlusion covers fewer blocks at once.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import harness

EDGES = (96, 192)
BUDGET_MB = {96: 150, 192: 1200}
METHODS = ("saliency", "smoothgrad", "integrated_gradients", "gradient_shap", "input_x_gradient", "gradcam",
           "gradcam_pp", "guided_gradcam", "occlusion", "ablation")  # fmt: skip


def measure(repeats: int) -> list[harness.Table]:
    columns = ("", "budget MB", "reckoned MB", "taken MB", "of the budget")
    tables = []
    for edge in EDGES:
        table = harness.Table(
            f"Peak memory at {edge}^3, U-Net with 8, 16 and 32 channels and batch normalization", columns
        )
        for id in METHODS:
            taken, reckoned, refused = _child(id, edge, BUDGET_MB[edge])
            share = refused or f"{taken / BUDGET_MB[edge]:.0%}"
            table.rows.append((id, BUDGET_MB[edge], reckoned, taken, share))
        taken, reckoned, refused = _child("integrated_gradients", edge, reckoned // 2)
        table.rows.append(("integrated_gradients", reckoned // 2, reckoned, taken, refused))
        tables.append(table)
    tables[-1].notes += [
        "taken: most memory of the process, less what it had before; the network's weights and the image are no part",
        "reckoned: for one gradient, before it is taken; three steps, noisy copies or draws; 27 blocks",
    ]
    return tables


def _child(id: str, edge: int, budget: int) -> tuple[int, int, str]:
    """Return what was taken and reckoned in MB, and why nothing was done."""
    import os

    environment = {**os.environ, "PYTHONPATH": str(harness.CORE), "MALLOC_TRIM_THRESHOLD_": "0"}
    child = subprocess.run(
        [sys.executable, __file__, "--child", id, str(edge), str(budget)],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    taken, reckoned, refused = child.stdout.strip().splitlines()[-1].split(" ", 2)
    return int(taken) >> 20, int(reckoned) >> 20, refused.strip("-")


def _explain(id: str, edge: int, budget: int) -> str:
    import torch
    from meddl.errors import OutOfMemory
    from meddl.saliency.memory import gradient_bytes
    from meddl.saliency.methods.known import METHODS as ALL
    from meddl.saliency.methods.method import Work
    from meddl.saliency.options import ExplainOptions
    from meddl.saliency.scorer import Scorer
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    network = UNet(3, 1, 2, (8, 16, 32), (2, 2), act="RELU", norm="batch")
    scorer = Scorer(network, lambda answer: answer[:, 1].flatten(1).sum(dim=1))

    def work(memory_mb: int, block: float) -> Any:
        return Work(ExplainOptions(steps=3, samples=3, finest_mm=block, block_mm=3 * block, memory_mb=memory_mb))

    ALL[id].attribute(scorer, torch.rand(1, 1, 24, 24, 24), work(0, 8))
    image, refused = torch.rand(1, 1, edge, edge, edge), "-"
    reckoned = gradient_bytes(scorer, torch.rand(1, 1, edge // 4, edge // 4, edge // 4)) * 64
    before = harness.peak_memory()
    try:
        ALL[id].attribute(scorer, image, work(budget, edge / 3))
    except OutOfMemory:
        refused = "refused beforehand"
    return f"{harness.peak_memory() - before} {reckoned} {refused}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(_explain(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    else:
        harness.main(measure, repeats=1)
