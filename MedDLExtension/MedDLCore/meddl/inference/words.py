"""What a model answered, in words."""

from __future__ import annotations

import math
from collections.abc import Iterable

from meddl.inference.prediction import (
    ClassificationPrediction,
    ClassProbability,
    DetectionPrediction,
    LandmarkPrediction,
    Prediction,
    ReconstructionPrediction,
    SegmentationPrediction,
)


def in_words(prediction: Prediction) -> list[str]:
    """Return an answer in lines: what was found, how much of it, where, and how sure the model is.

    Example:
        >>> in_words(ClassificationPrediction((ClassProbability("head", 0.9), ClassProbability("chest", 0.1)), {}))
        ['head: 90.0%', 'chest: 10.0%', "(the model's own scores, not calibrated)"]
    """
    if isinstance(prediction, SegmentationPrediction):
        intervals = prediction.uncertainty.intervals if prediction.uncertainty else {}
        lines = []
        for name, volume in prediction.volumes_ml.items():
            low, high = intervals.get(name, (math.nan, math.nan))
            between = "" if math.isnan(low) else f" (between {low:.1f} and {high:.1f})"
            lines.append(f"{name}: {volume:.1f} ml{between}")
        return lines + ([prediction.uncertainty.sentence] if prediction.uncertainty else [])
    if isinstance(prediction, ClassificationPrediction):
        lines = [f"{each.name}: {each.probability:.1%}" for each in _by_probability(prediction)]
        if not prediction.calibrated:
            lines.append("(the model's own scores, not calibrated)")
        return lines + ([prediction.uncertainty.sentence] if prediction.uncertainty else [])
    if isinstance(prediction, DetectionPrediction):
        found = [f"{box.label}: score {box.score:.2f} at {place_in_words(box.center)}" for box in prediction.boxes]
        return found or ["Nothing was found."]
    if isinstance(prediction, LandmarkPrediction):
        return [f"{each.name}: {place_in_words(each.position)}, score {each.score:.2f}" for each in prediction.points]
    assert isinstance(prediction, ReconstructionPrediction)
    size = " x ".join(map(str, prediction.image.shape))
    lines = [f"image of {size} voxels"]
    names = {"psnr_db": ("PSNR", ".2f", " dB"), "ssim": ("SSIM", ".4f", "")}
    for key, value in (prediction.quality or {}).items():
        name, how, unit = names.get(key, (key, ".4g", ""))
        lines.append(f"{name}: {format(value, how)}{unit}")
    return lines


def place_in_words(position: Iterable[float]) -> str:
    """Return a point (RAS mm) in words."""
    return "(" + ", ".join(f"{float(each):.1f}" for each in position) + ") mm RAS"


def _by_probability(prediction: ClassificationPrediction) -> list[ClassProbability]:
    return sorted(prediction.classes, key=lambda each: -each.probability)
