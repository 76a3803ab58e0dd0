"""Answers to the same image, taken in one after the other: their mean, how they differ, and what was measured on each.

Predictive entropy of the mean, and mutual information as the part of it that comes from the answers differing: see Gal
and Ghahramani (2016) for dropout, Wang et al. (2019) for augmented images, and for several models Lakshminarayanan B,
Pritzel A, Blundell C. Simple and scalable predictive uncertainty estimation using deep ensembles. NeurIPS 30 (2017)
6402-6413.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import UsageError
from meddl.inference.strongest import strongest

if TYPE_CHECKING:
    import torch

Measure = Callable[["torch.Tensor"], Mapping[str, float]]
"""What to measure on an answer's probabilities ``(C, ...)``: for instance each structure's milliliters."""

_TOLERANCE = 1e-3
_SUM_TOLERANCE = 0.03
"""Half precision and the blending of windows leave sums a little off one."""


class UncertaintyAccumulator:
    """Takes in probabilities, pass by pass; it keeps their mean (one array of their size) and the measures.

    Args:
        measure: called with each pass's probabilities.
        exclusive: channels compete (softmax, with the background among them). Otherwise each is a question of its own.
            A single channel is a question of its own anyway.
        mutual_information: also keep what :meth:`mutual_information` needs.
    """

    def __init__(self, measure: Measure, *, exclusive: bool = True, mutual_information: bool = False) -> None:
        self._measure = measure
        self._exclusive = exclusive
        self._entropies: torch.Tensor | None = None
        self._keeps_entropies = mutual_information
        self._mean: torch.Tensor | None = None
        self._measures: list[dict[str, float]] = []

    @property
    def passes(self) -> int:
        """How many answers were taken in."""
        return len(self._measures)

    @property
    def mean(self) -> torch.Tensor:
        """The mean probabilities ``(C, ...)`` float32: the answer of all passes together."""
        if self._mean is None:
            raise UsageError("No answer was taken in yet.")
        return self._mean

    @property
    def measures(self) -> tuple[Mapping[str, float], ...]:
        """What was measured on each pass."""
        return tuple(self._measures)

    @property
    def is_exclusive(self) -> bool:
        """Whether channels compete."""
        return self._exclusive and self.mean.shape[0] > 1

    def add(self, probabilities: torch.Tensor | np.ndarray, seen: tuple[slice, ...] | None = None) -> None:
        """Take one answer in.

        Args:
            probabilities: ``(C, ...)`` from 0 to 1, after softmax or sigmoid.
            seen: the box in which the network saw the image, see :attr:`AugmentedPass.seen`; everything by default.
                Outside it, the mean of the passes before counts, so that an edge out of sight changes nothing.

        Raises:
            UsageError: these are no probabilities, or another shape than before.
        """
        import torch

        answer = torch.as_tensor(probabilities).detach()
        answer = _plain(answer).float()
        if answer.min() < -_TOLERANCE or answer.max() > 1 + _TOLERANCE or bool(torch.isnan(answer).any()):
            raise UsageError("Uncertainty is made of probabilities from 0 to 1, and these are other numbers.")
        if self._mean is None:
            self._mean = answer.clone()
        else:
            if answer.shape != self._mean.shape:
                raise UsageError(f"An answer of shape {tuple(answer.shape)} follows ones of {tuple(self._mean.shape)}.")
            if seen is not None and any(s.start or s.stop != n for s, n in zip(seen, answer.shape[1:], strict=True)):
                whole = self._mean.clone()
                whole[(slice(None), *seen)] = answer[(slice(None), *seen)]
                answer = whole
            # In place: the arrays may be as large as the image, once for each class.
            self._mean.lerp_(answer, 1 / (self.passes + 1))
        if self._keeps_entropies:
            entropy = _entropy(answer, self.is_exclusive)
            self._entropies = entropy if self._entropies is None else self._entropies + entropy
        self._measures.append({str(name): float(value) for name, value in self._measure(answer).items()})

    def entropy(self) -> torch.Tensor:
        """Return the entropy of the mean probabilities ``(...)`` float32, 0 (certain) to 1 (as uncertain as can be).

        Competing channels: -sum p log p / log C. A single channel: the binary entropy in bits. Channels that don't
        compete: the largest of their binary entropies.
        """
        return _entropy(self.mean, self.is_exclusive)

    def mutual_information(self) -> torch.Tensor:
        """Return how much of :meth:`entropy` comes from passes that contradict each other, same shape and unit.

        The rest is doubt that every pass shares. For channels that don't compete, the largest doubts need not be the
        same channel's: the difference is then an estimate, and never below 0.
        """
        if self._entropies is None:
            raise UsageError("Mutual information was not asked for.")
        return (self.entropy() - self._entropies / self.passes).clamp_(min=0)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return the least and the greatest measure by name.

        This is what was seen, no confidence interval. If passes are exchangeable, one more would fall into it with
        probability (n - 1) / (n + 1): 78 % for 8 passes. An error that all passes share is not in it.
        """
        names = self._measures[0] if self._measures else {}
        values = {name: [measure[name] for measure in self._measures] for name in names}
        return {name: (min(each), max(each)) for name, each in values.items()}


def grid_volumes(
    affine: np.ndarray, channels: Mapping[str, int], *, exclusive: bool = True, threshold: float = 0.5
) -> Measure:
    """Return a measure: milliliters of each structure on the grid that the network answers on.

    Args:
        affine: 4x4, that grid's voxel index to RAS mm.
        channels: the channel of each structure, by its name.
        exclusive: as for :class:`UncertaintyAccumulator`.
        threshold: from which probability on a voxel belongs to a structure, where channels don't compete.
    """
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000.0

    def measure(probabilities: torch.Tensor) -> dict[str, float]:
        if exclusive and probabilities.shape[0] > 1:
            import torch

            winner, _ = strongest(probabilities)
            counts = torch.bincount(winner.flatten(), minlength=probabilities.shape[0])
            return {name: int(counts[channel]) * voxel_ml for name, channel in channels.items()}
        return {name: int((probabilities[channel] >= threshold).sum()) * voxel_ml for name, channel in channels.items()}

    return measure


def are_probabilities(scores: torch.Tensor, *, exclusive: bool = True) -> bool:
    """Tell whether scores ``(C, ...)`` are probabilities already: some networks end with their softmax or sigmoid.

    Asked where a config activates nothing: a softmax of probabilities would never exceed 0.73, and everything be
    uncertain.
    """
    if float(scores.min()) < -_TOLERANCE or float(scores.max()) > 1 + _TOLERANCE:
        return False
    if scores.shape[0] == 1 or not exclusive:
        return True
    return float((scores.float().sum(dim=0) - 1).abs().max()) < _SUM_TOLERANCE


def _entropy(probabilities: torch.Tensor, exclusive: bool) -> torch.Tensor:
    """One channel after the other: memory does not grow with the classes."""
    import torch

    total = torch.zeros_like(probabilities[0])
    for channel in probabilities:
        if exclusive:
            total -= torch.xlogy(channel, channel)
        else:
            channel = channel.clamp(0, 1)
            binary = -(torch.xlogy(channel, channel) + torch.xlogy(1 - channel, 1 - channel))
            total = torch.maximum(total, binary)
    return (total / math.log(max(2, probabilities.shape[0]) if exclusive else 2)).clamp_(0, 1)


def _plain(tensor: Any) -> torch.Tensor:
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
