"""What ``meddl infer`` tells of a result, to people and to programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.inference import (
    ClassificationPrediction,
    DetectionPrediction,
    LandmarkPrediction,
    Prediction,
    ReconstructionPrediction,
    SegmentationPrediction,
)

if TYPE_CHECKING:
    from meddl.evaluation import SegmentationAgreement

_VOXELS = ("labels", "probabilities", "image", "difference", "segments", "provenance")


def report_of(
    prediction: Prediction, files: Sequence[Path], agreement: SegmentationAgreement | None = None
) -> dict[str, Any]:
    """Return a result without its voxels, and how it came about, as JSON data."""
    data = {key: value for key, value in prediction.to_dict().items() if key not in _VOXELS and value is not None}
    if "uncertainty" in data:
        data["uncertainty"].pop("entropy", None)
    if agreement is not None:
        data["agreement"] = agreement.to_dict()
    return {**data, **prediction.provenance, "files": [str(file) for file in files]}


def print_prediction(prediction: Prediction) -> None:
    """Print who answered, what, and what is to be known about it."""
    provenance = prediction.provenance
    model, times = provenance["model"], provenance["times_s"]
    print(f"{model['name']} {model['version']} ({model['license']}), {times['total']:.1f} s")
    for line in _lines(prediction):
        print(f"  {line}")
    for warning in provenance.get("domain", ()):
        print(f"  Warning: {warning}")
    notes = [*provenance.get("notes", ()), *provenance.get("execution", {}).get("rungs", ())]
    for note in dict.fromkeys(notes):
        print(f"  Note: {note}")


def _lines(prediction: Prediction) -> list[str]:
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
        found = [f"{box.label}: score {box.score:.2f} at {_place(box.center)}" for box in prediction.boxes]
        return found or ["Nothing was found."]
    if isinstance(prediction, LandmarkPrediction):
        return [f"{each.name}: {_place(each.position)}, score {each.score:.2f}" for each in prediction.points]
    assert isinstance(prediction, ReconstructionPrediction)
    size = " x ".join(map(str, prediction.image.shape))
    lines = [f"image of {size} voxels"]
    names = {"psnr_db": ("PSNR", ".2f", " dB"), "ssim": ("SSIM", ".4f", "")}
    for key, value in (prediction.quality or {}).items():
        name, how, unit = names.get(key, (key, ".4g", ""))
        lines.append(f"{name}: {format(value, how)}{unit}")
    return lines


def _by_probability(prediction: ClassificationPrediction) -> list[Any]:
    return sorted(prediction.classes, key=lambda each: -each.probability)


def _place(position: Any) -> str:
    return "(" + ", ".join(f"{float(each):.1f}" for each in position) + ") mm RAS"
