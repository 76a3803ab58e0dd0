"""Occlusion of real models on real images, against captum's own at the same blocks.

Both cover the same blocks with the same blurred image. captum covers each of them; ours leaves out those that look the
same, runs several at once, estimates the others where a sample shows that estimates hold, and measures what matters.
The goal is a fifth of the time at a rank correlation of 0.99. The brain model and its image had no part in choosing the
thresholds of ours; the demo models had.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import harness
import numpy as np
import torch
from captum.attr import Occlusion
from meddl.models import resolve_model
from meddl.saliency import ExplainOptions
from meddl.saliency.explain import Explainer
from meddl.saliency.methods.blocks import Blocks, block_edges
from meddl.saliency.methods.integrated import baseline_of
from meddl.saliency.methods.known import METHODS
from meddl.saliency.methods.method import Work
from meddl.saliency.scorer import Scorer
from meddl.volume import read_volume
from scipy.stats import spearmanr

TIMED = 60
"""Runs of captum's that are timed, where all would take long."""

AT_ONCE = 16
"""Images of captum's at once, for the truth only."""


@dataclass(frozen=True)
class Case:
    """What is explained.

    Attributes:
        name: of the model.
        model: it, and the image file.
        slice_axis: axis of the image that its network does not see.
        finest_mm: edge of the blocks; 0: default.
        edge: voxels along each axis that the prepared image is brought to; 0: as it is.
        truth: blocks whose effect is measured for comparison, drawn by chance; 0: all.
        captum: all of its runs are timed.
    """

    name: str
    model: Callable[[], tuple[Any, Any]]
    slice_axis: int | None = None
    finest_mm: float = 0.0
    edge: int = 0
    truth: int = 0
    captum: bool = False


def _chest(model: str) -> tuple[Any, Any]:
    import realdata

    return resolve_model(model), realdata.pyradiomics()["lung1_image"]


def _brain() -> tuple[Any, Any]:
    import realdata

    return harness.brain_model(), realdata.itk_subject()[0]


CASES = (
    Case("demo_body_region, slice of a chest CT", lambda: _chest("demo_body_region"), 2, 8.0, captum=True),
    Case("demo_lung_boxes, chest CT", lambda: _chest("demo_lung_boxes")),
    Case("brain_extraction, head at 64^3", _brain, None, 20.0, edge=64, truth=300),
    Case("brain_extraction, head at 128^3", _brain, None, 20.0, edge=128, truth=100),
)


class _Enough(Exception):
    pass


def measure(repeats: int) -> list[harness.Table]:
    columns = ("", "blocks", "captum runs", "our runs", "engine", "captum wall s", "our wall s", "again",
               "captum CPU s", "our CPU s", "again", "wall ratio", "again", "CPU ratio", "again",
               "measured", "checked", "rank corr.", "of blocks", "top differs by")  # fmt: skip
    table = harness.Table("Occlusion", columns)
    for case in CASES:
        scorer, image, spacing = _question(case)
        work = Work(ExplainOptions(device="cpu", block_mm=4 * case.finest_mm, finest_mm=case.finest_mm), spacing)
        table.rows.append(_row(case, scorer, image, work, repeats))
        print(*table.rows[-1], sep=", ", flush=True)  # the others may take long
    table.notes += [
        "runs: of the network with one image; a gradient counts as three",
        f"captum with a ~: extrapolated from its first {TIMED} runs, and so are the ratios of wall and CPU",
        "again: once more in the same process, with the network that OpenVINO had converted the first time, if it had",
        "checked: rank correlation of our estimates in our own sample, before what promises most was measured",
        "rank correlation: with the measured effects of so many blocks, all or a random sample, each counted once",
        "top differs by: at the strongest of those blocks, as a share of it",
        f"{torch.get_num_threads()} threads for both; with one, PyTorch takes a slow way for batches of one, which are "
        "captum's: set OMP_NUM_THREADS to 2 at least",
    ]
    return [table]


