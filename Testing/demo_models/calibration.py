"""Making probabilities mean what they say: one temperature, fitted on images that were not trained on."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def fit_temperature(logits: torch.Tensor, truth: torch.Tensor, least: float = 1.0, most: float = 10.0) -> float:
    """Return the temperature with the least cross-entropy (Guo et al. 2017), to two digits.

    Args:
        logits: ``(N, classes)``.
        truth: ``(N,)`` class numbers.
        least: never below it: so few images are no reason to be surer than the network.
        most: never above it.
    """
    candidates = [round(0.05 * n, 2) for n in range(round(least / 0.05), round(most / 0.05) + 1)]
    return min(candidates, key=lambda t: float(F.cross_entropy(logits / t, truth)))
