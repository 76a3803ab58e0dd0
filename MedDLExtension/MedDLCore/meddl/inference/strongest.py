"""The channel with the largest score."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def strongest(scores: torch.Tensor, axis: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which channel has the largest score (int16), and that score; the first one wins a tie.

    By a running maximum, which is many times faster than ``argmax`` along a leading axis on a processor.

    Args:
        scores: ``(C, ...)``, or with the channels along another axis.
        axis: that of the channels; the answers have the other ones.
    """
    import torch

    best = scores.select(axis, 0).clone()
    winner = torch.zeros(best.shape, dtype=torch.int16, device=best.device)
    for channel in range(1, scores.shape[axis]):
        candidate = scores.select(axis, channel)
        winner.masked_fill_(candidate > best, channel)
        torch.maximum(best, candidate, out=best)
    return winner, best
