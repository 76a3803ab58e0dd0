"""Intervals of means over few trainings and fewer people, without more certainty than there is."""

from __future__ import annotations

import math

import numpy as np


def over_seeds(values: np.ndarray) -> tuple[float, float]:
    """Return the interval (95 %) of the mean of ``values`` by Student's t: one for each seed, two at least."""
    return _interval(float(np.mean(values)), _variance(values), len(values) - 1)


def over_seeds_and_people(values: np.ndarray) -> tuple[float, float]:
    """Return an interval (95 %) of the mean that holds for other seeds and for other people, too.

    Seeds and people are crossed. The variance of the mean is at most the sum of the one over seeds and the one over
    people (what is left of both counts twice), and the degrees of freedom are those of the fewer of both: the interval
    is rather too wide than too narrow. With two or three people it is very wide, as it should be.

    Args:
        values: ``(S, P)``, one for each seed and person, both at least 2.
    """
    variance = _variance(values.mean(axis=1)) + _variance(values.mean(axis=0))
    return _interval(float(values.mean()), variance, min(values.shape) - 1)


def _variance(values: np.ndarray) -> float:
    return float(np.var(values, ddof=1)) / len(values)


def _interval(mean: float, variance: float, freedom: int) -> tuple[float, float]:
    from scipy.stats import t

    half = float(t.ppf(0.975, freedom)) * math.sqrt(variance)
    return mean - half, mean + half
