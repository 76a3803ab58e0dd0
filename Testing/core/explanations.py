"""Explanations by hand: maps whose peak, shares and colors are known, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from meddl.inference import ClassificationPrediction, ClassProbability
from meddl.inference.prediction import Prediction
from meddl.saliency import AnatomyShare, Attribution, Explanation, Measure
from meddl.volume import Volume

PROVENANCE = {
    "task": "classification",
    "model": {"name": "Hand-made", "version": "1.2.0", "license": "Apache-2.0", "sha256": "ab" * 32},
    "parameters": {},
    "input": {"shape": [12, 14, 10]},
    "device": {"type": "cpu", "name": "a processor"},
    "software": {"meddl": "0.1", "torch": "2.13"},
    "times_s": {"total": 1.5},
    "created": "2026-01-02T03:04:05+00:00",
}
CURVE = ((0.0, 1.0), (0.25, 0.4), (1.0, 0.0))
MEASURES = (
    Measure("deletion", 0.2, 0.5, "good", "Once the hottest tenth is blurred away, 5 % of the score is left.", CURVE),
    Measure("randomization", 0.9, None, "bad", "The map hardly changes: it does not explain the model."),
    Measure("sensitivity", 0.1, None, "", "Faint noise changes the map by a tenth."),
)
ANATOMY = (AnatomyShare("lesion", 0.62, 0.1, 31.0, 2.0), AnatomyShare("outside all", 0.38, 0.9, 0.4, 500.0))


def image(affine: np.ndarray, shape: tuple[int, int, int] = (12, 14, 10), channels: int = 1) -> Volume:
    """Return an image with another value in each voxel."""
    return Volume(np.arange(channels * np.prod(shape), dtype=np.float32).reshape(channels, *shape), affine)


def spot(place: Volume, at: tuple[int, int, int], value: float = 2.0) -> np.ndarray:
    """Return ``(1, I, J, K)`` that is ``value`` at one voxel, half of that at its neighbors and -0.5 in a corner."""
    array = np.zeros((1, *place.shape), dtype=np.float32)
    low = [max(n - 1, 0) for n in at]
    array[(0, *(slice(a, n + 2) for a, n in zip(low, at, strict=True)))] = value / 2
    array[(0, *at)] = value
    array[0, 0, 0, 0] = -0.5
    return array


def attribution(place: Volume, at: tuple[int, int, int] = (5, 8, 3), **more: Any) -> Attribution:
    """Return a map with its peak at a voxel."""
    facts = {"steps": 20, "completeness_gap": 0.07, "seconds": 3.25}
    known: dict[str, Any] = {
        "method": "integrated_gradients", "map": place.with_array(spot(place, at)), "target": "class lesion",
        "score": 4.5, "facts": facts, "notes": ("7 % is not accounted for.",), "measures": MEASURES,
        "anatomy": ANATOMY, "provenance": {**PROVENANCE, "explanation": {"method": "x", "steps": 20, "device": "cpu"}},
    }  # fmt: skip
    return Attribution(**{**known, **more})


def explanation(attributions: Sequence[Attribution], prediction: Prediction | None = None, **more: Any) -> Explanation:
    """Return an explanation of a classifier's answer, or another one."""
    if prediction is None:
        classes = (ClassProbability("lesion", 0.9), ClassProbability("nothing", 0.1))
        prediction = ClassificationPrediction(classes, PROVENANCE, calibrated=True)
    return Explanation(prediction, tuple(attributions), **more)
