"""Occlusion: how far the answer falls when a block of the image is covered."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from meddl.errors import OutOfMemory, is_out_of_memory
from meddl.saliency.methods.integrated import baseline_of
from meddl.saliency.methods.method import Method, RawAttribution, Work
from meddl.saliency.methods.running import finished, no_gradients, plain, running

if TYPE_CHECKING:
    import torch

    from meddl.saliency.scorer import Scorer

BLOCKS_ALONG = 4
"""Big blocks along the longest axis, where the user names no size."""

SMALL_IN_BIG = 4
"""Small blocks along the edge of a big one, likewise."""

SPARSE = 3
"""Every how many blocks along an axis one is covered, where many are looked at together."""

PROMISING = 0.1
"""Share of the blocks that are covered one by one in any case."""

CHECKED = 64
"""Blocks among the others that are covered one by one, to see how good their estimates are."""

GOOD = 0.985
"""Rank correlation of estimated and measured effects from which estimates will do."""

_SAME = 1e-5
"""Share of the image's range below which a covered block looks as before."""


class Occlusion(Method):
    """Fall of the score with each block covered by the baseline (Zeiler and Fergus 2014, arXiv:1311.2901).

    Gives the map of captum's ``Occlusion`` with blocks side by side, in a fraction of its runs:

    - Blocks that look the same when covered, above all air, change nothing and are left out.
    - The effect of all others is estimated: from the gradient with every third block half covered (the midpoint rule
      along each block's own way), or, where there are no gradients, by covering big blocks first and looking into those
      that matter.
    - Those that promise most are covered one by one, and so is a random sample of the rest. Where the sample's
      estimates are in another order than the measured effects, more are measured, up to all.

    The value of a voxel is the effect of its block, as measured or estimated.
    """

    id: ClassVar[str] = "occlusion"
    title: ClassVar[str] = "Occlusion"
    source: ClassVar[str] = "Zeiler and Fergus 2014, arXiv:1311.2901"
    uses_gradients: ClassVar[bool] = False

    def attribute(self, scorer: Scorer, image: torch.Tensor, work: Work) -> RawAttribution:
        image = plain(image, scorer)
        blocks = _Blocks(image, baseline_of(image, work), *block_edges(image, work))
        runs = _runs(blocks, not no_gradients(scorer))
        with running(scorer, work, runs, f"{self.title}: {len(blocks.live)} blocks") as module:
            trial = _Trial(module, blocks, _at_once(scorer, image, work))
            facts = trial.all_effects(_gradients_fit(scorer, image, work), work.options.seed)
        values = blocks.painted(trial.effects)
        facts = {"baseline": work.options.baseline, "block_voxels": list(blocks.edges), **facts}
        notes = []
        if facts["measured"] < facts["blocks"] and facts["checked"] is not None:
            notes.append(
                f"Of {facts['blocks']} blocks, {facts['measured']} were covered one by one; the others, which matter "
                f"less, are estimates (rank correlation {facts['checked']:.2f} with what was measured in a sample)."
            )
        return RawAttribution(finished(values, self.title), facts, tuple(notes))


def block_edges(image: torch.Tensor, work: Work) -> tuple[tuple[int, int, int], int]:
    """Return the edges of the smallest blocks in voxels, and how many of them a big block has along an axis."""
    size, spacing = image.shape[2:], work.spacing_mm
    longest = max(count * mm for count, mm in zip(size, spacing, strict=True))
    big = work.options.block_mm or longest / BLOCKS_ALONG
    small = min(work.options.finest_mm or big / SMALL_IN_BIG, big)
    edges = [min(max(round(small / mm), 1), count) for count, mm in zip(size, spacing, strict=True)]
    return (edges[0], edges[1], edges[2]), max(round(big / small), 1)


