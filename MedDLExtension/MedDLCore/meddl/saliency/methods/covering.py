"""What covering each block does to the score: measured, or estimated where estimates hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import OutOfMemory, is_out_of_memory
from meddl.saliency.estimate import GRADIENT
from meddl.saliency.methods.running import no_gradients

if TYPE_CHECKING:
    import torch

    from meddl.saliency.methods.blocks import Blocks
    from meddl.saliency.options import ExplainOptions
    from meddl.saliency.scorer import Scorer

APART = 3
"""Every how many blocks along an axis one is partly covered, where many are looked at together."""

CHECKED, CHECKED_SHARE = 64, 1 / 32
"""Blocks that are covered one by one in any case, drawn by chance: at least so many, or this share; at most twice."""

PROMISING = 0.03
"""Share of the blocks that are covered one by one, after a good estimate: those that matter most, and as many of which
the two rounds of estimates disagree most."""

GOOD, HOPELESS, HOPELESS_SOON = 0.99, 0.95, 0.9
"""Rank correlation with what was measured from which estimates will do, and below which refining them is no use; the
last after the first round."""

_SPENT = 0.3, 0.5
"""Share of the runs of measuring all that the first two and all rounds of estimates may take."""

_MANY = 64
"""Runs from which on another engine may pay."""

_VOXELS_AT_ONCE, _MOST_AT_ONCE = 1 << 20, 64
"""On a processor larger batches gain nothing."""

_VOXELS_IN_LINE = 1 << 22
"""Of images that an engine runs one by one or few by few, which stand in line so that it need not wait for them."""

_ROUNDS = (
    ((0.5,), (1.0,)),
    ((0.5, 0.1127016653792583, 0.8872983346207417), (4 / 9, 5 / 18, 5 / 18)),
    (
        (0.5, 0.1127016653792583, 0.8872983346207417,
         0.0197544209040939, 0.9802455790959061, 0.2828781253265987, 0.7171218746734013),
        (0.2254582693288830, 0.1342440333429485, 0.1342440333429485,
         0.0523281053232120, 0.0523281053232120, 0.2006987073881230, 0.2006987073881230),
    ),
)  # fmt: skip
"""Places on the way from the image to the covered one, and their weights: the middle, two more of Gauss, and four more
of Kronrod."""


class Trial:
    """Covers blocks and notes what that does to the score.

    Args:
        module: ``(B, C, i, j, k)`` to ``(B,)`` scores.
        blocks: to cover.
        at_once: images that run together.
        gradients_at_once: of which the gradient is taken together; 0: it cannot be taken.
        quicker: asked before many runs without gradients, with the image and some covered ones ``(B, C, i, j, k)``, how
            many are to come and how many of them together: how many together if the module will do them in another way
            from now on, whose scores agree; 0 if not.

    Attributes:
        effects: of all blocks.
        runs: of the network up to now, in images; a gradient counts as
            :data:`meddl.saliency.estimate.GRADIENT`.
        runs_in_all: about as many will it be.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        blocks: Blocks,
        at_once: int,
        gradients_at_once: int,
        quicker: Callable[[torch.Tensor, int, int], int] = lambda probes, runs, at_once: 0,
    ) -> None:
        self.blocks = blocks
        self.effects = np.zeros(blocks.total)
        self.runs = 0
        self.runs_in_all = 1 + len(blocks.live)
        self._module, self._at_once, self._gradients_at_once = module, at_once, gradients_at_once
        self._measured = np.zeros(blocks.total, dtype=bool)
        self._quicker = quicker
        self._by_chance = blocks.live[:0]
        self._doubt = np.zeros(blocks.total)
        self._score = self._scores([blocks.image])[0]

    def all_effects(self, seed: int) -> dict[str, Any]:
        """Fill in all effects and return facts."""
        live, drawn = self.blocks.live, self.blocks.live[:0]
        checked, checked_error, estimated_by = None, None, ""
        groups = self.blocks.apart(APART)
        affordable = [
            GRADIENT * len(groups) * len(places) <= share * len(live)
            for (places, _), share in zip(_ROUNDS[1:], _SPENT, strict=True)
        ]
        by_gradient = self._gradients_at_once > 0 and affordable[0]
        by_big_blocks = not self._gradients_at_once and self.blocks.in_big > 1 and len(live) > 4 * CHECKED
        if by_gradient or by_big_blocks:
            count = max(CHECKED, int(CHECKED_SHARE * len(live)))
            self._by_chance = np.random.default_rng(seed).permutation(live)[: 2 * count]
            self._measure(self._by_chance[:count])
            if by_gradient:
                estimated_by = "gradient"
                estimates, checked = self._estimates_by_gradient(groups, affordable[1])
            else:
                estimated_by = "big blocks"
                estimates = self._estimates_by_big_blocks()
                checked = self._checked(estimates)
            drawn = self._drawn() if checked is not None else drawn
            if checked is not None and checked >= GOOD:
                worst = float(np.abs(estimates[drawn] - self.effects[drawn]).max())
                rest = live[~self._measured[live]]
                self.effects[rest] = estimates[rest]
                order = live[np.argsort(-np.abs(estimates[live]), kind="stable")]
                few = int(np.ceil(PROMISING * len(live)))
                doubtful = live[np.argsort(-self._doubt[live], kind="stable")]
                promising = np.union1d(order[:few], doubtful[:few])
                self.runs_in_all = self.runs + len(promising)
                self._measure(promising)
                checked_error = worst / max(float(np.abs(self.effects).max()), 1e-30)
                live = self.blocks.live[:0]
        self.runs_in_all = self.runs + int((~self._measured[live]).sum())
        self._hurry(live, seed)
        self._measure(live)
        return {
            "blocks": len(self.blocks.live),
            "skipped": self.blocks.total - len(self.blocks.live),
            "measured": int(self._measured.sum()),
            "estimated_by": estimated_by,
            "checked": checked,
            "checked_blocks": len(drawn),
            "checked_error": checked_error,
            "runs": self.runs,
            "at_once": self._at_once,
        }

    def _hurry(self, numbers: np.ndarray, seed: int) -> None:
        """Look for another way to do the runs without gradients, if many are left."""
        import torch

        from meddl.saliency.forward import PROBES

        left = numbers[~self._measured[numbers]]
        if len(left) < _MANY:
            return
        drawn = np.random.default_rng(seed).permutation(left)[:PROBES]
        probes = torch.cat([self.blocks.image, *(self.blocks.covered(drawn[n : n + 1]) for n in range(PROBES))])
        self.runs += len(probes)
        at_once = self._quicker(probes, len(left), self._at_once)
        if at_once:
            # A fall is a small difference: both of its scores must come from the same engine.
            self._at_once, self._score = at_once, self._scores([self.blocks.image])[0]

    def _estimates_by_gradient(self, groups: list[np.ndarray], more: bool) -> tuple[np.ndarray, float | None]:
        """Return estimates of all effects and how good they are; None if no gradient comes through.

        The effect of a block is the integral of the gradient along the way from the image to the covered one. Many
        blocks that lie apart go that way together.
        """
        found: dict[float, np.ndarray] = {}
        estimates, checked, live = np.zeros_like(self.effects), None, self.blocks.live
        before = estimates
        for number, (places, weights) in enumerate(_ROUNDS[: 3 if more else 2]):
            new = [place for place in places if place not in found]
            # As long as nobody knows whether estimates will do, all are to come: better to be done sooner.
            self.runs_in_all = self.runs + GRADIENT * len(new) * len(groups) + int((~self._measured[live]).sum())
            try:
                found |= {place: self._slopes(groups, place) for place in new}
            except RuntimeError as error:
                if isinstance(error, OutOfMemory) or is_out_of_memory(error):
                    raise
                return estimates, None
            estimates = np.sum([weight * found[place] for place, weight in zip(places, weights, strict=True)], axis=0)
            checked = self._checked(estimates) if number else self._agreement(estimates)
            if checked < (HOPELESS if number else HOPELESS_SOON):
                break
            if number > 1:
                self._doubt = np.abs(estimates - before)
            before = estimates
        return estimates, checked

    def _checked(self, estimates: np.ndarray) -> float:
        """Return how well estimates rank the blocks drawn by chance: a few odd ones may call for more of them."""
        checked = self._agreement(estimates)
        if HOPELESS <= checked < GOOD and len(self._drawn()) < len(self._by_chance):
            self._measure(self._by_chance)
            return self._agreement(estimates)
        return checked

    def _agreement(self, estimates: np.ndarray) -> float:
        drawn = self._drawn()
        return _rank_correlation(estimates[drawn], self.effects[drawn])

    def _drawn(self) -> np.ndarray:
        """Return the blocks that were drawn by chance and measured before the others."""
        return self._by_chance[self._measured[self._by_chance]]

    def _slopes(self, groups: list[np.ndarray], place: float) -> np.ndarray:
        """Return how fast the score falls with each block at a place on its way, times the way."""
        import captum.attr
        import torch

        change = self.blocks.image - self.blocks.baseline
        slopes = np.zeros_like(self.effects)
        for start in range(0, len(groups), self._gradients_at_once):
            part = groups[start : start + self._gradients_at_once]
            images = torch.cat([self.blocks.covered(group, place) for group in part])
            gradients = captum.attr.Saliency(self._module).attribute(images, abs=False).detach()
            self.runs += GRADIENT * len(part)
            for group, gradient in zip(part, gradients, strict=True):
                slopes[group] = np.nan_to_num(self.blocks.summed((gradient * change[0]).sum(dim=0)))[group]
        return slopes

    def _estimates_by_big_blocks(self) -> np.ndarray:
        estimates = np.zeros_like(self.effects)
        big = self.blocks.in_big
        groups = self.blocks.inside(big)
        while big > 1:
            falls = self._falls(groups)
            for group, fall in zip(groups, falls, strict=True):
                weight = self.blocks.weight[group]
                estimates[group] = fall * weight / weight.sum()
            big //= 2
            matter = np.zeros(len(estimates), dtype=bool)
            for number in np.argsort(-np.abs(falls))[: -(-len(falls) // 2)]:
                matter[groups[number]] = True
            groups = [group for group in self.blocks.inside(big) if matter[group].any()]
        return estimates

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

        self.runs += len(images)
        with torch.no_grad():
            answer = self._module(torch.cat(images) if len(images) > 1 else images[0])
        return [float(each) for each in answer.double()]


def images_at_once(scorer: Scorer, image: torch.Tensor, options: ExplainOptions) -> tuple[int, int]:
    """Return how many covered images run at once, and of how many the gradient is taken at once; 0 where of none."""
    import torch

    from meddl.saliency.memory import MOST_AT_ONCE, keep_within, reckon

    if no_gradients(scorer):
        return 1, 0  # files of other makers are often made for one image at a time
    try:
        reckoning = reckon(scorer, image, options)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return 1, 0
    if torch.device(scorer.device).type == "cpu":
        gain = max(1, min(_MOST_AT_ONCE, _VOXELS_AT_ONCE // max(image[0, 0].numel(), 1)))
    else:
        gain = MOST_AT_ONCE
    # What the way back would keep is more than what the way there holds at any time.
    fit = min(gain, reckoning.fit)
    keep_within(reckoning, max(fit, 1), scorer.device)
    return max(fit, 1), fit


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    from scipy.stats import spearmanr

    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 1.0 if np.allclose(first, second) else 0.0
    return float(spearmanr(first, second).statistic)


def images_in_line(image: torch.Tensor, at_once: int) -> int:
    """Return how many images to give at once to an engine that runs them one by one, or few by few."""
    return max(at_once, min(_MOST_AT_ONCE, _VOXELS_IN_LINE // max(image[0, 0].numel(), 1)))
