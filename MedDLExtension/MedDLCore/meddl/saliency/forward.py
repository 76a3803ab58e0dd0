"""Runs of a network without gradients, many of them: by OpenVINO where its conversion pays and its scores agree."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

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


def quicker(scorer: Scorer, probes: torch.Tensor, runs: int, work: Work, at_once: int = 1) -> str:
    """Give a scorer an engine for its runs without gradients, if one pays and agrees with PyTorch in float32.

    The selector of :mod:`meddl.inference.engines` decides what pays and compares the answers; an engine that fails
    later is replaced by PyTorch. What it cannot know is compared here: how far the score changes from image to image,
    which is what maps are made of, and where rounding weighs most.

    Args:
        probes: ``(B, C, i, j, k)`` the image, and some of those that are to come.
        runs: of single images that are to come.
        at_once: of them run together, here as there: that decides what the memory and the processor's cores are for.

    Returns:
        Why PyTorch goes on, in a sentence for the log; "" if an engine was found.

    Raises:
        JobCancelled: on request.
    """
    if scorer.engine is not None:
        return ""  # it was compared when it was made
    reason = _unfit(scorer, work.options)
    if not reason:
        try:
            reason = _selected(scorer, probes.detach(), runs, work, at_once)
        except JobCancelled:
            raise
        except Exception as error:
            reason = f"No engine could be made: {error}"
    if reason:
        scorer.engine = None
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


def _selected(scorer: Scorer, probes: torch.Tensor, runs: int, work: Work, at_once: int) -> str:
    import torch

    from meddl.inference.engines import EngineSelector
    from meddl.inference.memory import Settings

    first = probes[:at_once]
    # The selector's engines take the first part of an answer; what the score needs of another one they do not give.
    # This run is also the one that takes longer than all others, before the selector takes the time.
    if not isinstance(scorer.answer(first), torch.Tensor):
        return "The network answers several things at once."
    work.check()
    seen = first if scorer.slice_axis is None else first.squeeze(2 + scorer.slice_axis)
    # One image alone gets all cores.
    selector = EngineSelector(scorer.network, digest=scorer.digest, streams=min(torch.get_num_threads(), at_once))
    rounds = -(-runs // at_once)
    engine, _ = selector.select(Settings("cpu"), torch.device("cpu"), lambda: seen, tuple(seen.shape[1:]), rounds)
    if engine.name != "openvino":
        return " ".join(selector.notes) or f"Converting the network does not pay for {runs} runs, or cannot be done."
    expected = _scores(scorer, probes, work, at_once)
    scorer.engine = engine
    given = _scores(scorer, probes, work, at_once)
    change, other = expected[0] - expected[1:], given[0] - given[1:]
    error, size = float((change - other).abs().max()), float(change.abs().max())
    if not error <= _ERROR * size or size <= _ROUNDING * float(expected.abs().max()):
        return f"OpenVINO's scores differ by {error:.3g} where they change by {size:.3g}."
    logger.info("OpenVINO runs the explanation; scores differ by %.3g where they change by %.3g.", error, size)
    return ""


def _scores(scorer: Scorer, images: torch.Tensor, work: Work, at_once: int) -> torch.Tensor:
    """Return the scores ``(B,)`` of some images, so many at once."""
    import torch

    found = []
    for part in images.split(at_once):
        work.check()
        found.append(scorer.score(part).double())
    return torch.cat(found)
