"""Heat maps: their targets, and where a network begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def bump(shape: tuple[int, int, int], center: np.ndarray, sigma: float | np.ndarray) -> torch.Tensor:
    """Return a Gaussian ``shape`` of height one round ``center`` (voxels); ``sigma`` in voxels, one or one per axis."""
    sigmas = np.broadcast_to(sigma, 3)
    parts = [
        torch.exp(-0.5 * ((torch.arange(n, dtype=torch.float32) - float(c)) / float(s)) ** 2)
        for n, c, s in zip(shape, center, sigmas, strict=True)
    ]
    return parts[0][:, None, None] * parts[1][None, :, None] * parts[2][None, None, :]


def start_at(network: torch.nn.Module, values: Sequence[float]) -> None:
    """Let an untrained network answer these ``values``, one per channel: -4 in a heat map means "nothing here"."""
    last = [module for module in network.modules() if isinstance(module, torch.nn.Conv3d)][-1]
    assert last.bias is not None
    last.bias.data = torch.tensor(values, dtype=torch.float32)