def _row(case: Case, scorer: Scorer, image: torch.Tensor, work: Work, repeats: int) -> tuple[Any, ...]:
    edges, in_big = block_edges(image, work)
    window, baseline = (image.shape[1], *edges), baseline_of(image, work)
    blocks = Blocks(image, baseline, edges, in_big)
    their_runs, maps = 1 + blocks.total, dict[str, Any]()

    def captums() -> harness.Sample:
        module, runs = scorer.module(), 0

        def count(*_: Any) -> None:
            nonlocal runs
            runs += 1
            if runs > TIMED and not case.captum:
                raise _Enough

        module.register_forward_pre_hook(count)

        def attribute() -> None:
            try:
                Occlusion(module).attribute(image, window, strides=window, baselines=baseline)
            except _Enough:
                pass

        sample = harness.timed(attribute)
        times = 1.0 if case.captum else their_runs / TIMED
        return harness.Sample(sample.wall * times, sample.cpu * times)

    def ours() -> None:
        scorer.engine = None
        maps["ours"] = METHODS["occlusion"].attribute(scorer, image, work)

    for _ in range(3):
        scorer.answer(image)  # the first runs set up kernels
    samples: dict[str, list[harness.Sample]] = {"captum": [], "ours": [], "again": []}
    for _ in range(repeats):
        scorer.engine = None
        samples["captum"].append(captums())
        with tempfile.TemporaryDirectory() as cache, mock.patch.dict(os.environ, MEDDL_CACHE=cache):
            samples["ours"].append(harness.timed(ours))
            samples["again"].append(harness.timed(ours))
    raw = maps["ours"]
    chosen = np.arange(blocks.total)
    if case.truth:
        chosen = np.random.default_rng(1).permutation(blocks.live)[: case.truth]
    truth = _effects(scorer, blocks, chosen)
    found = blocks.summed(raw.values[0].double())[chosen] / blocks.summed(torch.ones(image.shape[2:]))[chosen]
    middle = {
        name: harness.Sample(*(harness.median(getattr(each, of) for each in found) for of in ("wall", "cpu")))
        for name, found in samples.items()
    }
    their, mine, again = middle["captum"], middle["ours"], middle["again"]
    about = "" if case.captum else "~"
    top, facts = np.abs(truth).argmax(), raw.facts
    checked = "" if facts["checked"] is None else f"{facts['checked']:.4f}"
    return (
        f"{case.name}, {' x '.join(map(str, edges))}", blocks.total, their_runs, facts["runs"], facts["engine"],
        f"{about}{their.wall:.1f}", f"{mine.wall:.1f}", f"{again.wall:.1f}",
        f"{about}{their.cpu:.1f}", f"{mine.cpu:.1f}", f"{again.cpu:.1f}",
        f"{their.wall / mine.wall:.1f}", f"{their.wall / again.wall:.1f}",
        f"{their.cpu / mine.cpu:.1f}", f"{their.cpu / again.cpu:.1f}",
        facts["measured"], checked, f"{float(spearmanr(truth, found).statistic):.4f}", len(chosen),
        f"{abs(found[top] - truth[top]) / abs(truth[top]):.1%}",
    )  # fmt: skip


def _effects(scorer: Scorer, blocks: Blocks, chosen: np.ndarray) -> np.ndarray:
    """Return how far the score falls with each block covered: what captum's occlusion tells, many at once."""
    with torch.no_grad():
        whole = float(scorer(blocks.image)[0])
        parts = [chosen[start : start + AT_ONCE] for start in range(0, len(chosen), AT_ONCE)]
        scores = [scorer(torch.cat([blocks.covered(np.array([each])) for each in part])).double() for part in parts]
    return whole - torch.cat(scores).numpy()


def _question(case: Case) -> tuple[Scorer, torch.Tensor, Any]:
    """Return the score of the strongest class, of the strongest box or of a structure; the image, and its spacing."""
    model, image_file = case.model()
    explainer = Explainer(model, ExplainOptions(device="cpu"))
    volume = read_volume(image_file)
    middle = volume.shape[2] // 2 if case.slice_axis == 2 else None
    prepared = explainer.predictor.prepared(volume, slice_index=middle)[1]
    image = prepared.image[None].as_subclass(torch.Tensor).float()
    network = explainer.predictor.stages[-1].network
    spacing = (prepared.affine[:3, :3] ** 2).sum(axis=0) ** 0.5
    if case.edge:
        spacing = spacing * np.array(image.shape[2:]) / case.edge
        image = torch.nn.functional.interpolate(image, size=(case.edge,) * 3, mode="area")
    answer = Scorer(network, lambda given: given, slice_axis=case.slice_axis).answer(image)
    shown = float(spacing[0]), float(spacing[1]), float(spacing[2])
    if answer.ndim == 2:
        best = int(answer[0].argmax())
        score = Scorer(network, lambda given: given[:, best], slice_axis=case.slice_axis, digest="benchmark")
        return score, image, shown
    if case.edge:
        mask = (answer[0, -1] > 0.5).float()
        score = Scorer(network, lambda given: (given[:, -1] * mask).flatten(1).sum(dim=1), digest="benchmark")
        return score, image, shown
    place = int(answer[0, 0].argmax())
    return Scorer(network, lambda given: given[:, 0].flatten(1)[:, place], digest="benchmark"), image, shown


if __name__ == "__main__":
    harness.main(measure, repeats=1)
