"""How a config's intensity steps change values, so that an image a network makes can be told in the input's units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

_SAMPLES = 200_000
_TOLERANCE = 1e-3


class IntensityMap:
    """A straight line per channel, ``prepared = slope * input + offset``, composed step by step.

    Attributes:
        linear: whether all steps so far were straight lines; otherwise there is no way back.
    """

    def __init__(self, channels: int) -> None:
        self.slope = np.ones(channels)
        self.offset = np.zeros(channels)
        self.linear = True

    def observe(self, step: Any, before: torch.Tensor, after: torch.Tensor) -> None:
        """Take in one step from its effect on ``(C, ...)``; steps that are not on intensities change nothing."""
        if not type(step).__module__.startswith("monai.transforms.intensity"):
            return
        if before.shape != after.shape or not self.linear:
            self.linear = False
            return
        for channel in range(before.shape[0]):
            line = _line(_sample(before[channel]), _sample(after[channel]))
            if line is None:
                self.linear = False
                return
            slope, offset = line
            self.slope[channel], self.offset[channel] = (
                slope * self.slope[channel],
                slope * self.offset[channel] + offset,
            )

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Return ``(C, ...)`` values in the input's units; the first channel's line serves where counts differ."""
        shape = (-1,) + (1,) * (array.ndim - 1)
        if array.shape[0] == len(self.slope):
            return (array - self.offset.reshape(shape)) / self.slope.reshape(shape)
        return (array - self.offset[0]) / self.slope[0]


def _sample(channel: torch.Tensor) -> np.ndarray:
    flat = channel.reshape(-1)
    return flat[:: max(1, flat.numel() // _SAMPLES)].numpy().astype(np.float64)


def _line(before: np.ndarray, after: np.ndarray) -> tuple[float, float] | None:
    """Return slope and offset of the line through both, where what was clipped at either end is left out."""
    low, high = after.min(), after.max()
    free = (after > low) & (after < high)
    if np.count_nonzero(free) < 2 or np.ptp(before[free]) == 0:
        free = np.ones(before.shape, dtype=bool)
    if np.ptp(before[free]) == 0:
        return None
    slope, offset = np.polyfit(before[free], after[free], 1)
    worst = np.abs(slope * before[free] + offset - after[free]).max()
    if slope <= 0 or worst > _TOLERANCE * max(high - low, 1e-12):
        return None
    return float(slope), float(offset)
