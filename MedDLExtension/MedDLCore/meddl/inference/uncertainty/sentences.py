"""What several answers to one image say, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from meddl.inference.strongest import strongest
from meddl.inference.uncertainty.accumulator import UncertaintyAccumulator

if TYPE_CHECKING:
    import torch

UNCERTAIN_BELOW = 0.75
"""A voxel is uncertain where the mean probability of the structure it was given to is below three to one."""


def volume_sentence(
    accumulator: UncertaintyAccumulator, how: str, channels: Mapping[str, int], *, threshold: float = 0.5
) -> str:
    """Return the sentence for a segmentation.

    Args:
        accumulator: whose measures are milliliters by structure.
        how: what the passes were, for instance ``flipped and shifted images``, ``dropout``; ``models`` or ``folds`` for
            several networks.
        channels: the channel of each structure, by its name.
        threshold: where channels don't compete.

    Example of a result:
        Over 8 runs with flipped and shifted images the volume of Brain lay between 1380 and 1402 ml; 0.4 % of its
        voxels are uncertain.
    """
    intervals = {name: pair for name, pair in accumulator.intervals().items() if pair[1] > 0}
    runs = _runs(accumulator, how)
    if not intervals:
        return f"{runs} nothing was found each time."
    fractions = uncertain_fractions(accumulator.mean, channels, exclusive=accumulator.is_exclusive, threshold=threshold)
    if len(intervals) == 1:
        ((name, pair),) = intervals.items()
        return f"{runs} the volume of {name} lay {_between(pair)} ml{_voxels(fractions.get(name))}."
    widths = {name: (high - low) / ((high + low) / 2) for name, (low, high) in intervals.items()}
    widest = max(widths, key=lambda name: widths[name])
    doubtful = fractions.get(widest)
    return (
        f"{runs} the volumes of {len(intervals)} structures differed by {_percent(sum(widths.values()) / len(widths))} "
        f"on average; most for {widest}, which lay {_between(intervals[widest])} ml{_voxels(doubtful)}."
    )


def class_sentence(accumulator: UncertaintyAccumulator, how: str) -> str:
    """Return the sentence for a classification, whose measures are probabilities by class."""
    means = {name: sum(m[name] for m in accumulator.measures) / accumulator.passes for name in accumulator.measures[0]}
    best = max(means, key=lambda name: means[name])
    low, high = accumulator.intervals()[best]
    text = f"{_runs(accumulator, how)} the probability of {best} lay between {_percent(low)} and {_percent(high)}"
    if not accumulator.is_exclusive:
        return f"{text}."
    others = sum(1 for measure in accumulator.measures if max(measure, key=lambda name: measure[name]) != best)
    if not others:
        return f"{text}; it was the most probable class each time."
    return f"{text}; in {others} of them another class was more probable."


def uncertain_fractions(
    mean: torch.Tensor, channels: Mapping[str, int], *, exclusive: bool, threshold: float = 0.5
) -> dict[str, float]:
    """Return, for each structure with voxels, the part of them (0 to 1) whose mean probability is below 0.75."""
    result = {}
    if exclusive and mean.shape[0] > 1:
        import torch

        winner, best = strongest(mean)
        counts = torch.bincount(winner.flatten(), minlength=mean.shape[0])
        doubtful = torch.bincount(winner[best < UNCERTAIN_BELOW], minlength=mean.shape[0])
        for name, channel in channels.items():
            if counts[channel]:
                result[name] = float(doubtful[channel]) / float(counts[channel])
        return result
    for name, channel in channels.items():
        inside = mean[channel] >= threshold
        if count := int(inside.sum()):
            result[name] = int((inside & (mean[channel] < UNCERTAIN_BELOW)).sum()) / count
    return result


def _runs(accumulator: UncertaintyAccumulator, how: str) -> str:
    what = how if how in ("models", "folds") else f"runs with {how}"
    return f"Over {accumulator.passes} {what}"


def _voxels(fraction: float | None) -> str:
    return "" if fraction is None else f"; {_percent(fraction)} of its voxels are uncertain"


def _between(pair: tuple[float, float]) -> str:
    low, high = (_ml(each) for each in pair)
    return f"at {low}" if low == high else f"between {low} and {high}"


def _ml(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _percent(fraction: float) -> str:
    percent = 100 * fraction
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %"
