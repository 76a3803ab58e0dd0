"""A classification against the truth, and whether probabilities can be read as such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from meddl.errors import UsageError


@dataclass(frozen=True)
class ClassAgreement:
    """Whether the most probable class is the true one; the true one's place (1 is first) and probability."""

    right: bool
    place: int
    probability: float


def compare_class(probabilities: Mapping[str, float], truth: str) -> ClassAgreement:
    """Compare the probability of each class with the true class.

    Raises:
        UsageError: the model does not know the true class.

    Example:
        >>> compare_class({"CT": 0.7, "MR": 0.3}, "MR")
        ClassAgreement(right=False, place=2, probability=0.3)
    """
    if truth not in probabilities:
        raise UsageError(f"The model does not know the class {truth!r}. It knows {', '.join(probabilities)}.")
    own = probabilities[truth]
    place = 1 + sum(each > own for each in probabilities.values())
    ties = sum(each == own for each in probabilities.values())
    return ClassAgreement(place == 1 and ties == 1, place, own)


def expected_calibration_error(
    probabilities: np.ndarray, truth: Sequence[int] | np.ndarray, *, bins: int = 15
) -> float:
    """Return how far the confidence in the most probable class is from how often it is right, 0 (not at all) to 1.

    Cases are sorted into bins by confidence; the error is the mean difference between confidence and frequency,
    weighted by the bins' sizes (Guo C, Pleiss G, Sun Y, Weinberger KQ. On calibration of modern neural networks. ICML
    (2017) 1321-1330; computed by MONAI). With few cases chance alone makes it large: 100 perfectly
    calibrated ones give 0.05 to 0.13.

    Args:
        probabilities: ``(cases, classes)``.
        truth: the index of the true class of each case.
        bins: of equal width.

    Raises:
        UsageError: no cases, or as many truths as there are not.
    """
    import torch
    from monai.metrics import CalibrationErrorMetric

    scores, true = np.asarray(probabilities, dtype=np.float64), np.asarray(truth)
    if scores.ndim != 2 or not len(scores) or true.shape != (len(scores),):
        raise UsageError("A calibration needs at least one case, and for each its probabilities and its true class.")
    confidence = torch.from_numpy(scores.max(axis=1))[None, None]
    right = torch.from_numpy(scores.argmax(axis=1) == true)[None, None].double()
    metric = CalibrationErrorMetric(num_bins=bins, calibration_reduction="expected")
    metric(y_pred=confidence, y=right)
    result = metric.aggregate()
    assert isinstance(result, torch.Tensor)
    return float(result)
