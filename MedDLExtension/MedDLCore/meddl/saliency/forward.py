"""Runs of a network without gradients, many of them: by OpenVINO where its conversion pays and its scores agree."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from meddl.errors import OutOfMemory, is_out_of_memory
from meddl.saliency.methods.running import no_gradients

if TYPE_CHECKING:
    import torch

    from meddl.saliency.options import ExplainOptions
    from meddl.saliency.scorer import Scorer

logger = logging.getLogger(__name__)

PROBES = 4
"""Changed images for which engine and PyTorch are compared, beside the image itself."""

_ERROR = 0.005
"""Share of the greatest change of the score among the probes by which any may differ."""

_ROUNDING = 1e-5
"""Share of the score below which its changes are lost in float32, whoever computes them."""


def quicker(scorer: Scorer, probes: torch.Tensor, runs: int, options: ExplainOptions) -> str:
    """Give a scorer an engine for its runs without gradients, if one pays and agrees with PyTorch in float32.

    The selector of :mod:`meddl.inference.engines` decides what pays and compares the answers; an engine that fails
    later is replaced by PyTorch. What it cannot know is compared here: how far the score changes from image to image,
    which is what maps are made of, and where rounding weighs most.

    Args:
        probes: ``(B, C, i, j, k)`` the image, and some of those that are to come.
        runs: of single images that are to come.

    Returns:
        Why PyTorch goes on, in a sentence for the log; "" if an engine was found.
    """
    if scorer.engine is not None:
        return ""  # it was compared when it was made
    reason = _unfit(scorer, options)
    if not reason:
        try:
            reason = _selected(scorer, probes, runs)
        except Exception as error:
            if isinstance(error, OutOfMemory) or is_out_of_memory(error):
                raise
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


def _selected(scorer: Scorer, probes: torch.Tensor, runs: int) -> str:
    import torch

    from meddl.inference.engines import EngineSelector
    from meddl.inference.memory import Settings

    # The selector's engines take the first part of an answer; what the score needs of another one they do not give.
    if not isinstance(scorer.answer(probes[:1]), torch.Tensor):
        return "The network answers several things at once."
    device, seen = torch.device("cpu"), probes.detach()
    if scorer.slice_axis is not None:
        seen = seen.squeeze(2 + scorer.slice_axis)
    selector = EngineSelector(scorer.network, digest=scorer.digest, streams=torch.get_num_threads())
    rounds = -(-runs // len(seen))
    engine, _ = selector.select(Settings("cpu"), device, lambda: seen, tuple(seen.shape[1:]), rounds)
    if engine.name != "openvino":
        return " ".join(selector.notes) or f"Converting the network does not pay for {runs} runs, or cannot be done."
    expected = scorer.score(probes).double()
    scorer.engine = engine
    given = scorer.score(probes).double()
    change, other = expected[0] - expected[1:], given[0] - given[1:]
    error, size = float((change - other).abs().max()), float(change.abs().max())
    if not error <= _ERROR * size or size <= _ROUNDING * float(expected.abs().max()):
        return f"OpenVINO's scores differ by {error:.3g} where they change by {size:.3g}."
    logger.info("OpenVINO runs the explanation; scores differ by %.3g where they change by %.3g.", error, size)
    return ""