class _Blocks:
    """An image cut into blocks, numbered along k first."""

    def __init__(self, image: torch.Tensor, baseline: torch.Tensor, edges: tuple[int, int, int], in_big: int) -> None:
        import torch

        self.image, self.baseline, self.edges, self.in_big = image, baseline, edges, in_big
        self.counts = tuple(-(-size // edge) for size, edge in zip(image.shape[2:], edges, strict=True))
        along = [torch.arange(size) // edge for size, edge in zip(image.shape[2:], edges, strict=True)]
        i, j, k = torch.meshgrid(*along, indexing="ij")
        self.numbers = ((i * self.counts[1] + j) * self.counts[2] + k).to(image.device)
        change = (image - baseline).abs().amax(dim=1)[0]
        # How much covering changes each block: at most, and in all.
        most = torch.zeros(int(np.prod(self.counts)), device=image.device)
        most.scatter_reduce_(0, self.numbers.flatten(), change.flatten(), "amax")
        self.weight = self.summed(change).cpu().numpy()
        limit = _SAME * float(image.max() - image.min())
        self.live = np.flatnonzero(most.cpu().numpy() > limit)
        self.places = np.stack(np.unravel_index(np.arange(len(most)), self.counts), axis=1)

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of ``(i, j, k)`` values over each block."""
        import torch

        total = torch.zeros(int(np.prod(self.counts)), device=values.device, dtype=torch.float64)
        return total.scatter_add_(0, self.numbers.flatten(), values.flatten().double())

    def painted(self, effects: np.ndarray) -> torch.Tensor:
        """Return each block's effect on its voxels ``(1, 1, i, j, k)``."""
        import torch

        return torch.from_numpy(effects).to(self.numbers.device)[self.numbers][None, None]

    def covered(self, chosen: np.ndarray, how_far: float = 1.0) -> torch.Tensor:
        """Return the image with the blocks ``chosen`` covered."""
        import torch

        marked = torch.zeros(int(np.prod(self.counts)), device=self.image.device)
        marked[torch.from_numpy(chosen).to(self.image.device)] = how_far
        return torch.lerp(self.image, self.baseline, marked[self.numbers][None, None])

    def inside(self, big: int) -> list[np.ndarray]:
        """Return the blocks that change the image, by the big block of ``big`` along each axis that they are in."""
        places = self.places[self.live] // big
        _, group = np.unique(places, axis=0, return_inverse=True)
        group = group.reshape(-1)
        return [self.live[group == number] for number in range(group.max() + 1)] if len(group) else []


class _Trial:
    """Covers blocks and notes what that does to the score."""

    def __init__(self, module: torch.nn.Module, blocks: _Blocks, at_once: int) -> None:
        self.blocks = blocks
        self.effects = np.zeros(int(np.prod(blocks.counts)))
        self._module, self._at_once = module, at_once
        self._measured = np.zeros(len(self.effects), dtype=bool)
        self._runs = 0
        self._score = self._scores([self.blocks.image])[0]

    def all_effects(self, gradients: bool, seed: int) -> dict[str, Any]:
        """Fill in all effects and return facts."""
        live = self.blocks.live
        checked: float | None = None
        estimated_by = ""
        if len(live) <= _few():
            self._measure(live)
        elif gradients and self._estimate_by_gradient():
            estimated_by = "gradient"
        else:
            self._estimate_by_big_blocks()
            estimated_by = "big blocks"
        generator = np.random.default_rng(seed)
        share = PROMISING
        while not self._measured[live].all():
            order = live[np.argsort(-np.abs(self.effects[live]), kind="stable")]
            self._measure(order[: int(np.ceil(share * len(live)))])
            rest = live[~self._measured[live]]
            sample = np.sort(generator.choice(rest, min(CHECKED, len(rest)), replace=False))
            guessed = self.effects[sample].copy()
            self._measure(sample)
            checked = _rank_correlation(guessed, self.effects[sample])
            if checked >= GOOD:
                break
            share *= 2
        measured = int(self._measured.sum())
        return {
            "blocks": len(live),
            "skipped": len(self.effects) - len(live),
            "measured": measured,
            "estimated_by": estimated_by,
            "checked": checked,
            "runs": self._runs,
            "at_once": self._at_once,
        }

    def _estimate_by_gradient(self) -> bool:
        """Estimate all effects; return False if no gradient comes through."""
        import captum.attr

        blocks = self.blocks
        colors = blocks.places[blocks.live] % SPARSE
        change = blocks.image - blocks.baseline
        for color in product(range(SPARSE), repeat=3):
            chosen = blocks.live[(colors == color).all(axis=1)]
            if not len(chosen):
                continue
            self._runs += 1
            try:
                gradient = captum.attr.Saliency(self._module).attribute(blocks.covered(chosen, 0.5), abs=False)
            except RuntimeError:
                return False
            fall = blocks.summed((gradient.detach() * change).sum(dim=1)[0]).cpu().numpy()
            self.effects[chosen] = np.nan_to_num(fall[chosen])
        return True

    def _estimate_by_big_blocks(self) -> None:
        big = self.blocks.in_big
        groups = self.blocks.inside(big)
        while big > 1:
            falls = self._falls(groups)
            for group, fall in zip(groups, falls, strict=True):
                weight = self.blocks.weight[group]
                self.effects[group] = fall * weight / weight.sum()
            big //= 2
            matter = np.zeros(len(self.effects), dtype=bool)
            for number in np.argsort(-np.abs(falls))[: -(-len(falls) // 2)]:
                matter[groups[number]] = True
            groups = [group for group in self.blocks.inside(big) if matter[group].any()]

    def _measure(self, numbers: np.ndarray) -> None:
        numbers = numbers[~self._measured[numbers]]
        self.effects[numbers] = self._falls([numbers[n : n + 1] for n in range(len(numbers))])
        self._measured[numbers] = True

    def _falls(self, groups: list[np.ndarray]) -> np.ndarray:
        falls: list[float] = []
        while len(falls) < len(groups):
            part = groups[len(falls) : len(falls) + self._at_once]
            try:
                scores = self._scores([self.blocks.covered(each) for each in part])
            except Exception as error:
                if isinstance(error, OutOfMemory) or not is_out_of_memory(error) or self._at_once == 1:
                    raise
                self._at_once //= 2
                continue
            falls += [self._score - score for score in scores]
        return np.array(falls)

    def _scores(self, images: list[torch.Tensor]) -> list[float]:
        import torch

        self._runs += len(images)
        with torch.no_grad():
            answer = self._module(torch.cat(images) if len(images) > 1 else images[0])
        return [float(each) for each in answer.double()]


def _few() -> int:
    """Number of blocks up to which measuring all costs no more than estimating first: a gradient costs three runs."""
    return 3 * SPARSE**3 + CHECKED


def _runs(blocks: _Blocks, gradients: bool) -> int:
    few = len(blocks.live) <= _few()
    return 1 + len(blocks.live) if few else SPARSE**3 + int(PROMISING * len(blocks.live)) + CHECKED


def _gradients_fit(scorer: Scorer, image: torch.Tensor, work: Work) -> bool:
    """Whether the gradient can be taken in the memory there is."""
    from meddl.saliency.memory import gradients_at_once

    if no_gradients(scorer):
        return False
    try:
        gradients_at_once(scorer, image, work.options)
    except (OutOfMemory, RuntimeError):
        return False
    return True


def _at_once(scorer: Scorer, image: torch.Tensor, work: Work) -> int:
    """Return how many covered images go through the network at once."""
    import torch

    from meddl.saliency.memory import MOST_AT_ONCE, budget, gradient_bytes

    most = budget(work.options, scorer.device)
    if torch.device(scorer.device).type == "cpu":
        # Only tiny images gain from company there.
        return max(1, min(8, 16**3 // max(image[0, 0].numel(), 1)))
    if not most or no_gradients(scorer):
        return 1
    # What the way back would keep is more than what the way there holds at any time.
    return max(1, min(MOST_AT_ONCE, most // max(gradient_bytes(scorer, image), 1)))


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    from scipy.stats import spearmanr

    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 1.0 if np.allclose(first, second) else 0.0
    return float(spearmanr(first, second).statistic)
