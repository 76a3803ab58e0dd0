"""What ``meddl infer`` tells of a result, to people and to programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.inference import Prediction
from meddl.inference.words import in_words

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
    for line in in_words(prediction):
        print(f"  {line}")
    for warning in provenance.get("domain", ()):
        print(f"  Warning: {warning}")
    notes = [*provenance.get("notes", ()), *provenance.get("execution", {}).get("rungs", ())]
    for note in dict.fromkeys(notes):
        print(f"  Note: {note}")
