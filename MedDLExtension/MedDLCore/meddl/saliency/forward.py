"""Runs of a network without gradients, many of them: in a quicker way where one pays and its scores agree."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from meddl.errors import JobCancelled
from meddl.saliency.methods.running import no_gradients

if TYPE_CHECKING:
    import torch

    from meddl.saliency.methods.method import Work
    from meddl.saliency.options import ExplainOptions
    from meddl.saliency.scorer import Scorer

logger = logging.getLogger(__name__)

PROBES = 4
"""Changed images for which engine and PyTorch are compared, beside the image itself."""

_ERROR = 0.005
"""Share of the greatest change of the score among the probes by which any may differ."""

_ROUNDING = 1e-5
"""Share of the score below which its changes are lost in float32, whoever computes them."""

_ENOUGH, _WORTH = 2.0, 1.2
"""How many times as quick computing only what a change reaches must be: not to look further, and at all."""

_SOON = 3.0
"""Seconds for all runs to come below which there is nothing to be gained by another engine."""

_OF_ALL = ("InstanceNorm", "GroupNorm", "LayerNorm")
"""Layers whose answer changes everywhere with any part of the image, as their names have it."""

_SHORT = 0.05
"""Seconds that are measured twice: what happens beside the run counts in them."""


def quicker(scorer: Scorer, probes: torch.Tensor, runs: int, work: Work, at_once: int = 1) -> str:
    """Give a scorer an engine for its runs without gradients, if one pays and agrees with PyTorch in float32.

    PyTorch itself, computing only what a change of the image reaches, comes first, since nothing has to be converted;
    then what the selector of :mod:`meddl.inference.engines` finds to pay and to answer alike. What the selector cannot
    know is compared here: how far the score changes from image to image, which is what maps are made of, and where
    rounding weighs most. An engine that fails later is replaced by PyTorch. One that the scorer has already is kept,
    unless it is for images like another one and one is found for those like this.

    Args:
        probes: ``(B, C, i, j, k)`` the image, and some of those that are to come.
        runs: of single images that are to come.
        at_once: of them run together, here as there: that decides what the memory and the processor's cores are for.

    Returns:
        Why PyTorch goes on as before, in a sentence for the log; "" if an engine was found.

    Raises:
        JobCancelled: on request.
    """
    before = scorer.engine
    search = _Search(scorer, probes.detach(), runs, work, at_once)
    if before is not None and search.is_served_by(before):
        return ""  # it was compared when it was made
    reason = _unfit(scorer, work.options)
    if not reason:
        scorer.engine = None
        try:
            reason = search.reason()
        except JobCancelled:
            raise
        except Exception as error:
            reason = f"No engine could be made: {error}"
    if reason:
        scorer.engine = before
        logger.info("PyTorch runs the explanation: %s", reason)
    return reason


def _unfit(scorer: Scorer, options: ExplainOptions) -> str:
    import torch

    if torch.device(scorer.device).type != "cpu":
        return "Other engines are for the processor only."
    if options.memory_mb:
        return "Nobody knows how much memory another engine takes, and there is a budget."
    if no_gradients(scorer) or any(getattr(scorer.network, each, False) for each in ("brings_weights", "needs_torch")):
        return "The network has an engine of its own."
    return ""


class _Search:
    """Looks for an engine, with the image and some of those that are to come."""

    def __init__(self, scorer: Scorer, probes: torch.Tensor, runs: int, work: Work, at_once: int) -> None:
        self._scorer, self._probes, self._runs, self._work, self._at_once = scorer, probes, runs, work, at_once

    def is_served_by(self, engine: Any) -> bool:
        """Say whether an engine is for any images, or for such as are like this one."""
        is_for = getattr(engine, "is_for", None)
        return is_for is None or is_for(self._seen(self._probes[:1]))

    def reason(self) -> str:
        """Return why there is none; "" if the scorer has one now."""
        scorer = self._scorer
        expected, seconds = self._timed()
        speedup = self._incremental(expected, seconds)
        engine, scorer.engine = scorer.engine if speedup >= _WORTH else None, None
        if engine is None or speedup < _ENOUGH:
            try:
                reason, took = self._openvino(expected, seconds)
            except JobCancelled:
                raise
            except Exception as error:
                reason, took = f"No engine could be made: {error}", seconds
            if engine is None or (not reason and took * speedup < seconds):
                return reason
        scorer.engine, engine.falls_back = engine, True
        logger.info("Only what a change reaches is computed, %.1f times as fast.", speedup)
        return ""

    def _incremental(self, expected: torch.Tensor, seconds: float) -> float:
        """Give the scorer an engine that computes what a change reaches; return how many times as fast it is."""
        if _looks_at_all(self._scorer.network):
            return 0.0
        from meddl.saliency.incremental.network import IncrementalNetwork
        from meddl.saliency.memory import budget

        most_bytes = budget(self._work.options, self._scorer.device) // 2
        image = self._seen(self._probes[:1])
        engine = self._scorer.engine = IncrementalNetwork(self._scorer.network, image, most_bytes)
        most = seconds * len(self._probes) / _WORTH
        try:
            started = time.perf_counter()
            given = self._scores()
            # The image itself was run beside them.
            if time.perf_counter() - started - seconds > max(most, _SHORT):
                return 0.0
            kept = engine.kept
            given, took = self._timed()
        except JobCancelled:
            raise
        except Exception as error:
            logger.info("What a change reaches is not computed alone: %s", error)
            return 0.0
        if not kept:
            reason = "The first layer looks at all of the image."
        elif kept < engine.kept:
            reason = "Something is made anew for each run, and what became of each would fill the memory."
        else:
            reason = self._disagreement(expected, given)
        if reason:
            logger.info("What a change reaches is not computed alone: %s", reason)
        return 0.0 if reason else seconds / max(took, 1e-9)

    def _openvino(self, expected: torch.Tensor, seconds: float) -> tuple[str, float]:
        """Give the scorer OpenVINO if that pays; return why not, and how many seconds an image takes."""
        import torch

        from meddl.inference.engines import EngineSelector, for_images_near
        from meddl.inference.memory import Settings

        if self._runs * seconds < _SOON:
            return f"All of {self._runs} runs take less than preparing anything.", seconds
        # The selector's engines take the first part of an answer; what the score needs of another one they do not give.
        if not isinstance(self._scorer.answer(self._probes[:1]), torch.Tensor):
            return "The network answers several things at once.", seconds
        self._work.check()
        # One image alone gets all cores.
        streams = min(torch.get_num_threads(), self._at_once)
        seen = self._seen(self._probes[:streams])
        # A conversion cannot be cut short: who has cancelled before it need not wait for it.
        selector = EngineSelector(
            self._scorer.network, digest=self._scorer.digest, streams=streams, prepares=lambda _: self._work.check()
        )
        rounds = -(-self._runs // streams)
        engine, _ = selector.select(Settings("cpu"), torch.device("cpu"), lambda: seen, tuple(seen.shape[1:]), rounds)
        if engine.name != "openvino":
            none = f"Converting the network does not pay for {self._runs} runs, or cannot be done."
            return " ".join(selector.notes) or none, seconds
        self._work.check()
        self._scorer.engine = for_images_near(seen[:1], engine)
        given, took = self._timed()
        return self._disagreement(expected, given), took

    def _disagreement(self, expected: torch.Tensor, given: torch.Tensor) -> str:
        """Return how the engine's scores differ from PyTorch's, in a sentence; "" where they agree."""
        name = self._scorer.engine.name
        change, other = expected[0] - expected[1:], given[0] - given[1:]
        error, size = float((change - other).abs().max()), float(change.abs().max())
        if not error <= _ERROR * size or size <= _ROUNDING * float(expected.abs().max()):
            return f"{name}'s scores differ by {error:.3g} where they change by {size:.3g}."
        logger.info("Scores of %s differ by %.3g where they change by %.3g.", name, error, size)
        return ""

    def _seen(self, images: torch.Tensor) -> torch.Tensor:
        """Return images as the network sees them."""
        axis = self._scorer.slice_axis
        return images if axis is None else images.squeeze(2 + axis)

    def _timed(self) -> tuple[torch.Tensor, float]:
        """Return the scores ``(B,)`` of the images, and how many seconds one takes."""
        took: list[float] = []
        while not took or (took[0] < _SHORT and len(took) < 2):
            started = time.perf_counter()
            scores = self._scores()
            took.append(time.perf_counter() - started)
        return scores, min(took) / len(self._probes)

    def _scores(self) -> torch.Tensor:
        """Return the scores ``(B,)`` of the images, so many at once."""
        import torch

        found = []
        for part in self._probes.split(self._at_once):
            self._work.check()
            found.append(self._scorer.score(part).double())
        return torch.cat(found)


def _looks_at_all(network: Any) -> bool:
    """Say whether a network has layers, mostly right behind its first convolution, that look at all of the image."""
    names = (getattr(each, "original_name", type(each).__name__) for each in network.modules())
    return any(each in name for name in names for each in _OF_ALL)
