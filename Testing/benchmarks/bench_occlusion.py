"""Occlusion of real models on real images, against captum's own at the same blocks.

Both cover the same blocks with the same blurred image. captum covers each of them; ours leaves out those that look the
same, runs several at once, estimates the others where a sample shows that estimates hold, and measures what matters.
The goal is a fifth of the time at a rank correlation of 0.99.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import harness
import torch
from captum.attr import Occlusion
from meddl.models import resolve_model
from meddl.saliency import ExplainOptions
from meddl.saliency.explain import Explainer
from meddl.saliency.methods.integrated import baseline_of
from meddl.saliency.methods.known import METHODS
from meddl.saliency.methods.method import Work
from meddl.saliency.methods.occlusion import block_edges
from meddl.saliency.scorer import Scorer
from meddl.volume import read_volume
from scipy.stats import spearmanr


def _chest() -> Any:
    import realdata

    return realdata.pyradiomics()["lung1_image"]


#: Model, image, axis of the image that its network does not see, and millimeters of the smallest blocks (0: default).
CASES: tuple[tuple[str, Callable[[], Any], int | None, float], ...] = (
    ("demo_body_region", _chest, 2, 8.0),
    ("demo_lung_boxes", _chest, None, 0.0),
    ("demo_head_points", harness.head, None, 0.0),
)


def measure(repeats: int) -> list[harness.Table]:
    columns = ("", "blocks", "captum runs", "our runs", "runs ratio", "wall ratio", "CPU ratio", "captum CPU s",
               "our CPU s", "measured", "rank corr.", "top differs by")  # fmt: skip
    table = harness.Table("Occlusion", columns)
    for model, image_file, slice_axis, finest in CASES:
        scorer, image, spacing = _question(model, image_file(), slice_axis)
        work = Work(ExplainOptions(device="cpu", block_mm=4 * finest, finest_mm=finest), spacing)
        edges = block_edges(image, work)[0]
        baseline, maps = baseline_of(image, work), dict[str, Any]()
        table.rows.append(_row(f"{model}, {' x '.join(map(str, edges))}", scorer, image, baseline, work, maps, repeats))
    table.notes += [
        "runs: of the network with one image; a gradient counts as two",
        "rank correlation over all voxels; top differs by: at captum's strongest voxel, as a share of it",
        f"{torch.get_num_threads()} threads for both; with one, PyTorch takes a slow way for batches of one, which are "
        "captum's: set OMP_NUM_THREADS to 2 at least",
    ]
    return [table]


def _row(
    name: str,
    scorer: Scorer,
    image: torch.Tensor,
    baseline: torch.Tensor,
    work: Work,
    maps: dict[str, Any],
    repeats: int,
) -> tuple[Any, ...]:
    edges = block_edges(image, work)[0]
    window = (image.shape[1], *edges)

    def captums() -> None:
        maps["captum"] = Occlusion(scorer.module()).attribute(image, window, strides=window, baselines=baseline)

    def ours() -> None:
        maps["ours"] = METHODS["occlusion"].attribute(scorer, image, work)

    scorer(image)  # the first run sets up kernels
    samples = harness.interleaved(
        {"captum": lambda: harness.timed(captums), "ours": lambda: harness.timed(ours)}, repeats
    )
    theirs, raw = maps["captum"][0, :1], maps["ours"]
    facts = raw.facts
    their_runs = 1 + facts["blocks"] + facts["skipped"]
    wall = harness.median(a.wall / b.wall for a, b in zip(samples["captum"], samples["ours"], strict=True))
    cpu = harness.median(a.cpu / b.cpu for a, b in zip(samples["captum"], samples["ours"], strict=True))
    top = theirs.abs().argmax()
    differs = float((theirs.flatten()[top] - raw.values.flatten()[top]).abs() / theirs.abs().max())
    return (
        name, facts["blocks"] + facts["skipped"], their_runs, facts["runs"], f"{their_runs / facts['runs']:.1f}",
        f"{wall:.1f}", f"{cpu:.1f}", harness.median(each.cpu for each in samples["captum"]),
        harness.median(each.cpu for each in samples["ours"]), facts["measured"],
        f"{float(spearmanr(theirs.flatten(), raw.values.flatten()).statistic):.4f}", f"{differs:.1%}",
    )  # fmt: skip


def _question(model: str, image_file: Any, slice_axis: int | None) -> tuple[Scorer, torch.Tensor, Any]:
    """Return the strongest class, or the strongest place of the first map; the image, and its spacing."""
    explainer = Explainer(resolve_model(model), ExplainOptions(device="cpu"))
    volume = read_volume(image_file)
    middle = volume.shape[2] // 2 if slice_axis == 2 else None
    prepared = explainer.predictor.prepared(volume, slice_index=middle)[1]
    image = prepared.image[None].as_subclass(torch.Tensor).float()
    network = explainer.predictor.stages[-1].network
    i, j, k = ((prepared.affine[:3, axis] ** 2).sum() ** 0.5 for axis in range(3))
    spacing = float(i), float(j), float(k)
    answer = Scorer(network, lambda given: given, slice_axis=slice_axis).answer(image)
    if answer.ndim == 2:
        best = int(answer[0].argmax())
        return Scorer(network, lambda given: given[:, best], slice_axis=slice_axis), image, spacing
    place = int(answer[0, 0].argmax())
    score = Scorer(network, lambda given: given[:, 0].flatten(1)[:, place], slice_axis=slice_axis)
    return score, image, spacing


if __name__ == "__main__":
    harness.main(measure, repeats=1)
